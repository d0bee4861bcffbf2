import Foundation
import Serialization
import Tensors
import Testing

@testable import Checkpoints
@testable import Models

/// The local engine: the same completions however they are sampled, and log-probs that the training kernels confirm.
@Suite("Rollouts") struct RolloutsTests {
    private func sampling(_ change: (inout Sampling) -> Void = { _ in }) -> Sampling {
        var sampling = Sampling()
        (sampling.maxNewTokens, sampling.samplesPerPrompt, sampling.seed, sampling.stopIDs) = (40, 4, 9, [7, 30])
        change(&sampling)
        return sampling
    }

    /// 21 prompts of 1 to 101 tokens, one longer than a piece that is read at once.
    private let prompts: [[Int32]] = (0..<20).map { tokens(1 + 5 * $0, seed: UInt64(40 + $0)) } + [tokens(300, seed: 80)]

    private func all(_ generator: Generator, _ order: [Int], _ sampling: Sampling, step: Int = 0) throws -> [Generator.Place: Completion] {
        var found: [Generator.Place: Completion] = [:]
        let jobs = order.map { Generator.Job(tokens: prompts[$0], index: $0, samples: Array(0..<sampling.samplesPerPrompt)) }
        try generator.run(jobs, sampling: sampling, step: step) { place, completion in
            found[Generator.Place(job: order[place.job], sample: place.sample)] = completion
            return true
        }
        return found
    }

    @Test("any batch, order and number of threads gives the same completions", arguments: Precision.allCases) func independent(precision: Precision) throws {
        let config = try tinyConfig(), order = Array(prompts.indices)
        let sampling = sampling { ($0.topP, $0.repetitionPenalty, $0.minNewTokens) = (0.95, 1.1, 3) }
        let one = try all(Generator(model: tinyModel(config, threads: 1, precision: precision), sequences: 1), order, sampling)
        #expect(one.count == 84 && Set(one.values.map(\.tokens)).count > 70, "\(one.count) completions")
        let reasons = Set(one.values.map(\.finishReason.name)), shortest = one.values.map(\.tokens.count).min() ?? 0
        #expect(reasons == ["stop", "length"] && shortest >= 3, "\(reasons), shortest \(shortest)")
        let model = try tinyModel(config, threads: 2, precision: precision)
        for (generator, order) in [
            (Generator(model: model, sequences: 32), order), (Generator(model: model, sequences: 7), order.reversed()),
            (Generator(model: model, cacheRows: 400, sequences: 64), order.filter { $0 % 2 == 0 } + order.filter { $0 % 2 == 1 }),
        ] {
            let other = try all(generator, order, sampling)
            let differing = one.filter { other[$0.key] != $0.value }
            #expect(other.count == one.count && differing.isEmpty, "\(differing.count) of \(one.count) differ: \(differing.keys.prefix(3))")
        }
    }

    @Test("jobs that join others, each under rules of its own, say what they say alone", arguments: Precision.allCases) func joining(precision: Precision) throws {
        let model = try tinyModel(tinyConfig(), threads: 2, precision: precision)
        let rules = [
            sampling { ($0.maxNewTokens, $0.stopIDs) = (40, []) }, sampling { ($0.temperature, $0.maxNewTokens, $0.stopIDs) = (0, 3, []) },
            sampling { ($0.topP, $0.repetitionPenalty, $0.seed, $0.maxNewTokens) = (0.8, 1.2, 7, 20) }, sampling { ($0.topK, $0.temperature, $0.minNewTokens) = (5, 0.5, 4) },
        ]
        let jobs = (0..<12).map { Generator.Job(tokens: prompts[$0], index: $0, samples: [0, 1], sampling: rules[$0 % 4]) }
        var alone: [Generator.Place: Completion] = [:]
        for (number, job) in jobs.enumerated() {
            try Generator(model: model).run([job], sampling: Sampling()) { place, completion in
                alone[Generator.Place(job: number, sample: place.sample)] = completion
                return true
            }
        }
        for generator in [Generator(model: model), Generator(model: model, cacheRows: 300, sequences: 3)] {
            var (joined, steps, order) = ([Generator.Place: Completion](), 0, [Int]())
            try generator.run([jobs[0]], sampling: Sampling(), joining: {
                steps += 1
                let next = 1 + (steps - 1) / 3
                return steps % 3 == 1 && next < jobs.count ? [jobs[next]] : []
            }, onFinish: { place, completion in
                joined[place] = completion
                order.append(place.job)
                return true
            })
            let differing = alone.filter { joined[$0.key] != $0.value }
            #expect(joined.count == 24 && differing.isEmpty, "\(differing.count) of \(joined.count) differ: \(differing.keys.prefix(3))")
            #expect(order.first == 1, "the short job that joined did not end first: \(order)")
        }
    }

