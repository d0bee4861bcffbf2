import Foundation
import Models
import Serialization
import Synchronization
import Tensors
import Testing

@testable import Training

@Suite("Reward stage") struct RewardStageTests {
    let workshop: Workshop
    init() throws { workshop = try Workshop() }

    func settings(_ files: [String], _ change: (inout RewardSettings) -> Void = { _ in }) -> RewardSettings {
        var settings = RewardSettings()
        settings.pairs = files
        settings.training.model = "seed:3"
        (settings.training.batchSize, settings.training.learningRate, settings.training.epochs) = (2, 0.05, 3)
        settings.training.evalSplit = 0.2
        change(&settings)
        return settings
    }

    @discardableResult
    func run(_ settings: RewardSettings, _ name: String, resumes: Bool = false, isCancelled: @escaping @Sendable () -> Bool = { false }) async throws -> StageOutcome {
        var context = try workshop.context(TableModels(), run: name, resumes: resumes)
        context.isCancelled = isCancelled
        return try await RewardModelling(settings).run(in: context)
    }

    @Test("pairs that one token tells apart are learned, and the run's lines have TRL's names") func learns() async throws {
        // Token 9 ends every chosen completion, token 8 every rejected one.
        let rows = (0..<20).map { i -> JSON in
            ["prompt_ids": [.integer(i % 5), .integer(i / 5)], "chosen_ids": [.integer(i % 7), 9], "rejected_ids": [.integer(i % 3), 8]]
        }
        let file = try workshop.write("separable.jsonl", rows)
        let outcome = try await run(settings([file]) { $0.training.epochs = 20 }, "run")
        #expect(outcome.after["eval_accuracy"] == 1 && outcome.training["accuracy"] == 1, "\(outcome.after), \(outcome.training)")
        let lines = try workshop.metrics("run")
        let names = ["loss", "grad_norm", "learning_rate", "num_tokens", "accuracy", "margin", "mean_reward", "min_reward", "max_reward"]
        let first = try #require(lines.first { $0["loss"] != nil })
        for name in names { #expect(first[name]?.double != nil, "\(name) is not in \(first.keys)") }
        #expect(first["length_baseline"] == nil && first["ece"] == nil)
        // All completions have two tokens: the longer one is never known, and all pairs are matched.
        #expect(outcome.after["eval_length_baseline"] == 0.5 && outcome.after["eval_length_matched"] == 1)
        #expect(outcome.after["eval_accuracy_length_matched"] == 1 && outcome.after["eval_ece"] != nil)
    }

    @Test("a run cancelled anywhere and resumed ends like one that was not", arguments: [1, 7, 13, 22]) func resumed(polls: Int) async throws {
        let settings = settings([try workshop.pairs(13)]) { $0.training.saveSteps = 4; $0.training.evalSteps = 3 }
        let whole = try await run(settings, "whole")
        let left = Mutex(polls)
        let first = try await run(settings, "parts") { left.withLock { $0 -= 1; return $0 < 0 } }
        #expect(first.status == .interrupted)
        let second = try await run(settings, "parts", resumes: true)
        #expect(second.after == whole.after && second.before == whole.before, "\(second.after) and \(whole.after)")
        #expect(try workshop.metrics("whole") == workshop.metrics("parts"))
        #expect(try TableModels.bytes(workshop.path + "/whole/model") == TableModels.bytes(workshop.path + "/parts/model"))
    }

    @Test("1×8 and 8×1 give one step") func accumulated() async throws {
        let file = try workshop.pairs(8)
        for (name, size, steps) in [("wide", 8, 1), ("long", 1, 8)] {
            try await run(settings([file]) {
                $0.training.evalSplit = 0
                ($0.training.batchSize, $0.training.accumulationSteps, $0.training.maxSteps) = (size, steps, 3)
            }, name)
        }
        let (a, b) = (try workshop.metrics("wide"), try workshop.metrics("long"))
        for (x, y) in zip(a, b) {
            for key in x.keys {
                let (p, q) = (x[key]?.double ?? .nan, y[key]?.double ?? .nan)
                #expect(abs(p - q) <= 1e-6 * max(1, abs(p)), "\(key): \(p) and \(q)")
            }
        }
        #expect(a.count == 3 && b.count == 3)
    }

    /// A pair per strength; the margin and the soft label that each setting makes of it.
    @Test("strengths become Llama 2's margins and AFM's probabilities") func strengths() throws {
        let words = ["significantly better", "better", "slightly better", "negligibly better / unsure"]
        let file = try workshop.write("strengths.jsonl", words.enumerated().map { i, word in
            ["prompt_ids": [.integer(i)], "chosen_ids": [1, 2], "rejected_ids": [3], "strength": .string(word), "margin": 0.25, "probability": 0.9]
        })
        func labels(_ change: (inout RewardSettings) -> Void) throws -> [RewardLabel] {
            var settings = settings([file], change)
            settings.training.evalSplit = 0
            let context = try workshop.context(TableModels(), run: "none")
            return try RewardModelling(settings).rows(in: context).map(\.label)
        }
        func expect(_ found: [RewardLabel], _ margins: [Double], _ probabilities: [Double], sourceLocation: SourceLocation = #_sourceLocation) {
            let expected = zip(margins, probabilities).map { RewardLabel.preference(margin: $0, probability: $1) }
            #expect(found == expected, "\(found)", sourceLocation: sourceLocation)
        }
        let quarter = [0.25, 0.25, 0.25, 0.25], nine = [0.9, 0.9, 0.9, 0.9], none = [0.0, 0, 0, 0], sure = [1.0, 1, 1, 1]
        expect(try labels { _ in }, quarter, nine)
        expect(try labels { $0.margin = .none; $0.softLabels = .none }, none, sure)
        expect(try labels { $0.margin = .llama2Small; $0.softLabels = .none }, [1, 2.0 / 3, 1.0 / 3, 0], sure)
        expect(try labels { $0.margin = .llama2Large; $0.softLabels = .afm }, [3, 2, 1, 0], [0.95, 0.85, 0.75, 0.65])
    }

    @Test("each kind of row trains under its loss, and is refused by the others", arguments: [
        ("plackett-luce", "{\"prompt_ids\": [1, 2], \"completions_ids\": [[3], [4, 5], [6]], \"ranks\": [2, 1, 2]}"),
        ("regression", "{\"prompt_ids\": [1, 2], \"completions_ids\": [[3], [4, 5]], \"scores\": [[0.5, 1], [null, 2]]}"),
        ("process", "{\"prompt_ids\": [1, 2], \"completions_ids\": [[3, 4], [5], [6]], \"labels\": [true, null, false]}"),
    ]) func kinds(loss: String, row: String) async throws {
        let rows = try (0..<4).map { i in
            var object = try JSON.parse(row).object!
            object["prompt_ids"] = [.integer(i), 2]
            return JSON.object(object)
        }
        let file = try workshop.write("rows.jsonl", rows)
        let outcome = try await run(settings([file]) { $0.loss = loss; $0.training.evalSplit = 0.25 }, loss)
        #expect(outcome.status == .finished && outcome.after["eval_loss"]?.isFinite == true, "\(outcome.after)")
        let other = loss == "process" ? "regression" : "process"
        await #expect(throws: TrainingError.self) { try await run(settings([file]) { $0.loss = other }, "other") }
    }

    @Test("a row too long is left out, or cut if asked") func long() throws {
        let file = try workshop.write("long.jsonl", [
            ["prompt_ids": [1], "chosen_ids": [1, 2], "rejected_ids": [3]], ["prompt_ids": [2], "chosen_ids": [1, 2, 3, 4, 5, 6], "rejected_ids": [3]],
        ])
        let context = try workshop.context(TableModels(), run: "none")
        func rows(_ policy: RewardSettings.LongRows) throws -> [RewardRow] {
            try RewardModelling(settings([file]) { $0.training.maxLength = 4; $0.longRows = policy; $0.training.evalSplit = 0 }).rows(in: context)
        }
        let (dropped, cut) = (try rows(.drop), try rows(.cut))
        #expect(dropped.count == 1 && cut.count == 2 && cut[1].completions[0] == [1, 2, 3], "\(dropped.count), \(cut)")
    }

    @Test("settings of another loss are refused by name") func conflicts() {
        var settings = settings(["x"])
        (settings.loss, settings.centering) = ("process", 0.01)
        #expect(throws: SettingError.conflict(settings: ["center-rewards-coefficient", "loss"], reason: "only the loss bradley-terry has it")) {
            try settings.validate()
        }
    }

