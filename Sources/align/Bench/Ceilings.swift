import Foundation
import Serialization
import Tensors

/// What this machine can do, measured at the start of a run: later figures are shares of these.
///
/// A ceiling is the best of its rounds: whatever else the machine does at the time can only make it look slower than it is.
struct Ceilings {
    /// The fastest product, by precision.
    var products: [Precision: Ceiling] = [:]
    /// Reading 1 GB, and a buffer that the cache holds, on all threads.
    var memory: Ceiling?
    var cache: Ceiling?
    /// Every product of the model's shapes, our own and OpenBLAS's.
    var measured: [MeasuredProduct] = []

    /// The cache's rate for what it holds, else memory's.
    func reading(bytes: Int) -> Ceiling? { bytes <= Ceilings.cacheSize / 2 ? cache : memory }

    /// Bytes of the largest cache that the system tells of, else 8 MB.
    static let cacheSize: Int = {
        let folder = "/sys/devices/system/cpu/cpu0/cache"
        let sizes = (0..<8).compactMap { index -> Int? in
            guard let text = try? String(contentsOfFile: "\(folder)/index\(index)/size", encoding: .utf8) else { return nil }
            let word = text.trimmingCharacters(in: .whitespacesAndNewlines)
            let unit = word.hasSuffix("K") ? 1 << 10 : word.hasSuffix("M") ? 1 << 20 : 1
            return Int(word.filter(\.isNumber)).map { min($0, 1 << 20) * unit }
        }
        return sizes.max() ?? 8 << 20
    }()

    /// Measures all and tells the ceilings.
    static func measure(_ context: BenchContext) throws {
        context.part = "machine"
        var precisions: [Precision] = [.fp32]
        if context.compute.path.hasFastBF16 || context.precision == .bf16 { precisions.insert(.bf16, at: 0) }
        let own = context.compute.floatProducts == .own ? context.compute : try context.compute.with(.own)
        let openBLAS = try context.compute.with(.openblas)
        for shape in ProductShape.training(context.config) {
            for precision in precisions {
                context.ceilings.measured += MeasuredProduct.measure(shape, precision: precision, rounds: context.rounds, on: own)
            }
            context.ceilings.measured += MeasuredProduct.measure(shape, precision: .fp32, rounds: context.rounds, on: openBLAS)
        }
        for precision in precisions {
            let candidates = context.ceilings.measured.filter { $0.precision == precision }
            guard let best = candidates.max(by: { $0.best < $1.best }) else { continue }
            let whose = precision == .fp32 && best.products == .openblas ? ", OpenBLAS" : ""
            try context.report(
                Figure(
                    "fastest product, \(precision.rawValue)", best.rates, "GFLOP/s", note: "\(best.shape.name), \(best.kind.rawValue)\(whose)"))
            context.ceilings.products[precision] = Ceiling(name: "products, \(precision.rawValue)", value: best.best, unit: "GFLOP/s")
        }
        let memory = Figure("memory read, 1 GB", reading(bytes: 1 << 30, times: 1, context), "GB/s")
        context.ceilings.memory = Ceiling(name: "memory", value: memory.best, unit: "GB/s")
        try context.report(memory)
        let bytes = cacheSize / 4
        let cache = Figure("cache read, \(byteCount(bytes))", reading(bytes: bytes, times: max(1, (1 << 30) / bytes), context), "GB/s")
        context.ceilings.cache = Ceiling(name: "cache", value: cache.best, unit: "GB/s")
        try context.report(cache)
    }

    /// Measures the run's ceilings again at its end, and says how far the machine is from what it was: shares are as certain as that.
    static func measureDrift(_ context: BenchContext) throws {
        let ceilings = context.ceilings
        let ours = ceilings.measured.filter { $0.precision == context.precision && $0.products == .own }
        guard let best = ours.max(by: { $0.best < $1.best }), let memory = ceilings.memory else { return }
        let own = context.compute.floatProducts == .own ? context.compute : try context.compute.with(.own)
        let again = MeasuredProduct.measure(best.shape, precision: context.precision, rounds: context.rounds, on: own).filter { $0.kind == best.kind }
        let read = reading(bytes: 1 << 30, times: 1, context).max() ?? 0
        let drift = [("products, \(context.precision.rawValue)", (again.map(\.best).max() ?? 0) / best.best), ("memory", read / memory.value)]
        context.extra["drift"] = .object(JSONObject(drift.map { ($0.0, .number($0.1)) }))
        let isSteady = drift.allSatisfy { (0.8...1.25).contains($0.1) }
        try context.say(
            "at the end: " + drift.map { $0.0 + formatted($0.1, " %.2f") }.joined(separator: ", ") + " of what they were at the start"
                + (isSteady ? "" : "; the machine changed meanwhile: shares are uncertain"))
    }

    /// GB/s.
    private static func reading(bytes: Int, times: Int, _ context: BenchContext) -> [Double] {
        let buffer = FloatBuffer(count: bytes / 4)
        let block = 1 << 16
        let blocks = buffer.count / block
        context.compute.parallel(blocks) { i in (buffer.base + i * block).update(repeating: 1, count: block) }
        let seconds = Stopwatch.seconds(rounds: max(10, context.rounds)) {
            for _ in 0..<times { context.compute.parallel(blocks) { i in read(buffer.base + i * block, count: block) } }
        }
        return seconds.map { 4e-9 * Double(blocks * block * times) / $0 }
    }

    /// Loads every float and does as little with them as keeps the compiler from leaving it out.
    @inline(never) private static func read(_ floats: UnsafeMutablePointer<Float>, count: Int) {
        let words = UnsafeMutableRawPointer(floats)
        var (a, b, c, d) = (SIMD16<UInt32>(), SIMD16<UInt32>(), SIMD16<UInt32>(), SIMD16<UInt32>())
        for offset in stride(from: 0, to: 4 * count, by: 256) {
            a |= words.load(fromByteOffset: offset, as: SIMD16<UInt32>.self)
            b |= words.load(fromByteOffset: offset + 64, as: SIMD16<UInt32>.self)
            c |= words.load(fromByteOffset: offset + 128, as: SIMD16<UInt32>.self)
            d |= words.load(fromByteOffset: offset + 192, as: SIMD16<UInt32>.self)
        }
        precondition((a | b | c | d)[0] == Float(1).bitPattern, "what was read is not what was written")
    }
}

extension Compute {
    /// The same threads and kernels with other fp32 products.
    func with(_ products: FloatProducts) throws -> Compute { try Compute(threads: threads, path: path, floatProducts: products) }
}
