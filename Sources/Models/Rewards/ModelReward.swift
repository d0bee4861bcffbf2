import Checkpoints
import Serialization
import Tensors

/// `model:DIR`: a reward model, read at the last token of prompt and completion as it was trained to be.
///
/// Texts are one user message and the assistant's answer where the model has a chat template, else prompt, completion and the
/// end-of-sequence token. Ids are taken as they are where both are known as ids alone.
public final class ModelReward: Reward {
    public let name: String
    private let scorer: RewardScorer
    private let text: CheckpointText
    private let maxPositions: Int

    /// - Throws: `RewardError.cannotLoad` for a model without a score head or tokenizer; what opening and reading a checkpoint throws.
    public init(path: String, compute: Compute, precision: Precision) throws {
        name = "model:\(path)"
        let checkpoint = try Checkpoint.open(path)
        guard checkpoint.config.scoresSequences else {
            throw RewardError.cannotLoad(reward: name, reason: "found \(checkpoint.config.architecture), which has no score head; expected a reward model, such as one that 'align reward' trains.")
        }
        text = checkpoint.text
        maxPositions = checkpoint.config.maxPositions
        let policy = try Transformer.frozen(checkpoint, compute: compute, precision: precision)
        scorer = RewardScorer(policy: policy, outputs: checkpoint.config.scoreHeads.reduce(0) { $0 + $1.outputs })
    }

    public func scores(of items: [RewardItem]) throws(RewardFailure) -> [RewardScore] {
        var rows: [RewardScorer.Row] = []
        var failure: RewardError?
        for (index, item) in items.enumerated() {
            do throws(RewardError) {
                let (prompt, completion) = try tokens(item, index: index)
                // Completions of one prompt share its computation.
                if rows.last?.prompt == prompt { rows[rows.count - 1].completions.append(completion) } else { rows.append(.init(prompt: prompt, completions: [completion])) }
            } catch {
                failure = error
                break
            }
        }
        var scores: [RewardScore] = []
        do {
            try scorer.score(rows) { _, found in
                for outputs in found {
                    guard outputs[0].isFinite else { throw RewardError.notFinite(reward: name, item: scores.count, found: "\(outputs[0])") }
                    scores.append(RewardScore(outputs[0]))
                }
                return true
            }
        } catch { throw RewardFailure(error as? RewardError ?? .cannotLoad(reward: name, reason: "\(error)"), done: scores) }
        if let failure { throw RewardFailure(failure, done: scores) }
        return scores
    }

    /// Prompt and completion; neither is empty, as a shared prompt is a segment of its own.
    private func tokens(_ item: RewardItem, index: Int) throws(RewardError) -> (prompt: [Int32], completion: [Int32]) {
        let (start, whole) = try rendered(item, index: index)
        guard whole.count <= maxPositions else { throw .tooManyTokens(reward: name, item: index, tokens: whole.count, limit: maxPositions) }
        guard whole.count > 1 else { throw .missing(reward: name, item: index, field: "text to score", remedy: "Leave the row out.") }
        let shared = !start.isEmpty && start.count < whole.count && whole.starts(with: start) ? start.count : 1
        return (Array(whole[..<shared]), Array(whole[shared...]))
    }

    /// Tokens of the prompt, and of all.
    private func rendered(_ item: RewardItem, index: Int) throws(RewardError) -> ([Int32], [Int32]) {
        if case let .tokens(prompt) = item.prompt, let tokens = item.tokens { return (prompt, prompt + tokens) }
        guard let tokenizer = text.tokenizer else { throw .cannotLoad(reward: name, reason: "it has no tokenizer, which texts need; put tokenizer.json beside the weights.") }
        var messages: [JSON]
        switch item.prompt {
        case let .messages(given): messages = given
        case let .text(prompt):
            guard text.chatTemplate != nil else {
                let start = tokenizer.promptTokens(prompt)
                let all = tokenizer.promptTokens(prompt + item.completion) + (tokenizer.eosID.map { [$0] } ?? [])
                return (start, all)
            }
            messages = [["role": "user", "content": .string(prompt)]]
        case .tokens: throw .missing(reward: name, item: index, field: "token ids, though its prompt has", remedy: "Give both as texts, or both as ids.")
        }
        guard let template = text.chatTemplate else { throw .cannotLoad(reward: name, reason: "it has no chat template, which messages need.") }
        do {
            let start = try template.render(messages: messages, addGenerationPrompt: true, variables: tokenizer.templateVariables)
            messages.append(["role": "assistant", "content": .string(item.completion)])
            let all = try template.render(messages: messages, addGenerationPrompt: false, variables: tokenizer.templateVariables)
            return (tokenizer.encode(start), tokenizer.encode(all))
        } catch { throw .cannotLoad(reward: name, reason: "its chat template refuses completion \(index + 1): \(error)") }
    }
}