    @Test("a model that reads back otherwise than it was written is refused") func savedOtherwise() async throws {
        let file = try workshop.pairs(6)
        var context = try workshop.context(TableModels(), run: "run")
        let open = context.openModel
        context.openModel = { path, settings in
            var source = try open(path, settings)
            guard path.hasSuffix("/model") else { return source }
            let load = source.load
            source.load = { trains in
                let policy = try load(trains)
                policy.weights.base[policy.weights.count - 1] += 0.5
                return policy
            }
            return source
        }
        let damaged = context
        await #expect(throws: TrainingError.self) { try await RewardModelling(settings([file])).run(in: damaged) }
    }

    @Test("the record of a row is the row", arguments: RewardExamples.cases.indices) func records(index: Int) throws {
        let list = RewardModelTests.task(index).rows, rows = try list.prefix(list.count)
        let file = try workshop.write("rows.jsonl", rows.map(\.record))
        let context = try workshop.context(TableModels(vocabulary: 61), run: "none")
        let read = try RewardModelling(settings([file]) { $0.loss = type(of: RewardExamples.cases[index].objective).name; $0.training.evalSplit = 0 }).rows(in: context)
        for (found, expected) in zip(read, rows) {
            var found = found
            found.origin = ""
            #expect(found == expected, "\(found)\n\(expected)")
        }
        #expect(read.count == rows.count)
    }
}
