import Foundation
import Models
import PreferenceData
import Serialization
import Synchronization
import Tensors
import Testing

@testable import Training

/// Stages on a table instead of a transformer.
@Suite("Stages") struct StageTests {
    let workshop: Workshop
    init() throws { workshop = try Workshop() }

    func settings(_ change: (inout PreferenceSettings) -> Void = { _ in }) throws -> PreferenceSettings {
        var settings = PreferenceSettings()
        settings.pairs = [try workshop.pairs(13)]
        settings.training.model = "seed:3"
        (settings.training.batchSize, settings.training.learningRate, settings.training.epochs) = (2, 0.05, 2)
        settings.training.accumulationSteps = 2
        change(&settings)
        return settings
    }

    @discardableResult
    func run(
        _ settings: PreferenceSettings, _ name: String, models: TableModels = TableModels(), resumes: Bool = false, cache: MemoryCache? = nil,
        isCancelled: @escaping @Sendable () -> Bool = { false }
    ) async throws -> StageOutcome {
        var context = try workshop.context(models, run: name, resumes: resumes, cache: cache)
        context.isCancelled = isCancelled
        return try await PreferenceOptimization(settings).run(in: context)
    }

    @Test("DPO learns the pairs, and says so in TRL's words") func learns() async throws {
        let settings = try settings {
            $0.training.epochs = 10
            $0.training.evalSplit = 0.2
        }
        let outcome = try await run(settings, "a")
        let lines = try workshop.metrics("a")
        let steps = lines.filter { $0["loss"] != nil }
        #expect(outcome.status == .finished && outcome.steps == steps.count)
        let first = try #require(steps.first)
        // Before the first update policy and reference are one: log 2, and nothing is preferred.
        #expect(abs((first["loss"]?.double ?? 0) - 0.693147180559945) < 1e-12, "\(first["loss"]?.double ?? 0)")
        #expect(first["rewards/accuracies"]?.double == 0 && first["rewards/margins"]?.double == 0)
        #expect(first.keys == [
            "step", "epoch", "loss", "grad_norm", "learning_rate", "num_tokens", "entropy", "logits/chosen", "logits/rejected", "logps/chosen", "logps/rejected",
            "mean_token_accuracy", "rewards/accuracies", "rewards/chosen", "rewards/margins", "rewards/rejected",
        ], "\(first.keys)")
        #expect((steps.last?["loss"]?.double ?? 1) < 0.65, "\(steps.last?["loss"]?.double ?? 1)")
        #expect(outcome.before["eval_accuracy"] == 0.5 && outcome.before["eval_rewards/accuracies"] == 0)
        #expect(outcome.before["eval_loss"].map { abs($0 - 0.693147180559945) < 1e-12 } == true)
        #expect(outcome.after["eval_rewards/margins"] != nil)
        #expect(FileManager.default.fileExists(atPath: outcome.modelPath! + "/table.bin"))
        let record = try RunDirectory.record(at: workshop.path + "/a")
        #expect(record["status"]?.string == "finished" && record["settings"]?["beta"]?.double == 0.1)
        #expect(record["inputs"]?["model"]?.string == "seed:3")
    }

    @Test("IPO is the same stage with another loss, SFT another with the same loop") func others() async throws {
        let ipo = try await run(settings { $0.loss = "ipo" }, "ipo")
        #expect(ipo.status == .finished)
        // u = 0 at the start: (0 − 1/(2·0.1))² = 25.
        #expect(try workshop.metrics("ipo").first?["loss"]?.double == 25)

        let rows: [JSON] = [
            ["input_ids": [1, 2, 3, 4], "loss_mask": [0, 0, 1, 1]], ["input_ids": [2, 3, 4, 5, 6], "loss_mask": [1, 1, 1, 1, 1]],
            ["input_ids": [1, 2], "loss_mask": [1, 0]],  // nothing to train on: the first token has no log-prob
        ]
        var settings = SupervisedSettings()
        settings.data = [try workshop.write("sft.jsonl", rows)]
        settings.training.model = "seed:1"
        settings.training.learningRate = 0.2
        settings.training.schedule = .constant
        settings.training.epochs = 40
        let events = Mutex<[StageEvent]>([])
        var context = try workshop.context(TableModels(), run: "sft")
        context.report = { event in events.withLock { $0.append(event) } }
        let outcome = try await SupervisedFineTuning(settings).run(in: context)
        #expect((outcome.training["loss"] ?? 9) < 0.05 && outcome.training["mean_token_accuracy"] == 1, "\(outcome.training)")
        let lines = try workshop.metrics("sft")
        #expect(lines.first?.keys == ["step", "epoch", "loss", "grad_norm", "learning_rate", "num_tokens", "entropy", "mean_token_accuracy"])
        #expect(lines[1]["num_tokens"]?.int == 18)  // two rows of 4 and 5 tokens, two steps
        let preflight = events.withLock { $0.compactMap { if case let .preflight(p) = $0 { p } else { nil } } }.first
        #expect(preflight?.dropped.count == 1 && preflight?.rows == 2)
        #expect(preflight?.example == "1 2⟦3 4⟧", "\(preflight?.example ?? "")")
    }

    @Test("one micro-batch of eight and eight of one take the same steps") func accumulation() async throws {
        // One of each kind: plain, coupled by sorting, with a likelihood term, of single completions, with a running anchor,
        // with a reference that moves.
        for loss in ["sigmoid", "ipo", "aot", "aot_unpaired", "orpo", "kto", "bco", "moving"] {
            var tables: [[Float]] = []
            for (batch, accumulation) in [(8, 1), (1, 8), (2, 4)] {
                let name = "\(loss)-\(batch)x\(accumulation)"
                let settings = try settings {
                    if loss == "moving" { ($0.movesReference, $0.referenceInterval) = (true, 1) } else { $0.loss = loss }
                    ($0.training.batchSize, $0.training.accumulationSteps) = (batch, accumulation)
                    $0.training.adamEpsilon = 1e-2  // with 1e-8 Adam blows up rounding of gradients that are nearly 0
                }
                let outcome = try await run(settings, name)
                let policy = TablePolicy(vocabulary: 11, seed: 0)
                try TableModels.read(policy, outcome.modelPath!)
                tables.append(policy.array)
            }
            for table in tables.dropFirst() {
                let error = zip(table, tables[0]).map { abs($0 - $1) }.max() ?? 1
                #expect(error < 1e-5, "\(loss): weights differ by \(error)")
            }
        }
    }

    @Test("KTO's numbers are those of its formula, with completions mismatched over the whole step") func kto() async throws {
        let rows: [JSON] = [
            ["prompt_ids": [1, 2], "completion_ids": [3, 4], "label": true], ["prompt_ids": [5], "completion_ids": [6], "label": false],
            ["prompt_ids": [7], "completion_ids": [8, 9, 1], "label": true],
        ]
        let path = try workshop.write("kto.jsonl", rows)
        try await run(settings {
            ($0.pairs, $0.loss, $0.referenceModel, $0.beta, $0.desirableWeight) = ([path], "kto", "seed:8", 0.5, 1.5)
            ($0.training.shuffles, $0.training.batchSize, $0.training.accumulationSteps, $0.training.maxSteps) = (false, 2, 2, 1)
        }, "a")
        let (policy, reference) = (TablePolicy(vocabulary: 11, seed: 3), TablePolicy(vocabulary: 11, seed: 8))
        func ratio(_ prompt: [Int32], _ completion: [Int32]) throws -> Double {
            var tree = SegmentTree()
            tree.addRow(segment: tree.append(completion, parent: tree.append(prompt)))
            return try policy.scores(of: tree).logProbs.sum(0) - reference.scores(of: tree).logProbs.sum(0)
        }
        let kl = try (ratio([1, 2], [8, 9, 1]) + ratio([5], [3, 4]) + ratio([7], [6])) / 3
        let z = max(0, kl)
        let own = try [ratio([1, 2], [3, 4]), ratio([5], [6]), ratio([7], [8, 9, 1])]
        let loss = (1.5 * sigmoid(-0.5 * (own[0] - z)) + sigmoid(-0.5 * (z - own[1])) + 1.5 * sigmoid(-0.5 * (own[2] - z))) / 3
        let line = try #require(workshop.metrics("a").first)
        #expect(abs((line["loss"]?.double ?? 0) - loss) < 1e-9, "\(line["loss"]?.double ?? 0), by formula \(loss)")
        #expect(abs((line["kl"]?.double ?? -1) - z) < 1e-9, "\(line["kl"]?.double ?? -1), by formula \(z)")
        let margin = 0.5 * ((own[0] + own[2]) / 2 - own[1])
        #expect(abs((line["rewards/margins"]?.double ?? 0) - margin) < 1e-9, "\(line["rewards/margins"]?.double ?? 0), by formula \(margin)")
        #expect(line.keys == [
            "step", "epoch", "loss", "grad_norm", "learning_rate", "num_tokens", "entropy", "kl", "logits/chosen", "logits/rejected", "logps/chosen",
            "logps/rejected", "rewards/chosen", "rewards/margins", "rewards/rejected",
        ], "\(line.keys)")
    }

    @Test("without a reference none is loaded or asked", arguments: ["simpo", "orpo", "cpo", "sigmoid"]) func noReference(loss: String) async throws {
        let models = TableModels()
        try await run(settings {
            $0.loss = loss
            if loss == "sigmoid" { $0.isReferenceFree = true }
            $0.training.maxSteps = 2
        }, "a", models: models)
        #expect(models.counts.withLock { $0 } == .init(loads: ["seed:3"], forwardPasses: 4))
        #expect(try RunDirectory.record(at: workshop.path + "/a")["inputs"]?["reference"] == nil)
    }

    @Test("a reference that copies the policy every step leaves no margin behind") func movingReference() async throws {
        try await run(settings { ($0.movesReference, $0.referenceInterval, $0.referenceMixture) = (true, 1, 1) }, "a")
        for line in try workshop.metrics("a") { #expect(line["rewards/margins"]?.double == 0, "\(line)") }
        try await run(settings { ($0.movesReference, $0.referenceInterval) = (true, 100) }, "never")
        try await run(settings(), "plain")
        #expect(try workshop.metrics("never") == workshop.metrics("plain"))
    }

    @Test("weights of pairs, of tails and of likelihoods reach the loss") func weighted() async throws {
        let names = ["wpo", "ld", "nll"]
        for name in names {
            try await run(settings {
                $0.weighsPairs = name == "wpo"
                if name == "ld" { $0.tailWeight = 0.3 }
                if name == "nll" { $0.nllCoefficient = 0.2 }
                $0.referenceModel = "seed:8"
                $0.training.maxSteps = 3
            }, name)
        }
        try await run(settings { ($0.referenceModel, $0.training.maxSteps) = ("seed:8", 3) }, "plain")
        let plain = try #require(workshop.metrics("plain").first?["loss"]?.double)
        for name in names {
            let loss = try #require(workshop.metrics(name).first?["loss"]?.double)
            #expect(loss.isFinite && abs(loss - plain) > 1e-6, "\(name): \(loss), plain \(plain)")
        }
    }

    @Test("falling chosen log-probs are told once") func displacement() {
        var watch = ChosenWatch()
        let told = (0..<40).compactMap { watch.step($0 == 3 ? 0.1 : -0.2) }
        #expect(told.count == 1 && told[0].contains("-0.2"), "\(told)")
        var other = ChosenWatch()
        #expect((0..<40).allSatisfy { _ in other.step(nil) == nil } && other.evaluation(before: -5, now: -4) == nil)
        #expect(other.evaluation(before: -5, now: -6)?.contains("-6.0 now") == true && other.evaluation(before: -5, now: -7) == nil)
    }

    @Test("shared prompts and separate ones give the same loss", arguments: ["sigmoid", "aot", "orpo"]) func prefixSharing(loss: String) async throws {
        try await run(settings { $0.loss = loss }, "shared")
        try await run(settings { ($0.loss, $0.sharesPrefixes) = (loss, false) }, "apart")
        for (a, b) in zip(try workshop.metrics("shared"), try workshop.metrics("apart")) {
            for (key, value) in a.members {
                let (x, y) = (value.double ?? 0, b[key]?.double ?? .nan)
                #expect(abs(x - y) < 1e-6 * max(1, abs(x)), "\(key): \(x), \(y)")
            }
        }
    }

    @Test("a second run never runs the reference") func referenceIsCached() async throws {
        let cache = MemoryCache()
        let (first, second) = (TableModels(), TableModels())
        let settings = try settings { $0.training.schedule = .constant }
        try await run(settings, "a", models: first, cache: cache)
        try await run(settings, "b", models: second, cache: cache)
        let training = 2 * 7  // micro-batches: 13 rows in twos, two epochs
        #expect(first.counts.withLock { $0.forwardPasses } == training + 7)
        #expect(second.counts.withLock { $0.forwardPasses } == training)
        #expect(try workshop.metrics("a") == workshop.metrics("b"))
        #expect(try TableModels.bytes(workshop.path + "/a/model") == TableModels.bytes(workshop.path + "/b/model"))
    }

    @Test("the preference store is such a cache, and survives the process") func store() async throws {
        let settings = try settings { $0.training.schedule = .constant }
        for (name, passes) in [("a", 21), ("b", 14)] {
            let models = TableModels()
            var context = try workshop.context(models, run: name)
            context.referenceCache = try PreferenceStore(path: workshop.path + "/store.sqlite")
            _ = try await PreferenceOptimization(settings).run(in: context)
            #expect(models.counts.withLock { $0.forwardPasses } == passes, "run \(name)")
        }
        #expect(try workshop.metrics("a") == workshop.metrics("b"))
    }

    @Test("the store remembers runs, how they ended and what they came from") func ledger() async throws {
        let store = try PreferenceStore(path: workshop.path + "/store.sqlite")
        for (name, model) in [("a", "seed:3"), ("b", workshop.path + "/a/model")] {
            let models = TableModels()
            var context = try workshop.context(models, run: name)
            context.ledger = store
            context.record = [("started", .string("2026-01-0\(name == "a" ? 1 : 2)"))]
            _ = try await PreferenceOptimization(settings { $0.training.model = model }).run(in: context)
        }
        let runs = try store.runs()
        #expect(runs.map(\.status) == ["finished", "finished"] && runs.map(\.stage) == ["dpo", "dpo"])
        let first = try #require(runs.first)
        #expect(first.parents.isEmpty && runs.last?.parents == [first.id], "the second came from \(runs.last?.parents ?? []), the first is \(first.id)")
        #expect(first.directory == workshop.path + "/a", "\(first.directory)")
    }

    @Test("another reference is loaded first, and alone") func referenceModel() async throws {
        let models = TableModels()
        try await run(settings { $0.referenceModel = "seed:8" }, "a", models: models)
        #expect(models.counts.withLock { $0.loads } == ["seed:8", "seed:3"])
        let first = try #require(workshop.metrics("a").first)
        #expect(first["rewards/margins"]?.double != 0)
    }

    @Test("another seed shuffles differently, the same one alike") func seeds() async throws {
        try await run(settings(), "a")
        try await run(settings(), "b")
        try await run(settings { $0.training.seed = 1 }, "c")
        #expect(try workshop.metrics("a") == workshop.metrics("b"))
        #expect(try workshop.metrics("a") != workshop.metrics("c"))
    }

    @Test("early stopping keeps the best weights") func earlyStopping() async throws {
        // A rate this high overshoots: held-out loss rises after a few steps.
        let settings = try settings {
            ($0.training.learningRate, $0.training.schedule, $0.training.epochs) = (2, .constant, 40)
            ($0.training.evalSplit, $0.training.evalSteps, $0.training.earlyStoppingPatience) = (0.3, 1, 3)
        }
        let outcome = try await run(settings, "a")
        #expect(outcome.status == .stoppedEarly)
        let evaluations = try workshop.metrics("a").filter { $0["eval_loss"] != nil && $0["step"]?.int != 0 }
        let losses = evaluations.compactMap { $0["eval_loss"]?.double }
        #expect(outcome.after["eval_loss"] == losses.min(), "\(outcome.after["eval_loss"] ?? -1) of \(losses)")
        #expect(losses.count - 1 - (losses.firstIndex(of: losses.min()!) ?? 0) == 3)
        #expect(try TableModels.bytes(outcome.modelPath!) == TableModels.bytes(workshop.path + "/a/checkpoints/best"))
    }

    @Test("a loss that is not finite leaves the weights, keeps the batch, and stops after three") func notFinite() async throws {
        // From the third training pass on the model gives NaN.
        let passes = Mutex(0)
        let models = TableModels(onForward: { policy in
            if passes.withLock({ $0 += 1; return $0 }) == 7 + 5 { for i in 0..<policy.weights.count { policy.weights.base[i] = .nan } }
        })
        let settings = try settings { $0.training.saveSteps = 1 }
        do {
            try await run(settings, "a", models: models)
            Issue.record("it went on")
        } catch let error as TrainingError {
            guard case let .notFinite(step, _, inARow, dump) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(inARow == 3 && step == 5, "\(error)")
            let dumped = try FileManager.default.contentsOfDirectory(atPath: dump).sorted()
            #expect(dumped == ["step-3.jsonl", "step-4.jsonl", "step-5.jsonl"])
            let rows = try String(contentsOfFile: dump + "/step-3.jsonl", encoding: .utf8).split(separator: "\n")
            #expect(rows.count == 4 && rows[0].contains("prompt_ids"))
        }
        let skipped = try workshop.metrics("a").filter { $0["skipped"]?.bool == true }
        #expect(skipped.count == 3 && skipped[0]["loss"] == .null)
        #expect(try RunDirectory.record(at: workshop.path + "/a")["status"]?.string == "failed")
    }
}
