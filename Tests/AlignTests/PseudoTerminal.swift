import Foundation
import Testing

@testable import align

/// The built program at a terminal of its own, as a person sits at it.
final class PseudoTerminal {
    let processID: pid_t
    private let master: Int32
    private var output: [UInt8] = []
    private let folder: String
    private(set) var status: Int32?

    struct Failure: Error, CustomStringConvertible {
        var what: String
        var description: String { what }
    }

    /// Starts it in a session whose controlling terminal this is.
    init(_ words: [String], columns: UInt16 = 100, rows: UInt16 = 30, environment: [String: String] = [:]) throws {
        folder = FileManager.default.temporaryDirectory.path + "/align-pty-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        // What grantpt, unlockpt and ptsname do on Linux.
        master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        var (locked, number): (Int32, Int32) = (0, 0)
        guard master >= 0, ioctl(master, 0x4004_5431 /* TIOCSPTLCK */, &locked) == 0, ioctl(master, 0x8004_5430 /* TIOCGPTN */, &number) == 0 else {
            throw Failure(what: "no pseudo-terminal: \(String(cString: strerror(errno)))")
        }
        let name = "/dev/pts/\(number)"
        _ = fcntl(master, F_SETFD, FD_CLOEXEC)
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        _ = ioctl(master, UInt(TIOCSWINSZ), &size)

        var attributes = posix_spawnattr_t(), actions = posix_spawn_file_actions_t()
        posix_spawnattr_init(&attributes)
        posix_spawn_file_actions_init(&actions)
        defer {
            posix_spawnattr_destroy(&attributes)
            posix_spawn_file_actions_destroy(&actions)
        }
        posix_spawnattr_setflags(&attributes, Int16(0x80 /* POSIX_SPAWN_SETSID */))
        // The first terminal that a session's leader opens is its own.
        posix_spawn_file_actions_addopen(&actions, 0, name, O_RDWR, 0)
        posix_spawn_file_actions_adddup2(&actions, 0, 1)
        posix_spawn_file_actions_addopen(&actions, 2, folder + "/err", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        let program = try Child.program()
        var variables = ProcessInfo.processInfo.environment.merging(["TERM": "xterm-256color"]) { $1 }.merging(environment) { $1 }
        variables["NO_COLOR"] = environment["NO_COLOR"]
        var arguments: [UnsafeMutablePointer<CChar>?] = ([program] + words).map { strdup($0) } + [nil]
        var pairs: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in arguments + pairs { free(pointer) } }
        var child: pid_t = 0
        let code = posix_spawn(&child, program, &actions, &attributes, &arguments, &pairs)
        guard code == 0 else { throw Failure(what: "\(program): \(String(cString: strerror(code)))") }
        processID = child
    }

    deinit {
        if status == nil { kill(processID, SIGKILL); _ = try? wait() }
        close(master)
        try? FileManager.default.removeItem(atPath: folder)
    }

    var err: String { (try? String(contentsOfFile: folder + "/err", encoding: .utf8)) ?? "" }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { write(master, $0.baseAddress, $0.count) }
    }

    func resize(columns: UInt16, rows: UInt16) {
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        _ = ioctl(master, UInt(TIOCSWINSZ), &size)  // the kernel sends SIGWINCH
    }

    /// Takes what has come. - Returns: Whether more may come.
    private func take(_ milliseconds: Int32) -> Bool {
        var descriptor = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
        guard poll(&descriptor, 1, milliseconds) > 0 else { return true }
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = read(master, &bytes, bytes.count)
        if count > 0 { output += bytes[..<count] }
        return count > 0
    }

    var text: String { String(decoding: output, as: UTF8.self) }

    /// The last whole picture, without its colours; empty before the first.
    var screen: [String] {
        let end = "\u{1B}[J", begin = "\u{1B}[H"
        let text = String(decoding: output.suffix(1 << 16), as: UTF8.self)
        guard let last = text.range(of: end, options: .backwards), let first = text[..<last.lowerBound].range(of: begin, options: .backwards) else { return [] }
        let plain = text[first.upperBound..<last.lowerBound].replacing(#/\x1B\[[0-9;]*[mK]/#, with: "")
        return plain.split(separator: "\r\n", omittingEmptySubsequences: false).map(String.init)
    }

    /// Waits for a picture; a minute is for a program that hangs.
    @discardableResult
    func wait(_ what: String, for condition: ([String]) -> Bool) throws -> [String] {
        for _ in 0..<6000 {
            let goesOn = take(10), screen = screen
            if condition(screen) { return screen }
            if !goesOn { break }
        }
        throw Failure(what: "\(what) did not come; the last picture is\n\(screen.joined(separator: "\n"))\nstandard error: \(err)")
    }

    /// Waits for the end. - Returns: The exit code, or minus the signal.
    func wait() throws -> Int32 {
        if let status { return status }
        var raw: Int32 = 0
        while true {
            let found = waitpid(processID, &raw, WNOHANG)
            if found == processID { break }
            if found < 0, errno != EINTR { throw Failure(what: "the process \(processID) cannot be waited for") }
            _ = take(10)
        }
        while take(0), poll0() {}
        let code = raw & 0x7F == 0 ? (raw >> 8) & 0xFF : -(raw & 0x7F)
        status = code
        return code
    }

    private func poll0() -> Bool {
        var descriptor = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
        return poll(&descriptor, 1, 0) > 0 && descriptor.revents & Int16(POLLIN) != 0
    }
}