    @Test("another step, seed, prompt or sample draws other tokens") func streams() throws {
        let generator = Generator(model: try tinyModel(tinyConfig())), sampling = sampling { $0.stopIDs = [] }
        let first = try all(generator, [4], sampling), again = try all(generator, [4], sampling, step: 1)
        let seeded = try all(generator, [4], self.sampling { ($0.stopIDs, $0.seed) = ([], 10) })
        #expect(first != again && first != seeded && again != seeded)
        #expect(Set(first.values.map(\.tokens)).count == 4, "\(first.values.map(\.tokens))")
    }

    @Test("a prompt read in pieces gives the logits of one read at once", arguments: Precision.allCases) func pieces(precision: Precision) throws {
        let model = try tinyModel(tinyConfig(window: 50), threads: 2, precision: precision), prompt = tokens(203, seed: 5)
        let decoder = Decoder(model)
        func logits(_ sizes: [Int]) throws -> [Float] {
            let cache = decoder.makeCache(blocks: 16)
            var (chain, other) = (DecodingCache.Chain(), DecodingCache.Chain())
            var start = 0
            for (index, size) in sizes.enumerated() {
                var pack = PromptPack()
                // Another prompt's blocks come between, so that the chain is not one run.
                if index == 1 { pack.append(prompt[..<5], to: &other, of: cache, isEnd: false) }
                let end = start + size
                pack.append(prompt[start..<end], to: &chain, of: cache, isEnd: end == prompt.count)
                let result = try decoder.read(pack, into: cache)
                if end == prompt.count { return result.array }
                start = end
            }
            return []
        }
        let whole = try logits([203])
        for sizes in [[64, 64, 75], [1, 31, 100, 71]] {
            let found = try logits(sizes)
            #expect(found == whole && !whole.isEmpty, "\(precision) \(sizes): logits differ by \(relativeDistance(found, whole))")
        }
    }

    @Test("the training kernels give the log-probs that sampling gave, prompts shared", arguments: Precision.allCases, [1.0, 0.7])
    func logProbs(precision: Precision, temperature: Double) throws {
        let model = try tinyModel(tinyConfig(), threads: 2, precision: precision)
        let engine = LocalRollouts(Decoder(model), text: nil, name: "tiny")
        let sampling = sampling { ($0.temperature, $0.topK, $0.frequencyPenalty) = (temperature, 20, 0.5) }
        var rollouts: [Rollout] = []
        try engine.sample(RolloutRequest(prompts.map { .tokens($0) }, sampling: sampling)) {
            rollouts.append($0)
            return true
        }
        let computed = try RolloutLogProbs(rollouts, under: model, tokensPerBatch: 500)
        let count = rollouts.reduce(0) { $0 + ($1.tokens?.count ?? 0) }
        #expect(computed.logProbs.rows == 84 && computed.logProbs.values.count == count)
        let limit = precision == .fp32 ? 1e-4 : 2e-2
        #expect(computed.meanDifference < limit && computed.largestDifference > 0, "mean \(computed.meanDifference), largest \(computed.largestDifference)")
        // One batch or many: the same bits.
        let other = try RolloutLogProbs(rollouts, under: model, tokensPerBatch: 100_000)
        #expect(other.logProbs == computed.logProbs)
        // By definition: one document at the temperature.
        var batch = SegmentTree(temperature: temperature)
        let ids = (rollouts[3].promptTokens ?? []) + (rollouts[3].tokens ?? [])
        batch.addRow(segment: batch.append(ids))
        let plain = Array(try model.scores(of: batch).logProbs.values.suffix(rollouts[3].tokens?.count ?? 0))
        #expect(plain == Array(computed.logProbs[3]), "\(plain.prefix(2)) and \(computed.logProbs[3].prefix(2))")
    }

