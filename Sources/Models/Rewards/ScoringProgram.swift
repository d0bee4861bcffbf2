import Foundation

/// A child process that is given lines and answers with lines, for as long as we live.
final class ScoringProgram {
    /// Why no line came.
    enum Fault: Error, Equatable {
        case cannotStart(String)
        case ended(String)
        case silent(seconds: Double)
        case tooLong(limit: Int)
        case cancelled
    }
    static let lineLimit = 1 << 20
    private static let errorsKept = 2048

    private let process = Process()
    private let input = Pipe(), output = Pipe(), errors = Pipe()
    private var received: [UInt8] = []
    /// The end of what it said on standard error.
    private var complaints: [UInt8] = []
    private let isCancelled: @Sendable () -> Bool

    /// - Parameter command: Taken by the shell, so that it may have arguments and quotes.
    init(command: String, isCancelled: @escaping @Sendable () -> Bool) throws(Fault) {
        self.isCancelled = isCancelled
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", "exec " + command]
        (process.standardInput, process.standardOutput, process.standardError) = (input, output, errors)
        do { try process.run() } catch { throw .cannotStart(error.localizedDescription) }
        for handle in [input.fileHandleForWriting, output.fileHandleForReading, errors.fileHandleForReading] {
            _ = fcntl(handle.fileDescriptor, F_SETFL, fcntl(handle.fileDescriptor, F_GETFL) | O_NONBLOCK)
        }
        // Ours of the child's ends: else the end of its output would never be seen.
        try? input.fileHandleForReading.close()
        try? output.fileHandleForWriting.close()
        try? errors.fileHandleForWriting.close()
    }

    deinit {
        try? input.fileHandleForWriting.close()
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    /// Sends a line and waits for the one that answers it.
    /// - Parameter seconds: Until the whole answer is here; then the program is ended.
    func answer(to line: String, seconds: Double) throws(Fault) -> String {
        let deadline = Deadline(seconds: seconds, isCancelled: isCancelled)
        var unsent = Array((line + "\n").utf8)[...]
        while true {
            if let end = received.firstIndex(of: 0x0A) {
                defer { received.removeFirst(end + 1) }
                return String(decoding: received[..<end], as: UTF8.self)
            }
            guard received.count <= Self.lineLimit else { throw .tooLong(limit: Self.lineLimit) }
            if deadline.wasCancelled { throw .cancelled }
            if deadline.isOver {
                kill(process.processIdentifier, SIGKILL)
                throw .silent(seconds: seconds)
            }
            try step(&unsent, deadline)
        }
    }

    /// Waits for any of its streams, and moves what can be moved.
    private func step(_ unsent: inout ArraySlice<UInt8>, _ deadline: Deadline) throws(Fault) {
        let (inputID, outputID, errorsID) = (input.fileHandleForWriting.fileDescriptor, output.fileHandleForReading.fileDescriptor, errors.fileHandleForReading.fileDescriptor)
        var requests = [
            pollfd(fd: outputID, events: Int16(POLLIN), revents: 0), pollfd(fd: errorsID, events: Int16(POLLIN), revents: 0),
            pollfd(fd: unsent.isEmpty ? -1 : inputID, events: Int16(POLLOUT), revents: 0),
        ]
        guard poll(&requests, 3, deadline.pollMilliseconds) > 0 else { return }
        if requests[1].revents != 0, let bytes = Self.read(errorsID) {
            complaints += bytes
            complaints.removeFirst(max(0, complaints.count - Self.errorsKept))
        }
        if requests[2].revents != 0 {
            let count = BrokenPipe.ignored { unsent.withUnsafeBytes { write(inputID, $0.baseAddress, $0.count) } }
            if count > 0 { unsent = unsent.dropFirst(count) } else if count < 0, errno != EAGAIN, errno != EINTR { unsent = [] }  // it has closed its input: its end follows
        }
        if requests[0].revents != 0 {
            guard let bytes = Self.read(outputID) else { return }
            if bytes.isEmpty { throw .ended(ending()) }
            received += bytes
        }
    }

    /// What is there; empty at the end, nil where it must be waited for.
    private static func read(_ descriptor: Int32) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        let count = buffer.withUnsafeMutableBytes { Foundation.read(descriptor, $0.baseAddress, $0.count) }
        if count < 0 { return errno == EAGAIN || errno == EINTR ? nil : [] }
        return Array(buffer[..<count])
    }

    /// How it ended, and its last words.
    private func ending() -> String {
        // It has closed its output; one that lives on without is as good as gone.
        let patience = Deadline(seconds: 1)
        while process.isRunning, !patience.isOver { usleep(2000) }
        while let bytes = Self.read(errors.fileHandleForReading.fileDescriptor), !bytes.isEmpty { complaints = Array((complaints + bytes).suffix(Self.errorsKept)) }
        var text = "it closed its output"
        if !process.isRunning {
            let status = process.terminationStatus
            text = process.terminationReason == .uncaughtSignal ? "it was ended by signal \(status)" : "it ended with status \(status)"
        }
        let words = String(decoding: complaints, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        let last = words.split(separator: "\n").suffix(3).joined(separator: " / ")
        return last.isEmpty ? text : text + "; its last words: \(last)"
    }
}
