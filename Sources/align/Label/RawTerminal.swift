import Foundation
import Synchronization

/// The terminal with every key delivered at once and a screen of its own; given back as it was found.
final class RawTerminal {
    enum Event {
        case bytes([UInt8])
        case signal(Int32)
        case silence
        /// Nobody is there any more.
        case closed
    }

    private var original = termios()
    private var isRaw = false

    init() { Signals.open() }
    deinit {
        leave()
        Signals.close()
    }

    static var isPresent: Bool { isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb" }

    /// Keys without echo, one by one; Ctrl-C and Ctrl-Z remain signals. The alternate screen keeps what was on the first one.
    func enter() {
        guard !isRaw, tcgetattr(STDIN_FILENO, &original) == 0 else { return }
        var raw = original
        raw.c_lflag &= ~tcflag_t(ICANON | ECHO | IEXTEN)
        raw.c_iflag &= ~tcflag_t(IXON | ICRNL | INLCR)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw)
        isRaw = true
        write("\u{1B}[?1049h\u{1B}[?25l")
    }

    func leave() {
        guard isRaw else { return }
        isRaw = false
        write("\u{1B}[0m\u{1B}[?25h\u{1B}[?1049l")
        tcsetattr(STDIN_FILENO, TCSADRAIN, &original)
    }

    /// Stops the process, as Ctrl-Z asked, and goes on when it is continued.
    func suspend() {
        leave()
        kill(getpid(), SIGSTOP)
        enter()
    }

    /// Forgets keys that were typed before what is on the screen now was there.
    func discardTyped() { tcflush(STDIN_FILENO, TCIFLUSH) }

    var size: (columns: Int, rows: Int) {
        var window = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0, window.ws_row > 0 else { return (80, 24) }
        return (Int(window.ws_col), Int(window.ws_row))
    }

    func write(_ text: String) { try? Output.write(text) }

    /// - Parameter milliseconds: nil waits as long as it takes.
    func wait(_ milliseconds: Int32?) -> Event {
        while true {
            var descriptors = [pollfd(fd: Signals.reading, events: Int16(POLLIN), revents: 0), pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)]
            let count = poll(&descriptors, 2, milliseconds ?? -1)
            if count == 0 { return .silence }
            if count < 0 {
                if errno == EINTR { continue }
                return .closed
            }
            if descriptors[0].revents != 0 {
                var number: UInt8 = 0
                if read(Signals.reading, &number, 1) == 1 { return .signal(Int32(number)) }
                continue
            }
            var bytes = [UInt8](repeating: 0, count: 1024)
            let length = read(STDIN_FILENO, &bytes, bytes.count)
            if length > 0 { return .bytes(Array(bytes[..<length])) }
            if length < 0, errno == EINTR || errno == EAGAIN { continue }
            return .closed
        }
    }
}

/// Signals as bytes in a pipe: what they ask for is done between two keys, not in the middle of a vote.
private enum Signals {
    private static let ends = Mutex<(reading: Int32, writing: Int32)>((-1, -1))
    /// What the handler writes to; it may not take a lock.
    private static let writing = Atomic<Int32>(-1)
    private static let numbers = [SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP, SIGCONT]

    static var reading: Int32 { ends.withLock { $0.reading } }

    static func open() {
        var pair: [Int32] = [-1, -1]
        guard pipe(&pair) == 0 else { return }
        for end in pair {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        ends.withLock { $0 = (pair[0], pair[1]) }
        writing.store(pair[1], ordering: .relaxed)
        for number in numbers { signal(number, handler) }
    }

    static func close() {
        for number in numbers { signal(number, SIG_DFL) }
        writing.store(-1, ordering: .relaxed)
        ends.withLock {
            _ = Foundation.close($0.reading)
            _ = Foundation.close($0.writing)
            $0 = (-1, -1)
        }
    }

    private static let handler: @convention(c) (Int32) -> Void = { number in
        var byte = UInt8(truncatingIfNeeded: number)
        _ = write(Signals.writing.load(ordering: .relaxed), &byte, 1)
    }
}
