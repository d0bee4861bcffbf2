import Foundation
import Models
import PreferenceData
import Serialization

/// Where sampled completions and their scores outlive a run: the preference store.
public protocol SampleLedger: Sendable {
    /// Keeping a draw twice changes nothing.
    func keep(_ samples: [SampledCompletion], pairs: [StoredComparison], run: String, at time: String) throws
}

extension PreferenceStore: SampleLedger {}

/// Puts an online step's completions into the ledger before the step learns of them: what was sampled and scored is never lost.
///
/// Held-out prompts are left out, or they would come back as training data.
struct SampleKeeper {
    private let ledger: any SampleLedger
    private let source: StoredSource
    /// Content hash of what the run started from; `Generation.version` says how many updates lie behind the policy that sampled.
    private let model: String
    /// nil: nobody scores.
    private let reward: String?

    init(_ ledger: any SampleLedger, run: RunDirectory, model: String, reward: String?) {
        (self.ledger, self.model, self.reward) = (ledger, model, reward)
        source = StoredSource(id: run.record["id"]?.string ?? run.path, name: run.path)
    }

    /// - Parameters:
    ///   - rows: The prompt of each completion.
    ///   - pairs: Of completions, by place.
    func keep(_ scored: [Rolling.Scored], _ pairs: [Weighing.Pair], of rows: [PromptRow]) throws {
        let time = PreferenceStore.now()
        let samples = zip(scored, rows).map { sample($0, $1, at: time) }
        let comparisons = pairs.compactMap { pair -> StoredComparison? in
            guard let chosen = samples[pair.chosen], let rejected = samples[pair.rejected], chosen.completion != rejected.completion else { return nil }
            return StoredComparison(
                prompt: chosen.prompt, chosen: chosen.completion, rejected: rejected.completion, margin: scored[pair.chosen].value - scored[pair.rejected].value,
                origin: .run, source: source)
        }
        // What an earlier round left is there already.
        let fresh = zip(samples, scored).compactMap { $1.isEarlier ? nil : $0 }
        try ledger.keep(fresh, pairs: comparisons, run: source.id, at: time)
    }

    /// nil for a completion that says nothing.
    private func sample(_ scored: Rolling.Scored, _ row: PromptRow, at time: String) -> SampledCompletion? {
        let prompt = StoredPrompt(row.content.stored)
        let rollout = scored.rollout
        guard let completion = prompt.completion(text: rollout.text, tokens: scored.tokens) else { return nil }
        let id = prompt.completionID(completion)
        var generation = Generation(completion: id, model: model, time: time)
        (generation.run, generation.version, generation.seed) = (source.id, rollout.model.version, Int(truncatingIfNeeded: rollout.sampling.seed))
        (generation.sampling, generation.finish) = (Self.draw(rollout).text(), rollout.finishReason.name)
        (generation.tokens, generation.logProbs) = (scored.tokens, rollout.logProbs)
        let parts = scored.score.components.filter(\.isReward).map { ($0.name, $0.value) }
        let whole = reward.map { [($0, scored.score.value)] } ?? []
        let scores = (whole + parts).map { Score(completion: id, reward: $0.0, run: source.id, value: $0.1, time: time) }
        return SampledCompletion(prompt: prompt, completion: completion, generation: generation, scores: scores)
    }

    /// All that a draw follows from beside weights and seed.
    private static func draw(_ rollout: Rollout) -> JSON {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        var settings = (try? encoder.encode(rollout.sampling)).flatMap { (try? JSON.parse($0))?.object } ?? JSONObject()
        (settings["step"], settings["prompt"], settings["sample"]) = (.integer(rollout.step), .integer(rollout.prompt), .integer(rollout.sample))
        return .object(settings)
    }
}

extension RolloutPrompt.Content {
    /// As the store keeps it.
    var stored: StoredContent {
        switch self {
        case let .text(text): StoredContent(.text(text))
        case let .messages(messages):
            StoredContent(.messages(messages.map { Message(role: $0["role"]?.string ?? "", content: $0["content"]?.string ?? "", raw: $0) }))
        case let .tokens(ids): StoredContent(.tokens(ids))
        }
    }
}