    @Test("log-probs and gradient at a temperature are those of weights divided by it") func temperature() throws {
        let model = try tinyModel(tinyConfig(tied: false)), ids = tokens(50, seed: 3)
        func run(_ temperature: Double) throws -> (logProbs: [Double], gradient: [Float]) {
            model.gradients.clear()
            var batch = SegmentTree(temperature: temperature)
            batch.addRow(segment: batch.append(ids))
            let logProbs = try model.logProbs(of: batch).logProbs.values
            try model.backward(logProbs.indices.map { 0.1 * sin(Double($0)) })
            return (logProbs, model.gradients.array)
        }
        let warm = try run(2)
        let head = model.parameters.first { $0.name == "lm_head.weight" }!
        for i in head.range { model.weights.base[i] /= 2 }
        model.weightsChanged()
        let halved = try run(1)
        let largest = zip(warm.logProbs, halved.logProbs).map { abs($0 - $1) }.max() ?? 1
        #expect(largest < 1e-5, "log-probs differ by \(largest)")
        // The head's own gradient is by the undivided weights: half as large.
        let expected = halved.gradient.enumerated().map { head.range.contains($0.offset) ? $0.element / 2 : $0.element }
        let distance = relativeDistance(warm.gradient, expected)
        #expect(distance < 1e-5, "gradients differ by \(distance)")
    }

