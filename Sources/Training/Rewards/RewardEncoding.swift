import PreferenceData
import Serialization
import Tokenizers

/// What strengths of preference mean, the strongest first: `PreferenceStrength.allCases`.
public enum RewardLabelTables {
    /// Margins of Llama 2's Table 27.
    public static let llama2Small = [1, 2.0 / 3, 1.0 / 3, 0], llama2Large = [3.0, 2, 1, 0]
    /// Probabilities of the preference (AFM).
    public static let afm = [0.95, 0.85, 0.75, 0.65]
}

/// What a row's words and numbers mean to a reward model's loss.
struct RewardLabelling: Sendable {
    var margin: RewardSettings.Margin
    var softLabels: RewardSettings.SoftLabels
    /// Whether the loss learns from ranks where rows have scores.
    var ranksScores: Bool
    /// Completions that are too long are cut, and not left out.
    var cutsLongRows: Bool

    /// - Throws: `TrainingError.badRow` for a row that lacks what the settings ask for.
    func label(_ judgement: RewardExample.Judgement, origin: String) throws(TrainingError) -> RewardLabel {
        switch judgement {
        case let .preferred(margin, strength, probability):
            return .preference(
                margin: try self.margin(margin, strength, origin: origin), probability: try softLabel(probability, strength, origin: origin))
        case let .ranked(ranks): return .ranking(ranks)
        case let .scored(scores):
            guard ranksScores else { return .scores(scores) }
            // The first score decides: the highest has rank 1.
            let first = scores.compactMap { $0.first ?? nil }
            guard first.count == scores.count, first.count > 1 else {
                throw .badRow(
                    origin: origin, found: "\(first.count) scored completions of \(scores.count)", expected: "two or more, all scored, to rank them",
                    remedy: "Train with --loss \(ScoreRegression.name), or leave the row out.")
            }
            return .ranking(first.map { score in 1 + first.count { $0 > score } })
        case let .steps(labels): return .steps(labels)
        }
    }

    private func margin(_ given: Double?, _ strength: PreferenceStrength?, origin: String) throws(TrainingError) -> Double {
        switch margin {
        case .none: return 0
        case .column: return given ?? 0
        case .llama2Small: return try RewardLabelling.entry(strength, RewardLabelTables.llama2Small, "margin \(margin.rawValue)", origin: origin)
        case .llama2Large: return try RewardLabelling.entry(strength, RewardLabelTables.llama2Large, "margin \(margin.rawValue)", origin: origin)
        }
    }

    private func softLabel(_ given: Double?, _ strength: PreferenceStrength?, origin: String) throws(TrainingError) -> Double {
        switch softLabels {
        case .none: return 1
        case .column: return given ?? 1
        case .afm: return try RewardLabelling.entry(strength, RewardLabelTables.afm, "soft-labels \(softLabels.rawValue)", origin: origin)
        }
    }

    /// The entry of a table by strength.
    private static func entry(_ strength: PreferenceStrength?, _ table: [Double], _ flag: String, origin: String) throws(TrainingError) -> Double {
        guard let strength, let index = PreferenceStrength.allCases.firstIndex(of: strength) else {
            throw .badRow(
                origin: origin, found: "a pair without \"strength\"", expected: "how much better it is, which --\(flag) asks for",
                remedy: "Give each row one of \(PreferenceStrength.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")).")
        }
        return table[index]
    }
}

extension RowEncoder {
    /// A reward model's example as token ids: texts and messages as for preference optimisation, read at each completion's last token;
    /// steps one after the other, a newline after each, read at that newline.
    func encode(_ example: RewardExample, _ labelling: RewardLabelling) throws -> Encoded<RewardRow> {
        let origin = example.origin.place
        let label = try labelling.label(example.judgement, origin: origin)
        if case .steps = label { return try steps(example, label) }
        let raw = template == nil ? example.raw : nil
        let split = try tokens(
            prompt: raw.map { .text($0.prompt) } ?? example.prompt, completions: raw.map { [.text($0.chosen), .text($0.rejected)] } ?? example.completions,
            tools: example.tools, origin: origin)
        return try row(split.prompt, split.completions, points: nil, label, example, cuts: labelling.cutsLongRows, isMerged: split.isMerged)
    }

    private func steps(_ example: RewardExample, _ label: RewardLabel) throws -> Encoded<RewardRow> {
        let origin = example.origin.place
        var tokens: [Int32] = []
        var points: [Int] = []
        for step in example.completions {
            switch step {
            case let .tokens(ids): tokens += ids
            case let .text(text): tokens += try textTokenizer(origin: origin).encode(text + "\n", addSpecialTokens: false)
            case .messages: break  // refused when read
            }
            points.append(tokens.count - 1)
        }
        return try row(try promptTokens(example), [tokens], points: [points], label, example, cuts: false, isMerged: false)
    }

    /// A prompt that an answer follows.
    private func promptTokens(_ example: RewardExample) throws -> [Int32] {
        let origin = example.origin.place
        switch example.prompt {
        case let .tokens(ids): return ids
        case let .text(text) where template == nil: return try textTokenizer(origin: origin).encode(text, addSpecialTokens: true)
        default:
            let (tokenizer, template) = try renderer(origin: origin)
            let text = try rendered(origin) { () throws(TemplateError) in
                try template.render(messages: turns(example.prompt, role: "user"), tools: example.tools, addGenerationPrompt: true, variables: variables)
            }
            return tokenizer.encode(text, addSpecialTokens: false)
        }
    }

    private func row(
        _ prompt: [Int32], _ completions: [[Int32]], points: [[Int]]?, _ label: RewardLabel, _ example: RewardExample, cuts: Bool, isMerged: Bool
    ) throws -> Encoded<RewardRow> {
        let origin = example.origin.place
        for completion in completions { try check(prompt + completion, isText: !example.prompt.isTokens, origin: origin) }
        var encoded = Encoded<RewardRow>(isMerged: isMerged)
        let room = maxLength - prompt.count
        if completions.contains(where: \.isEmpty) {
            encoded.dropped = "a completion has no tokens"
            return encoded
        }
        let longest = completions.map(\.count).max() ?? 0
        guard longest <= room || (cuts && room > 0) else {
            encoded.dropped = "\(prompt.count + longest) tokens are over --max-length \(maxLength)"
            return encoded
        }
        encoded.isTruncated = longest > room
        encoded.row = RewardRow(
            prompt: prompt, completions: completions.map { Array($0.prefix(room)) }, points: points, label: label,
            grades: example.grades.allSatisfy(\.isEmpty) ? [] : example.grades, origin: origin)
        return encoded
    }
}
