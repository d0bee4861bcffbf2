import CAlign
import Foundation

/// A version of the kernels, for one instruction set; best first.
public enum KernelPath: String, CaseIterable, Sendable, Codable {
    /// Intel's matrix unit, bf16 operands.
    case amx
    /// AVX-512 with dot products of bf16 pairs.
    case avx512bf16
    case avx512
    case avx2
    /// Plain C: any processor.
    case portable

    private var number: Int32 {
        switch self {
        case .amx: Int32(align_path_amx)
        case .avx512bf16: Int32(align_path_avx512bf16)
        case .avx512: Int32(align_path_avx512)
        case .avx2: Int32(align_path_avx2)
        case .portable: Int32(align_path_portable)
        }
    }

    /// What a path gave when this process first asked: its kernels, or why there are none.
    private struct Probe: @unchecked Sendable {  // the tables are constants of the C target
        var kernels: UnsafePointer<align_kernels>?
        var reason: String
    }

    private static let probes: [KernelPath: Probe] = Dictionary(
        uniqueKeysWithValues: allCases.map { path in
            var reason: UnsafePointer<CChar>?
            let kernels = align_kernels_for(path.number, &reason)
            return (path, Probe(kernels: kernels, reason: reason.map { String(cString: $0) } ?? ""))
        })

    /// Paths that this machine runs, best first.
    public static var available: [KernelPath] { allCases.filter { probes[$0]?.kernels != nil } }

    /// Why the path is not available; nil if it is.
    public var unavailability: String? { Self.probes[self]?.kernels == nil ? Self.probes[self]?.reason : nil }

    var kernels: UnsafePointer<align_kernels> {
        guard let kernels = Self.probes[self]?.kernels else { preconditionFailure("kernel path \(rawValue) is not available: \(unavailability ?? "")") }
        return kernels
    }

    /// Whether products of bf16 operands have an instruction of their own, and so are faster than fp32.
    public var hasFastBF16: Bool { self == .amx || self == .avx512bf16 }

    /// The path to use: `ALIGN_KERNELS` if set, else the best.
    /// - Throws: `ComputeError.unknownPath` or `.unavailablePath` for what `ALIGN_KERNELS` names.
    public static func chosen() throws(ComputeError) -> KernelPath {
        guard let name = ProcessInfo.processInfo.environment["ALIGN_KERNELS"], !name.isEmpty else { return available[0] }
        guard let path = KernelPath(rawValue: name) else { throw .unknownPath(name) }
        if let reason = path.unavailability { throw .unavailablePath(path, reason: reason) }
        return path
    }
}

/// What operands of matrix products are rounded to. Weights, sums and everything else are fp32 in either case.
public enum Precision: String, CaseIterable, Sendable, Codable {
    case fp32
    case bf16
}

public enum ComputeError: Error, Equatable, CustomStringConvertible {
    case unknownPath(String)
    case unavailablePath(KernelPath, reason: String)
    case noThreads(Int)
    case unknownProducts(String)

    public var description: String {
        let paths = KernelPath.available.map(\.rawValue).joined(separator: ", ")
        switch self {
        case let .unknownPath(name): return "ALIGN_KERNELS is \"\(name)\"; this machine has \(paths)."
        case let .unavailablePath(path, reason): return "ALIGN_KERNELS is \"\(path.rawValue)\", but \(reason); this machine has \(paths)."
        case let .unknownProducts(name): return "ALIGN_BLAS is \"\(name)\"; it can be own or openblas."
        case let .noThreads(count): return "\(count) threads could not be started; try --threads 1."
        }
    }
}
