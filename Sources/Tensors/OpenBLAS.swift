import CAlign
import Foundation

/// Whose fp32 products of large matrices. bf16 products and attention are always our own.
public enum FloatProducts: String, CaseIterable, Sendable {
    /// Our kernels: a row's bits do not depend on the rows beside it.
    case own
    /// OpenBLAS, single-threaded calls on fixed blocks: bits depend on the block's shape, not on the number of threads.
    case openblas

    /// `ALIGN_BLAS` if set, else our own.
    static func chosen() throws(ComputeError) -> FloatProducts {
        guard let name = ProcessInfo.processInfo.environment["ALIGN_BLAS"], !name.isEmpty else { return .own }
        guard let products = FloatProducts(rawValue: name) else { throw .unknownProducts(name) }
        return products
    }
}

/// The system's BLAS, with the kernels that fit the processor.
public enum OpenBLAS {
    /// The kernels in use, such as `SkylakeX`. Asking for them chooses them.
    public static var core: String {
        prepare()
        return String(cString: align_blas_core())
    }

    /// Chooses the kernels once, before the first product.
    static func prepare() { _ = chosen }
    private static let chosen: Void = { _ = align_blas_choose_core(nil) }()

    /// Changes the kernels, for comparing them; no product may be running.
    public static func use(core: String?) {
        prepare()
        _ = align_blas_choose_core(core)
    }

    /// Rows of one call: a constant, so that the calls do not depend on the number of threads.
    private static let rowBlock = 192

    /// y (+)= x·Wᵀ (`transposed`) or x·W.
    static func product(_ x: Matrix, _ w: Matrix, transposed: Bool, into y: Matrix, accumulate: Bool, on compute: Compute) {
        compute.forEachRowBlock(x.rows, size: rowBlock) { r in
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, blasint(r.count), blasint(y.columns), blasint(x.columns), 1,
                x.pointer + r.lowerBound * x.stride, blasint(x.stride), w.pointer, blasint(w.stride), accumulate ? 1 : 0,
                y.pointer + r.lowerBound * y.stride, blasint(y.stride))
        }
    }

    /// dW += dyᵀ·x, in blocks of dW's rows.
    static func weightGradient(_ dy: Matrix, _ x: Matrix, into dw: Matrix, on compute: Compute) {
        compute.forEachRowBlock(dw.rows, size: rowBlock) { r in
            cblas_sgemm(
                CblasRowMajor, CblasTrans, CblasNoTrans, blasint(r.count), blasint(dw.columns), blasint(x.rows), 1, dy.pointer + r.lowerBound,
                blasint(dy.stride), x.pointer, blasint(x.stride), 1, dw.pointer + r.lowerBound * dw.stride, blasint(dw.stride))
        }
    }
}
