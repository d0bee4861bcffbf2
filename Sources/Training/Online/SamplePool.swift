import Foundation
import Models
import Serialization

/// Completions of earlier rounds that still compete: what was kept of each prompt when it was last sampled.
///
/// Part of a checkpoint, so that a resumed run has the same rivals.
struct SamplePool {
    static let name = "training/pool.jsonl"

    /// By the prompt's row.
    private var kept: [Int: [Rolling.Scored]] = [:]

    init() {}

    /// Those of a prompt, marked as earlier ones.
    func earlier(of prompt: Int) -> [Rolling.Scored] {
        (kept[prompt] ?? []).map { scored in
            var scored = scored
            scored.isEarlier = true
            // Another policy's, by now.
            scored.rollout.logProbs = nil
            return scored
        }
    }

    /// Remembers what was kept of a prompt, in place of what was kept before.
    mutating func keep(_ samples: [Rolling.Scored], of prompt: Int) { kept[prompt] = samples }

    // MARK: On disk

    func save(to checkpoint: String) throws(RunError) {
        try DurableFiles.makeFolder(checkpoint + "/training")
        let lines = kept.keys.sorted().flatMap { prompt in (kept[prompt] ?? []).map { Self.line($0, of: prompt).text() + "\n" } }
        try DurableFiles.replace(checkpoint + "/" + Self.name, with: Array(lines.joined().utf8))
    }

    /// The pool of a checkpoint, which must be one of a run that keeps a pool.
    init(checkpoint: String) throws(RunError) {
        let path = checkpoint + "/" + Self.name
        for (index, line) in try DurableFiles.read(path).split(separator: UInt8(ascii: "\n")).enumerated() {
            guard let json = try? JSON.parse(Array(line)), let (prompt, scored) = Self.entry(json) else {
                throw .damaged(file: path, field: "line \(index + 1)", found: "no completion", expected: "prompt, sample, tokens, text, score and value")
            }
            kept[prompt, default: []].append(scored)
        }
    }

    private static func line(_ scored: Rolling.Scored, of prompt: Int) -> JSON {
        [
            "prompt": .integer(prompt), "sample": .integer(scored.rollout.sample), "step": .integer(scored.rollout.step),
            "tokens": .array(scored.tokens.map { .integer(Int($0)) }), "text": .string(scored.rollout.text), "score": .number(scored.score.value),
            "value": .number(scored.value), "whole": .bool(scored.isWhole),
            "parts": .array(scored.score.components.map { ["name": .string($0.name), "value": .number($0.value), "reward": .bool($0.isReward)] }),
        ]
    }

    private static func entry(_ json: JSON) -> (Int, Rolling.Scored)? {
        guard let prompt = json["prompt"]?.int, let sample = json["sample"]?.int, let step = json["step"]?.int, let ids = json["tokens"]?.array,
            let text = json["text"]?.string, let score = json["score"]?.double, let value = json["value"]?.double, let isWhole = json["whole"]?.bool
        else { return nil }
        let tokens = ids.compactMap { $0.int.flatMap(Int32.init(exactly:)) }
        guard tokens.count == ids.count, !tokens.isEmpty else { return nil }
        let parts = (json["parts"]?.array ?? []).compactMap { part in
            part["name"]?.string.flatMap { name in part["value"]?.double.map { RewardScore.Component(name, $0, isReward: part["reward"]?.bool ?? false) } }
        }
        let rollout = Rollout(
            prompt: prompt, sample: sample, promptTokens: nil, tokens: tokens, logProbs: nil, text: text, finishReason: isWhole ? .stopToken(nil) : .length,
            model: RolloutModel(name: "pool"), sampling: Sampling(), step: step)
        return (prompt, Rolling.Scored(rollout: rollout, tokens: tokens, score: RewardScore(score, components: parts), value: value, isWhole: isWhole))
    }
}

/// What competes in a step: new completions, and of each prompt those of earlier rounds behind them.
struct Candidates {
    var scored: [Rolling.Scored] = []
    /// The prompt of each, by its place in the step.
    var groups: [Int] = []

    init(_ fresh: [Rolling.Scored], perPrompt count: Int, prompts: [Int], pool: SamplePool?) {
        for (group, prompt) in prompts.enumerated() {
            let own = Array(fresh[group * count..<(group + 1) * count])
            // The same words need not stand twice.
            let rivals = (pool?.earlier(of: prompt) ?? []).filter { rival in !own.contains { $0.tokens == rival.tokens } }
            scored += own + rivals
            groups += Array(repeating: group, count: own.count + rivals.count)
        }
    }
}
