import CAlign
import Foundation

/// What the process runs on.
public enum Machine {
    /// The processor's own name.
    public static var processor: String {
        var name = [CChar](repeating: 0, count: 64)
        align_cpu_name(&name)
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).trimmingCharacters(in: .whitespaces)
    }

    /// Processors that the system lets this process use.
    public static var processors: Int { ProcessInfo.processInfo.activeProcessorCount }

    /// Bytes of main memory.
    public static var memory: Int { Int(clamping: ProcessInfo.processInfo.physicalMemory) }

    /// The process's largest resident size so far, in bytes (VmHWM); nil where the system does not tell.
    public static var peakMemory: Int? {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8) else { return nil }
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line?.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }.map { $0 * 1024 }
    }
}