    @Test("a version and other weights are taken; an engine of stored weights refuses") func synchronize() async throws {
        let (model, other) = (try tinyModel(tinyConfig()), try tinyModel(tinyConfig(), seed: 8))
        let engine: any Rollouts = LocalRollouts(Decoder(model), text: nil, name: "tiny", hash: "abc")
        let request = RolloutRequest([.tokens(prompts[3])], sampling: sampling())
        let before = try await engine.sample(request)
        #expect(before.map(\.sample) == [0, 1, 2, 3])
        #expect(before.allSatisfy { $0.model.version == 0 && $0.model.hash == "abc" })
        try await engine.synchronize(other, version: 3)
        let after = try await engine.sample(request)
        let expected = try Generator(model: other).generate(prompts: [prompts[3]], firstPrompt: 0, sampling: sampling())
        #expect(after.map(\.tokens) == expected.map { Optional($0.tokens) })
        #expect(after.map(\.tokens) != before.map(\.tokens))
        #expect(after.allSatisfy { $0.model.version == 3 && $0.model.hash == nil })
        let path = try storedModel(.q4_1)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let stored = LocalRollouts(try Decoder(stored: Checkpoint.open(path), compute: Compute(threads: 1)), text: nil, name: "stored")
        #expect(throws: RolloutError.self) { try stored.synchronize(other, version: 1) }
        await #expect(throws: RolloutError.unsupported(engine: "tiny", what: "a prompt of text", needs: "a tokenizer")) {
            try await engine.sample(RolloutRequest([.text("hi")], sampling: sampling())) { _ in true }
        }
    }

    @Test("a call that ends early gives the finished ones; the rest of a prompt's samples can be asked for") func parts() throws {
        let generator = Generator(model: try tinyModel(tinyConfig()), sequences: 3)
        let whole = try all(generator, Array(0..<6), sampling())
        var found: [Generator.Place: Completion] = [:]
        let jobs = (0..<6).map { Generator.Job(tokens: prompts[$0], index: $0, samples: [0, 1, 2, 3]) }
        try generator.run(jobs, sampling: sampling()) { place, completion in
            found[place] = completion
            return found.count < 7
        }
        #expect(found.count == 7)
        let missing = jobs.enumerated().map { job in
            Generator.Job(tokens: job.element.tokens, index: job.element.index, samples: (0..<4).filter { found[Generator.Place(job: job.offset, sample: $0)] == nil })
        }
        try generator.run(missing, sampling: sampling()) { place, completion in
            found[place] = completion
            return true
        }
        #expect(found == whole)
    }

    @Test("rounded weights follow the policy, and give the completions of the model that has them") func rounded() throws {
        // Rows of whole blocks of 32.
        let path = try storedModel(.q8_0)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let checkpoint = try Checkpoint.open(path), compute = try Compute(threads: 2)
        let model = try Transformer(checkpoint, compute: compute, precision: .fp32, trains: false)
        // What is Q8_0 already stays what it is when it is rounded again.
        let decoder = try Decoder(model, steps: .q8_0), engine = LocalRollouts(decoder, text: nil, name: "tiny")
        let sampling = sampling(), own = try Generator(model: model).generate(prompts: Array(prompts[..<4]), sampling: sampling)
        let request = RolloutRequest(prompts[..<4].map { .tokens($0) }, sampling: sampling)
        func sample() throws -> [Rollout] {
            var rollouts: [Rollout] = []
            try engine.sample(request) {
                rollouts.append($0)
                return true
            }
            return rollouts.sorted { ($0.prompt, $0.sample) < ($1.prompt, $1.sample) }
        }
        let first = try sample()
        // The prompt is read with the model's own weights.
        for (rollout, completion) in zip(first, own) {
            #expect(rollout.tokens?.first == completion.tokens.first && rollout.logProbs?.first == completion.logProbs.first)
        }
        let sampled = try RolloutLogProbs(first, under: model)
        #expect(sampled.meanDifference < 2e-2, "mean difference \(sampled.meanDifference)")
        for i in 0..<model.weights.count { model.weights.base[i] *= 1.5 }
        model.weightsChanged()
        let stale = try RolloutLogProbs(sample(), under: model).meanDifference
        try engine.synchronize(model, version: 1)
        let fresh = try RolloutLogProbs(sample(), under: model).meanDifference
        #expect(fresh < 5e-2 && fresh < stale / 3, "mean difference \(fresh), without taking the new weights \(stale)")
    }

    @Test("SmolLM2 (where the file is there): sampling's log-probs are the training kernels'", arguments: Precision.allCases) func smolLM2(precision: Precision) throws {
        guard let path = Checkpoint.defaultModel() else { return print("skipped: no cached SmolLM2") }
        let checkpoint = try Checkpoint.open(path)
        let model = try Transformer(checkpoint, compute: Compute(threads: 2), precision: precision, trains: false)
        let engine = LocalRollouts(Decoder(model), text: checkpoint.text, name: path)
        let sampling = sampling { ($0.maxNewTokens, $0.samplesPerPrompt, $0.stopIDs, $0.seed) = (40, 4, [2], 1) }
        let user: JSON = ["role": "user", "content": "Name three rivers."]
        var rollouts: [Rollout] = []
        try engine.sample(RolloutRequest([.text("The capital of France is"), .messages([user])], sampling: sampling)) {
            rollouts.append($0)
            return true
        }
        let computed = try RolloutLogProbs(rollouts, under: model)
        let limit = precision == .fp32 ? 1e-4 : 2e-2
        let (mean, largest) = (computed.meanDifference, computed.largestDifference)
        #expect(rollouts.count == 8 && mean < limit && computed.logProbs.values.count > 100, "mean \(mean), largest \(largest) of \(computed.logProbs.values.count)")
        print("SmolLM2 \(precision): log-probs of \(computed.logProbs.values.count) tokens differ by \(mean) in the mean, \(largest) at most")
    }
}
