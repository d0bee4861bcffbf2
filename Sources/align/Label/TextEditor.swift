import Foundation

/// The user's own editor, on a file that is theirs alone and gone afterwards.
enum TextEditor {
    enum Failure: Error, CustomStringConvertible {
        case none
        case failed(command: String, status: Int32)
        case unreadable

        var description: String {
            switch self {
            case .none: "no editor: set VISUAL or EDITOR"
            case let .failed(command, status): "\(command) ended with \(status); nothing was kept"
            case .unreadable: "the edited file cannot be read as UTF-8 text; nothing was kept"
            }
        }
    }

    /// - Returns: The text as the editor left it.
    static func edit(_ text: String) throws(Failure) -> String {
        let environment = ProcessInfo.processInfo.environment
        guard let command = environment["VISUAL"] ?? environment["EDITOR"], !command.isEmpty else { throw .none }
        let file = NSTemporaryDirectory() + "/align-edit-\(UUID().uuidString).txt"
        defer { unlink(file) }
        guard FileManager.default.createFile(atPath: file, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600]) else { throw .unreadable }
        let status = run(command, file, environment)
        guard status == 0 else { throw .failed(command: command, status: status) }
        guard let data = FileManager.default.contents(atPath: file), data.count < InputText.limit, let edited = String(validating: data, as: UTF8.self) else { throw .unreadable }
        return edited
    }

    /// Through the shell, as VISUAL may hold arguments; in this process's group, so that the terminal's keys reach it.
    private static func run(_ command: String, _ file: String, _ environment: [String: String]) -> Int32 {
        // Ctrl-Z stops editor and program together.
        let stop = signal(SIGTSTP, SIG_DFL)
        defer { signal(SIGTSTP, stop) }
        let words = ["/bin/sh", "-c", command + " \"$1\"", "sh", file]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var child: pid_t = 0
        guard posix_spawn(&child, "/bin/sh", nil, nil, &arguments, &variables) == 0 else { return 127 }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }
}
