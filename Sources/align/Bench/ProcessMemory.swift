import Foundation

/// The process's resident memory, where the system tells (Linux).
enum ProcessMemory {
    private static func field(_ name: String, of file: String) -> Int? {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
        return line?.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }.map { $0 * 1024 }
    }

    /// Bytes now (VmRSS), and the most since the start or the last reset (VmHWM).
    static var resident: Int? { field("VmRSS", of: "/proc/self/status") }
    static var peak: Int? { field("VmHWM", of: "/proc/self/status") }
    /// Bytes that the system could give without swapping.
    static var available: Int? { field("MemAvailable", of: "/proc/meminfo") }

    /// Sets the peak back to what is resident now, so that it tells what comes next.
    /// - Returns: The bytes resident now; nil where the system does not allow it.
    static func restartPeak() -> Int? {
        guard let handle = FileHandle(forWritingAtPath: "/proc/self/clear_refs") else { return nil }
        defer { try? handle.close() }
        guard (try? handle.write(contentsOf: Data("5".utf8))) != nil else { return nil }
        return resident
    }
}
