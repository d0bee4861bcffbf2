import Checkpoints
import Foundation
import Models
import Tensors
import Testing

/// Runs that are equal by definition.
@Suite("Equal runs") struct EqualRunsTests {
    /// Log-probs and gradient of pairs, prompts shared or not.
    func run(_ model: Transformer, prompts: [[Int32]], completions: [[[Int32]]], shares: Bool) throws -> (logProbs: [Double], gradient: [Float]) {
        model.gradients.clear()
        var batch = SegmentTree()
        for (prompt, sides) in zip(prompts, completions) {
            let shared = shares ? batch.append(prompt) : -1
            for side in sides {
                let parent = shares ? shared : batch.append(prompt)
                batch.addRow(segment: batch.append(side, parent: parent))
            }
        }
        let scores = try model.logProbs(of: batch)
        try model.backward(scores.logProbs.values.indices.map { 0.1 * sin(Double($0)) })
        return (scores.logProbs.values, model.gradients.array)
    }

    let prompts = [tokens(33, seed: 1), tokens(70, seed: 2), tokens(5, seed: 3)]
    let completions = [[tokens(12, seed: 4), tokens(40, seed: 5)], [tokens(3, seed: 6), tokens(90, seed: 7)], [tokens(20, seed: 8), tokens(1, seed: 9)]]

    @Test("a shared prompt gives what two copies give", arguments: Precision.allCases) func sharing(precision: Precision) throws {
        let model = try tinyModel(tinyConfig(), precision: precision)
        let shared = try run(model, prompts: prompts, completions: completions, shares: true)
        let copied = try run(model, prompts: prompts, completions: completions, shares: false)
        let largest = zip(shared.logProbs, copied.logProbs).map { abs($0 - $1) }.max() ?? 0
        #expect(largest == 0, "log-probs differ by \(largest)")
        let distance = relativeDistance(shared.gradient, copied.gradient)
        #expect(distance < (precision == .fp32 ? 1e-5 : 1e-2), "gradients differ by \(distance) relative")
    }

    @Test("packed rows give what each gives alone") func packed() throws {
        let model = try tinyModel(tinyConfig())
        let together = try run(model, prompts: prompts, completions: completions, shares: true).logProbs
        var alone: [Double] = []
        for (prompt, sides) in zip(prompts, completions) {
            for side in sides { alone += try run(model, prompts: [prompt], completions: [[side]], shares: true).logProbs }
        }
        #expect(together == alone, "largest difference \(zip(together, alone).map { abs($0 - $1) }.max() ?? 0)")
    }

    @Test("threads change no bit", arguments: KernelPath.available, Precision.allCases) func threads(path: KernelPath, precision: Precision) throws {
        let config = try tinyConfig()
        let one = try run(tinyModel(config, threads: 1, path: path, precision: precision), prompts: prompts, completions: completions, shares: true)
        for threads in [2, 3] {
            let more = try run(tinyModel(config, threads: threads, path: path, precision: precision), prompts: prompts, completions: completions, shares: true)
            #expect(one.logProbs == more.logProbs, "\(threads) threads: log-probs \(one.logProbs[0]) and \(more.logProbs[0])")
            #expect(one.gradient == more.gradient, "\(threads) threads: gradients differ by \(relativeDistance(one.gradient, more.gradient))")
        }
    }

    @Test("kernel paths agree", arguments: KernelPath.available) func paths(path: KernelPath) throws {
        let config = try tinyConfig()
        let reference = try run(tinyModel(config, path: .portable), prompts: prompts, completions: completions, shares: true)
        let other = try run(tinyModel(config, path: path), prompts: prompts, completions: completions, shares: true)
        let largest = zip(reference.logProbs, other.logProbs).map { abs($0 - $1) }.max() ?? 0
        #expect(largest < 1e-4, "\(path): log-probs differ by \(largest)")
        let distance = relativeDistance(other.gradient, reference.gradient)
        #expect(distance < 1e-4, "\(path): gradients differ by \(distance)")
    }

    @Test("decoding gives the training kernels' log-probs", arguments: [nil, 8]) func cached(window: Int?) throws {
        let model = try tinyModel(tinyConfig(window: window), threads: 2)
        var sampling = Sampling()
        sampling.maxNewTokens = 30
        sampling.samplesPerPrompt = 2
        let completions = try Generator(model: model).generate(prompts: prompts, sampling: sampling)
        for (index, completion) in completions.enumerated() {
            var batch = SegmentTree()
            let prompt = batch.append(prompts[index / 2])
            batch.addRow(segment: batch.append(completion.tokens, parent: prompt))
            let full = try model.scores(of: batch).logProbs.values
            let largest = zip(full, completion.logProbs).map { abs($0 - $1) }.max() ?? 0
            #expect(completion.tokens.count == 30 && largest < 1e-5, "completion \(index): \(completion.tokens.count) tokens, log-probs differ by \(largest)")
        }
    }

    @Test("a completion does not depend on what is sampled beside it") func sampledAlone() throws {
        let model = try tinyModel(tinyConfig(), threads: 2)
        var sampling = Sampling()
        sampling.maxNewTokens = 12
        sampling.seed = 3
        let together = try Generator(model: model).generate(prompts: prompts, sampling: sampling)
        let small = try Generator(model: model, cacheRows: 1).generate(prompts: prompts, sampling: sampling)
        #expect(together == small, "\(together.map(\.tokens)) and \(small.map(\.tokens))")
    }

    @Test("a token changes nothing before it") func causal() throws {
        let model = try tinyModel(tinyConfig())
        var changed = prompts[1]
        changed[50] = changed[50] == 3 ? 4 : 3
        func logProbs(_ ids: [Int32]) throws -> [Double] {
            var batch = SegmentTree()
            batch.addRow(segment: batch.append(ids))
            return try model.scores(of: batch).logProbs.values
        }
        let (a, b) = (try logProbs(prompts[1]), try logProbs(changed))
        #expect(a[..<49] == b[..<49] && a[49] != b[49], "before \(a[48]) and \(b[48]), at the change \(a[49]) and \(b[49])")
    }
}
