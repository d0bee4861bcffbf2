import Foundation
import Models
import PreferenceData
import Serialization
import Synchronization
import Testing

@testable import Training

@Suite("Samples go to the store") struct SampleKeepingTests {
    let workshop: Workshop
    let store: PreferenceStore
    init() throws {
        workshop = try Workshop()
        store = try PreferenceStore(path: workshop.path + "/store.sqlite")
    }

    private static let rewards: [String: @Sendable ([Int32]) -> Double] = ["arm": { $0.reduce(0) { $0 + Bandit.rewards[Int($1)] } }]

    private func run<Method: OnlineMethod>(
        _: Method.Type, _ name: String, resumes: Bool = false, isCancelled: @escaping @Sendable () -> Bool = { false }
    ) async throws -> StageOutcome {
        var settings = Bandit.settings(Method.Settings(), try workshop.prompts([1, 2, 3]), samples: 4, steps: 3, beta: 0.1, rate: 0.1)
        settings.online.maxNewTokens = 3
        settings.training.batchSize = 3
        settings.training.saveSteps = 1
        var context = try workshop.online(TableModels(), run: name, resumes: resumes, rewards: Self.rewards)
        (context.samples, context.ledger, context.isCancelled) = (store, store, isCancelled)
        return try await OnlineStage<Method>(settings).run(in: context)
    }

    private func exported(_ shape: ExportShape) throws -> [JSON] {
        var lines: [JSON] = []
        try store.export(shape) { lines.append($0) }
        return lines
    }

    private func ids(_ json: JSON?) -> [Int32] { (json?.array ?? []).compactMap { $0.int.map(Int32.init) } }

    @Test("export gives back prompts, completions and scores, each with where it came from") func everything() async throws {
        let outcome = try await run(RLOOMethod.self, "whole")
        let run = try RunDirectory.record(at: outcome.runPath)["id"]?.string
        let rows = try exported(.scores)
        #expect(rows.count > 12, "\(rows.count) scores of 36 draws")
        let start = TablePolicy(vocabulary: 11, seed: 3)
        var (draws, first) = (0, 0)
        for row in rows {
            let (prompt, tokens) = (ids(row["prompt_ids"]), ids(row["completion"]))
            #expect(row["reward"]?.string == "arm" && abs((row["score"]?.double ?? 99) - Self.rewards["arm"]!(tokens)) < 1e-12, "\(row.text())")
            let stored = StoredPrompt(StoredContent(.tokens(prompt)))
            for generation in try store.generations(of: stored.completionID(StoredContent(.tokens(tokens)))) {
                draws += 1
                #expect(generation.model == "seed:3" && generation.run == run && generation.seed == 0 && generation.finish == "length", "\(generation)")
                #expect(generation.tokens == tokens && generation.logProbs?.count == tokens.count, "\(generation)")
                let settings = try JSON.parse(generation.sampling ?? "")
                #expect(settings["temperature"]?.double == 1 && settings["maxNewTokens"]?.int == 3 && settings["sample"]?.int != nil, "\(settings.text())")
                #expect(generation.version == settings["step"]?.int, "version \(generation.version ?? -1) at step \(settings.text())")
                guard generation.version == 0 else { continue }
                first += 1
                let expected = zip([prompt.last ?? 0] + tokens.dropLast(), tokens).map { start.logSoftmax(Int($0))[Int($1)] }
                #expect(zip(generation.logProbs ?? [], expected).allSatisfy { abs($0 - $1) < 1e-12 }, "\(generation.logProbs ?? []), \(expected)")
            }
        }
        #expect(draws == 36 && first == 12, "\(draws) draws, \(first) of the first step")
        #expect(try exported(.all).count == rows.count, "an RLOO run makes no pairs")
    }

    @Test("a resumed run keeps no draw twice, and loses none") func resumed() async throws {
        let passes = Mutex(0)
        let cut = try await run(RLOOMethod.self, "cut", isCancelled: { passes.withLock { $0 += 1; return $0 > 16 } })
        #expect(cut.status == .interrupted, "\(cut.status)")
        _ = try await run(RLOOMethod.self, "cut", resumes: true)
        var draws = 0
        for row in try exported(.scores) {
            let prompt = StoredPrompt(StoredContent(.tokens(ids(row["prompt_ids"]))))
            draws += try store.generations(of: prompt.completionID(StoredContent(.tokens(ids(row["completion"]))))).count
        }
        #expect(draws == 36, "\(draws) draws")
    }

    @Test("online DPO and rejection sampling leave their pairs", arguments: [true, false]) func pairs(isDPO: Bool) async throws {
        let outcome = isDPO ? try await run(OnlineDPOMethod.self, "pairs") : try await run(RejectionSamplingMethod.self, "pairs")
        let run = try #require(try RunDirectory.record(at: outcome.runPath)["id"]?.string)
        let pairs = try store.comparisons()
        #expect((3...9).contains(pairs.count), "\(pairs.count) pairs of 3 steps with 3 prompts")
        for pair in pairs {
            guard case let .tokens(chosen)? = pair.chosen.content, case let .tokens(rejected)? = pair.rejected.content else { throw RunError.busy(path: "no ids") }
            let gap = Self.rewards["arm"]!(chosen) - Self.rewards["arm"]!(rejected)
            #expect(gap > 0 && abs(gap - (pair.margin ?? 99)) < 1e-12, "a gap of \(gap), margin \(pair.margin ?? 99)")
            #expect(pair.origin == .run && pair.source.id == run, "\(pair.source)")
            #expect(try store.runs(trainedOn: pair.id) == [run])
        }
        #expect(try exported(.pairs).count == pairs.count)
    }
}
