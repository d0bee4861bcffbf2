import Foundation
import Synchronization

/// The process's two streams: results on standard output, progress and warnings on standard error.
enum Output {
    /// Standard output cannot take more.
    enum Failure: Error, Equatable, CustomStringConvertible {
        /// Its reader has gone (`align … | head`): a reason to stop, not to complain.
        case closed
        case failed(code: Int32)

        var description: String {
            switch self {
            case .closed: "standard output was closed by its reader."
            case let .failed(code): "standard output: cannot write: \(String(cString: strerror(code)))."
            }
        }
    }

    /// Without this, writing to a pipe nobody reads would end the process before it could save anything.
    static func ignoreBrokenPipes() { signal(SIGPIPE, SIG_IGN) }

    /// Writes to standard output, at once.
    static func write(_ text: String) throws(Failure) { try write(text, to: STDOUT_FILENO) }
    static func line(_ text: String) throws(Failure) { try write(text + "\n") }

    /// Writes a line to standard error; nobody may be reading it, and that is fine.
    static func note(_ text: String) { try? write(text + "\n", to: STDERR_FILENO) }
    /// Asks for input, on standard error, the line left open.
    static func prompt(_ text: String) { try? write(text, to: STDERR_FILENO) }
    static func warn(_ text: String) { note("warning: " + text) }

    /// The same of what comes up several times in one run, and is news once.
    static func noteOnce(_ text: String) { if noted.withLock({ $0.insert(text).inserted }) { note(text) } }
    static func warnOnce(_ text: String) { noteOnce("warning: " + text) }
    private static let noted = Mutex<Set<String>>([])

    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    private static func write(_ text: String, to descriptor: Int32) throws(Failure) {
        let bytes = Array(text.utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress! + done, bytes.count - done) }
            if count < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN {
                    usleep(1000)
                    continue
                }
                throw errno == EPIPE ? .closed : .failed(code: errno)
            }
            done += count
        }
    }
}

/// Whether the user, or a scheduler, has asked the process to stop: SIGINT and SIGTERM, once to save and stop, twice to stop at once.
enum Interrupt {
    private static let requests = Atomic<Int>(0)
    private static let isQuiet = Atomic<Bool>(false)

    static var isRequested: Bool { requests.load(ordering: .relaxed) > 0 }

    /// From here on the signals only set the flag; the second one ends the process.
    /// - Parameter quietly: Without a notice, where stopping is nothing unusual.
    static func install(quietly: Bool = false) {
        // Storing also makes both exist before a handler touches them.
        requests.store(0, ordering: .relaxed)
        isQuiet.store(quietly, ordering: .relaxed)
        for number in [SIGINT, SIGTERM] { signal(number, handler) }
    }

    /// Back to the system's own treatment.
    static func uninstall() { for number in [SIGINT, SIGTERM] { signal(number, SIG_DFL) } }

    /// For a loop that goes on after an interruption, such as a chat.
    static func clear() { requests.store(0, ordering: .relaxed) }

    private static let handler: @convention(c) (Int32) -> Void = { _ in
        // Only what a signal handler may do: an atomic and write(2).
        if Interrupt.requests.add(1, ordering: .relaxed).newValue >= 2 { _exit(ExitCode.interrupted.rawValue) }
        if Interrupt.isQuiet.load(ordering: .relaxed) { return }
        let text: StaticString = "\ninterrupted: saving and stopping; once more to stop at once\n"
        _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }
}
