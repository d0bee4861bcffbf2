import Checkpoints
import Foundation
import Serialization
import Tensors
import Testing
import Training

@testable import align

/// Runs of a transformer through the stage that are equal by definition, on each kernel path of the machine.
@Suite("Equal stages") struct EqualStagesTests {
    let place: KilledFolder
    init() throws { place = try KilledFolder() }

    private func train(_ run: String, _ path: KernelPath, threads: Int = 1, _ more: [String]) async throws {
        let invocation = try DPOCommand.parse(place.words(run, more)).invocation
        let context = invocation.context(on: try Compute(threads: threads, path: path), model: place.folder.model)
        let outcome = try await PreferenceOptimization(invocation.settings).run(in: context)
        #expect(outcome.status == .finished)
    }

    /// The largest difference of a run's weights from another's.
    private func distance(_ a: String, _ b: String) throws -> Double {
        func weights(_ run: String) throws -> [Float] {
            let checkpoint = try Checkpoint.open("\(place.path)/\(run)/model")
            return try checkpoint.tensors.keys.sorted().flatMap { name in
                var values = [Float](repeating: .nan, count: checkpoint.tensors[name]?.count ?? 0)
                try values.withUnsafeMutableBufferPointer { try checkpoint.read(name, into: $0) }
                return values
            }
        }
        return zip(try weights(a), try weights(b)).map { abs(Double($0) - Double($1)) }.max() ?? .infinity
    }

    /// Compares numbers of two runs' lines: |x − y| ≤ tolerance · max(1, |x|).
    private func expectClose(_ a: String, _ b: String, keys: [String], lines: Int, tolerance: Double) throws {
        let (left, right) = (try place.metrics(a), try place.metrics(b))
        #expect(left.count == lines && right.count == lines, "\(left.count) and \(right.count) lines, \(lines) were expected")
        for (x, y) in zip(left, right) {
            for key in keys {
                guard let one = x[key]?.double, let other = y[key]?.double else {
                    if x[key] != nil || y[key] != nil { Issue.record("\(key) is missing in one of \(x) and \(y)") }
                    continue
                }
                #expect(abs(one - other) <= tolerance * max(1, abs(one)), "step \(x["step"]?.int ?? -1), \(key): \(one) and \(other)")
            }
        }
    }

    @Test("two threads do what one does, bit for bit", arguments: KernelPath.available, Precision.allCases)
    func threads(path: KernelPath, precision: Precision) async throws {
        for threads in [1, 2] { try await train("\(threads)", path, threads: threads, ["--precision", precision.rawValue]) }
        let differences = try place.differences("1", "2")
        #expect(differences.isEmpty, "\(path), \(precision): \(differences.joined(separator: "\n"))")
    }

    /// Both prompts of a pair and one of them are the same sums, in another order: of an unchanged model they agree to rounding.
    @Test("a shared prompt and two give one loss and one gradient norm, to 1e-5", arguments: KernelPath.available)
    func prefixSharing(path: KernelPath) async throws {
        // The weights stay, so that each step compares the same model.
        let more = ["--precision", "fp32", "--learning-rate", "0", "--ref-model", try TinyReference.path(in: place)]
        try await train("shared", path, more)
        try await train("apart", path, more + ["--no-prefix-sharing"])
        try expectClose("shared", "apart", keys: ["loss", "grad_norm", "rewards/margins", "eval_loss"], lines: 17, tolerance: 1e-5)
        let first = try #require(place.metrics("shared").first { $0["loss"] != nil })
        #expect(first["rewards/margins"]?.double != 0 && (first["grad_norm"]?.double ?? 0) > 0.01, "\(first)")
    }

    @Test("training with shared prompts is training with two", arguments: KernelPath.available) func trainsAlike(path: KernelPath) async throws {
        let more = ["--precision", "fp32", "--adam-epsilon", "1e-2"]  // with 1e-8 Adam turns the rounding of gradients near 0 into steps
        try await train("shared", path, more)
        try await train("apart", path, more + ["--no-prefix-sharing"])
        try expectClose("shared", "apart", keys: ["loss", "grad_norm", "eval_loss"], lines: 17, tolerance: 1e-5)
        let distance = try distance("shared", "apart")
        #expect(distance < 1e-5, "weights differ by \(distance)")
    }

    @Test("one micro-batch of eight and eight of one take the same steps", arguments: KernelPath.available)
    func accumulation(path: KernelPath) async throws {
        let more = ["--precision", "fp32", "--adam-epsilon", "1e-2", "--epochs", "6"]
        for (batch, accumulation) in [(8, 1), (1, 8), (2, 4)] {
            try await train("\(batch)x\(accumulation)", path, more + ["--batch-size", "\(batch)", "--gradient-accumulation-steps", "\(accumulation)"])
        }
        for other in ["1x8", "2x4"] {
            try expectClose("8x1", other, keys: ["loss", "grad_norm", "rewards/margins", "eval_loss"], lines: 17, tolerance: 1e-5)
            let distance = try distance("8x1", other)
            #expect(distance < 1e-5, "8x1 and \(other): weights differ by \(distance)")
        }
    }
}

/// Another model than the place's own: with itself as reference every margin would be 0.
private enum TinyReference {
    static func path(in place: KilledFolder) throws -> String {
        let path = place.path + "/reference"
        try FileManager.default.copyItem(atPath: place.folder.model, toPath: path)
        let file = URL(fileURLWithPath: path + "/model.safetensors")
        var data = try Data(contentsOf: file)
        // Another bit of every 61st number's mantissa: a factor between 0.75 and 1.25.
        let start = 8 + Int(data.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        for place in stride(from: start + 2, to: data.count, by: 4 * 61) { data[place] ^= 0x40 }
        try data.write(to: file)
        return path
    }
}
