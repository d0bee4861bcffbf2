import Checkpoints
import Foundation
import Models
import Serialization
import Tensors
import Testing

@testable import Training

/// Losses of reward models through a whole transformer.
@Suite("Reward model") struct RewardModelTests {
    static func model(outputs: Int = 1, grading: Int = 0, threads: Int = 1) throws -> Transformer {
        let config = try ModelConfig(json: [
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 61, "hidden_size": 40, "intermediate_size": 56,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 20, "max_position_embeddings": 512,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu",
        ], file: "config.json").scoring(outputs: outputs, gradingOutputs: grading)
        return try Transformer(random: config, deviation: 0.3, seed: 11, compute: Compute(threads: threads), precision: .fp32)
    }

    static func tokens(_ count: Int, seed: UInt64) -> [Int32] {
        var random = RandomStream(seed: seed, stream: 1, index: 0)
        return (0..<count).map { _ in Int32(3 + random.next() % 58) }
    }

    /// Rows for the labels of `rows`: a prompt and completions of drawn tokens.
    static func rows(_ rows: [RewardReadouts.Row]) -> [RewardRow] {
        rows.enumerated().map { index, row in
            let seed = UInt64(100 * index)
            let prompt = tokens(5 + 7 * index, seed: seed)
            if case let .steps(labels) = row.label {
                return RewardRow(prompt: prompt, completions: [tokens(4 * labels.count, seed: seed + 1)], points: [labels.indices.map { 4 * $0 + 3 }], label: row.label)
            }
            let completions = (0..<row.label.points).map { tokens(3 + 5 * $0 + index, seed: seed + 1 + UInt64($0)) }
            return RewardRow(prompt: prompt, completions: completions, label: row.label, grades: row.grades)
        }
    }

    static func task(_ index: Int, sharesPrefixes: Bool = true) -> RewardTask {
        let (_, objective, rows, outputs) = RewardExamples.cases[index]
        return RewardTask(rows: Self.rows(rows), objective: objective, outputs: outputs, sharesPrefixes: sharesPrefixes)
    }

    static func model(for index: Int, threads: Int = 1) throws -> Transformer {
        let outputs = RewardExamples.cases[index].outputs
        return outputs > Grading.outputs ? try model(outputs: 1, grading: Grading.outputs, threads: threads) : try model(outputs: outputs, threads: threads)
    }

    /// Loss of all rows, forward and backward, in the given micro-batches.
    @discardableResult static func run(_ task: RewardTask, _ model: Transformer, batches: [[Int]]) throws -> (loss: Double, readouts: [Double]) {
        let totals = (0..<task.rowCount).map { task.totals(of: $0) }.reduce(StepTotals(), +)
        var (value, readouts) = (0.0, [Double]())
        for rows in batches {
            let scores = try model.logProbs(of: task.batch(rows))
            let loss = try task.loss(scores, rows: rows, step: totals)
            try model.backward(loss.scoreGradient)
            value += loss.value
            readouts += scores.readouts
        }
        return (value, readouts)
    }

    @Test("∂L/∂θ of every loss agrees with finite differences", arguments: RewardExamples.cases.indices) func finiteDifferences(index: Int) throws {
        let (task, model) = (Self.task(index), try Self.model(for: index))
        let all = Array(0..<task.rowCount)
        try Self.run(task, model, batches: [all])
        let totals = all.map { task.totals(of: $0) }.reduce(StepTotals(), +)
        func loss() throws -> Double { try task.loss(model.scores(of: task.batch(all)), rows: all, step: totals).value }
        var random = RandomStream(seed: 5, stream: 0, index: 0)
        for parameter in model.parameters {
            let weights = UnsafeMutableBufferPointer(start: model.weights.base + parameter.offset, count: parameter.count)
            let gradient = UnsafeBufferPointer(start: model.gradients.base + parameter.offset, count: parameter.count)
            let norm = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            let direction = gradient.map { Float(Double($0) / max(norm, 1e-12) + random.normal() / Double(parameter.count).squareRoot()) }
            let saved = Array(weights)
            let h: Float = 2e-3
            func at(_ step: Float) throws -> Double {
                for i in weights.indices { weights[i] = saved[i] + step * direction[i] }
                model.weightsChanged()
                return try loss()
            }
            let numeric = (try at(h) - at(-h)) / Double(2 * h)
            for i in weights.indices { weights[i] = saved[i] }
            model.weightsChanged()
            let analytic = zip(gradient, direction).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            #expect(abs(numeric - analytic) < 1e-2 * max(abs(numeric), 0.05), "\(RewardExamples.cases[index].name), \(parameter.name): analytic \(analytic), numeric \(numeric)")
        }
    }

