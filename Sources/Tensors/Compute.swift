import CAlign
import Foundation
import Synchronization

/// The threads and the kernels that a model computes with.
///
/// A loop is cut into tasks whose number depends on its size alone, and a task writes its own rows only; which thread
/// takes which task is left to chance, and changes nothing.
public final class Compute: Sendable {
    public let threads: Int
    public let path: KernelPath
    /// Whose fp32 products.
    public let floatProducts: FloatProducts
    // A constant of the C target.
    nonisolated(unsafe) let kernels: UnsafePointer<align_kernels>
    // A C structure that guards itself.
    private nonisolated(unsafe) let team: OpaquePointer
    private let scratch = Mutex<[FloatBuffer]>([])
    /// Where the time goes, while somebody wants to know.
    public let phaseTimes = PhaseTimes()

    /// - Parameters:
    ///   - threads: nil: one per processor that the system lets this process use.
    ///   - path: nil: `ALIGN_KERNELS`, else the best.
    ///   - floatProducts: nil: `ALIGN_BLAS`, else our own.
    public init(threads: Int? = nil, path: KernelPath? = nil, floatProducts: FloatProducts? = nil) throws(ComputeError) {
        let count = max(1, min(threads ?? ProcessInfo.processInfo.activeProcessorCount, 1024))
        self.threads = count
        if let path {
            if let reason = path.unavailability { throw .unavailablePath(path, reason: reason) }
            self.path = path
        } else {
            self.path = try KernelPath.chosen()
        }
        kernels = self.path.kernels
        if let floatProducts { self.floatProducts = floatProducts } else { self.floatProducts = try FloatProducts.chosen() }
        if self.floatProducts == .openblas { OpenBLAS.prepare() }
        guard let team = align_team_create(Int32(count)) else { throw .noThreads(count) }
        self.team = team
    }

    deinit { align_team_destroy(team) }

    /// Everything about the kernels that decides the bits of a product: the path, and OpenBLAS where it multiplies.
    public func identity(_ precision: Precision) -> String {
        precision == .fp32 && floatProducts == .openblas ? "\(path.rawValue)+openblas-\(OpenBLAS.core)" : path.rawValue
    }

    /// bf16 where the processor multiplies it faster than fp32.
    public var defaultPrecision: Precision { path.hasFastBF16 ? .bf16 : .fp32 }

    /// Calls `body` once with each of `0..<count`, on any of the threads, and returns when all are done.
    /// Inside a body the call runs on the calling thread.
    public func parallel(_ count: Int, _ body: (Int) -> Void) {
        if count == 1 { return body(0) }  // nobody to share with: no context to make for the team
        withoutActuallyEscaping(body) { body in
            var body = body
            withUnsafeMutablePointer(to: &body) { pointer in
                align_team_run(team, Int32(count), { context, index in
                    context!.assumingMemoryBound(to: ((Int) -> Void).self).pointee(Int(index))
                }, pointer)
            }
        }
    }

    /// Rows of one task of a product over many: about `productRows`, in whole tiles, so that the threads end together.
    func productBlock(_ rows: Int) -> Int {
        let tile = Int(kernels.pointee.tile)
        func makespan(_ size: Int) -> Int { ((rows + size - 1) / size + threads - 1) / threads * size }
        let sizes = Swift.stride(from: productRows / tile * tile, through: productRows / 2, by: -tile)
        return sizes.min { makespan($0) < makespan($1) } ?? productRows
    }

    /// Lends at least `floats` floats of memory that holds anything; kept for the next caller.
    func withScratch(_ floats: Int, _ body: (UnsafeMutablePointer<Float>) -> Void) { withScratchBuffer(floats) { body($0.base) } }

    /// The same, as a buffer that matrices can be views of.
    func withScratchBuffer(_ floats: Int, _ body: (FloatBuffer) -> Void) {
        let found: FloatBuffer? = scratch.withLock { free in
            // The smallest that fits, so that large ones stay for those who need them.
            let fitting = free.indices.filter { free[$0].count >= floats }.min { free[$0].count < free[$1].count }
            return fitting.map { free.remove(at: $0) }
        }
        let buffer = found ?? FloatBuffer(count: floats)
        body(buffer)
        scratch.withLock { free in
            free.append(buffer)
            if free.count > 2 * threads + 6, let least = free.indices.min(by: { free[$0].count < free[$1].count }) { free.remove(at: least) }
        }
    }
}
