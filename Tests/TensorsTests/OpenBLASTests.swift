import Testing

@testable import Tensors

/// One suite, one test at a time: the kernels are the process's.
@Suite("OpenBLAS", .serialized) struct OpenBLASTests {
    /// Forward, input gradient and weight gradient.
    func run(_ s: ProductTests.Shape, _ compute: Compute) -> [[Float]] {
        let (x, w, dy) = (randomMatrix(s.rows, s.inputs, seed: 1), randomMatrix(s.outputs, s.inputs, seed: 2), randomMatrix(s.rows, s.outputs, seed: 3))
        let layer = PackedLinear(outputs: s.outputs, inputs: s.inputs, precision: .fp32)
        layer.pack(w, on: compute)
        let (y, dx, dw) = (Matrix(rows: s.rows, columns: s.outputs), Matrix(rows: s.rows, columns: s.inputs), randomMatrix(s.outputs, s.inputs, seed: 4))
        layer.forward(x, into: y, on: compute)
        layer.backwardInput(dy, into: dx, on: compute)
        layer.backwardInput(dy, into: dx, accumulate: true, on: compute)
        accumulateWeightGradient(Operand(dy), Operand(x), into: dw, on: compute)
        return [y.array, dx.array, dw.array]
    }

    @Test("its products are ours to rounding, and 1 thread = 2 threads bit for bit", arguments: [nil, "SkylakeX", "Haswell"]) func agreement(core: String?) throws {
        if core == "SkylakeX", KernelPath.avx512.unavailability != nil { return print("skipped: SkylakeX kernels need AVX-512") }
        if core == "Haswell", KernelPath.avx2.unavailability != nil { return print("skipped: Haswell kernels need AVX2") }
        OpenBLAS.use(core: core)
        defer { OpenBLAS.use(core: nil) }
        if let core { #expect(OpenBLAS.core == core) }
        let own = try Compute(threads: 1, floatProducts: .own)
        let one = try Compute(threads: 1, floatProducts: .openblas), two = try Compute(threads: 2, floatProducts: .openblas)
        for s in ProductTests.shapes + [ProductTests.Shape(rows: 900, outputs: 500, inputs: 310)] {
            let (ours, theirs) = (run(s, own), run(s, one))
            #expect(theirs == run(s, two), "\(s): 1 and 2 threads differ")
            for (a, b) in zip(ours, theirs) {
                let worst = zip(a, b).map { abs($0 - $1) }.max() ?? 0
                #expect(worst < 5e-4, "\(s) on \(OpenBLAS.core): off by \(worst)")
            }
        }
    }
}