    private func gradient(_ model: Transformer) -> [Float] { Array(UnsafeBufferPointer(start: model.gradients.base, count: model.gradients.count)) }

    private func distance(_ a: [Float], _ b: [Float]) -> Double {
        let difference = zip(a, b).reduce(0.0) { $0 + pow(Double($1.0) - Double($1.1), 2) }
        return (difference / max(b.reduce(0.0) { $0 + pow(Double($1), 2) }, 1e-30)).squareRoot()
    }

    @Test("all rows at once, one by one, and with copied prompts: the same scores bit for bit, the same gradient", arguments: RewardExamples.cases.indices)
    func equal(index: Int) throws {
        let task = Self.task(index)
        let all = Array(0..<task.rowCount)
        let (whole, single, copied) = (try Self.model(for: index), try Self.model(for: index), try Self.model(for: index))
        let a = try Self.run(task, whole, batches: [all])
        let b = try Self.run(task, single, batches: all.map { [$0] })
        let c = try Self.run(Self.task(index, sharesPrefixes: false), copied, batches: [all])
        #expect(a.readouts == b.readouts && a.readouts == c.readouts, "\(a.readouts)\n\(b.readouts)\n\(c.readouts)")
        #expect(abs(a.loss - b.loss) < 1e-12 && a.loss == c.loss, "\(a.loss), \(b.loss), \(c.loss)")
        for (name, other) in [("one by one", single), ("copied prompts", copied)] {
            let far = distance(gradient(other), gradient(whole))
            #expect(far < 1e-5, "\(name): gradients differ by \(far)")
        }
    }

    @Test("threads change no bit of loss and gradient", arguments: RewardExamples.cases.indices) func threads(index: Int) throws {
        let task = Self.task(index)
        let (one, two) = (try Self.model(for: index, threads: 1), try Self.model(for: index, threads: 2))
        let a = try Self.run(task, one, batches: [Array(0..<task.rowCount)])
        let b = try Self.run(task, two, batches: [Array(0..<task.rowCount)])
        #expect(a == b, "\(a) and \(b)")
        #expect(gradient(one) == gradient(two), "gradients differ by \(distance(gradient(one), gradient(two)))")
    }

    @Test("packs of any size score the same bits") func scorer() throws {
        let model = try Self.model()
        let rows = Self.rows(RewardExamples.pairs).map { RewardScorer.Row(prompt: $0.prompt, completions: $0.completions) }
        func scores(_ pack: Int) throws -> [[[Double]]] {
            var scorer = RewardScorer(policy: model, outputs: 1)
            scorer.packTokens = pack
            var found: [[[Double]]] = []
            try scorer.score(rows) { index, scores in
                #expect(index == found.count)
                found.append(scores)
                return true
            }
            return found
        }
        let (small, large) = (try scores(1), try scores(100_000))
        #expect(small == large && small.count == rows.count, "\(small)\n\(large)")
    }

    @Test("ensembles by hand") func ensembles() throws {
        #expect(RewardEnsemble.mean([1, 4, 4]) == 3 && RewardEnsemble.minimum([1, 4, 4]) == 1)
        #expect(RewardEnsemble("mean") == .mean && RewardEnsemble("min") == .minimum && RewardEnsemble("mean-std:0.5") == .meanMinusDeviation(0.5))
        // Mean 3, deviation √((4 + 1 + 1)/3) = √2.
        let found = RewardEnsemble.meanMinusDeviation(0.5)([1, 4, 4])
        #expect(abs(found - (3 - 0.5 * 2.0.squareRoot())) < 1e-12, "\(found)")
        #expect(RewardEnsemble("mean-std") == .meanMinusDeviation(1) && RewardEnsemble("mean-std:-1") == nil && RewardEnsemble("max") == nil)
        #expect(RewardEnsemble.standardized([1, 3]) == [-1, 1] && RewardEnsemble.standardized([2, 2]) == [0, 0])
    }
}
