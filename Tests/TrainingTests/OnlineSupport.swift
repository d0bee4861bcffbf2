import Foundation
import Models
import Serialization
import Tensors

@testable import Training

/// Samples from a table, one token after the other, with draws that follow from (seed, step, prompt, sample).
final class TableRollouts: Rollouts {
    private let policy: TablePolicy
    private(set) var model = RolloutModel(name: "table")
    let givesTokens = true
    init(_ policy: TablePolicy) { self.policy = policy }

    func synchronize(_ policy: any Policy, version: Int) async throws { model.version = version }

    func sample(_ request: RolloutRequest, _ take: (Rollout) throws -> Bool) async throws {
        for prompt in request.prompts {
            guard case let .tokens(ids) = prompt.content else { throw RolloutError.noTokens(engine: "table") }
            for sample in prompt.samples {
                var stream = RandomStream(seed: request.sampling.seed, stream: UInt64(request.step) << 20 | UInt64(prompt.index), index: UInt64(sample))
                var (tokens, logProbs) = ([Int32](), [Double]())
                var reason = FinishReason.length
                while tokens.count < request.sampling.maxNewTokens {
                    let all = policy.logSoftmax(Int(tokens.last ?? ids.last ?? 0))
                    var left = stream.uniform()
                    let token = all.firstIndex { left -= exp($0); return left < 0 } ?? all.count - 1
                    tokens.append(Int32(token))
                    logProbs.append(all[token])
                    if request.sampling.stopIDs.contains(Int32(token)) { reason = .stopToken(Int32(token)) }
                    if reason != .length { break }
                }
                let rollout = Rollout(
                    prompt: prompt.index, sample: sample, promptTokens: ids, tokens: tokens, logProbs: logProbs,
                    text: tokens.map(String.init).joined(separator: " "), finishReason: reason, model: model, sampling: request.sampling, step: request.step)
                guard try take(rollout) else { return }
            }
        }
    }
}

/// A reward that is a function of the completion's tokens.
final class TokenReward: Reward {
    let name: String
    private let function: @Sendable ([Int32]) -> Double
    init(_ name: String, _ function: @escaping @Sendable ([Int32]) -> Double) { (self.name, self.function) = (name, function) }
    func scores(of items: [RewardItem]) async throws(RewardFailure) -> [RewardScore] {
        items.map { RewardScore(function($0.tokens ?? []), components: [.init(name, function($0.tokens ?? []))]) }
    }
}

extension Workshop {
    /// A context whose engine is the table itself, and whose rewards are functions by name.
    func online(
        _ models: TableModels, run: String, resumes: Bool = false, rewards: [String: @Sendable ([Int32]) -> Double]
    ) throws -> StageContext {
        var context = try context(models, run: run, resumes: resumes)
        context.openRollouts = { policy, _ in
            guard let table = policy as? TablePolicy else { throw RolloutError.noTokens(engine: "no table") }
            return TableRollouts(table)
        }
        context.openReward = { spec in
            guard let function = rewards[spec] else { throw RewardError.badSpec(spec: spec, found: spec, expected: "one of \(rewards.keys.sorted())") }
            return TokenReward(spec, function)
        }
        return context
    }

    /// Prompts of one token each.
    func prompts(_ tokens: [Int]) throws -> String {
        try write("prompts-\(tokens.count).jsonl", tokens.map { ["prompt_ids": [.integer($0)]] })
    }
}

/// A bandit: one prompt token, one action, rewards that are known.
struct Bandit {
    static let rewards: [Double] = [0.3, -0.5, 0.9, 0.1, -0.2, 0.6, 0, -0.9, 0.4, 0.2, -0.4]
    static let prompt = 5

    static func settings<Settings: OnlineStageSettings>(_ settings: Settings, _ prompts: String, samples: Int, steps: Int, beta: Double, rate: Double) -> Settings {
        var settings = settings
        settings.online.prompts = [prompts]
        settings.online.reward = "arm"
        settings.online.samples = samples
        settings.online.maxNewTokens = 1
        settings.online.beta = beta
        settings.online.loggedCompletions = 2
        settings.training.model = "seed:3"
        settings.training.maxSteps = steps
        settings.training.learningRate = rate
        settings.training.batchSize = 1
        settings.training.maxGradientNorm = 0
        settings.training.saveSteps = 0
        return settings
    }

    /// softmax(r/β + log π_ref).
    static func optimum(_ reference: [Double], beta: Double) -> [Double] {
        let weights = zip(reference, rewards).map { exp($0 + $1 / beta) }
        return weights.map { $0 / weights.reduce(0, +) }
    }

    static func distribution(_ folder: String) throws -> [Double] {
        let policy = TablePolicy(vocabulary: 11, seed: 0)
        try TableModels.read(policy, folder)
        return policy.logSoftmax(prompt).map(exp)
    }

    /// Half the sum of absolute differences.
    static func distance(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + abs($1.0 - $1.1) } / 2 }
}
