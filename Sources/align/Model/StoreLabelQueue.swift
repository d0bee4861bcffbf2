import Models
import PreferenceData
import Serialization

/// The preference store as the queue behind `--reward human`.
///
/// People compare: completions of one prompt stand in one item, a completion alone stands beside its reference answer. A
/// completion scores the share of the others that it beats, ties a half, averaged over annotators; 0 where both were called bad.
struct StoreLabelQueue: HumanQueue {
    static let source = StoredSource(named: "align score --reward human")
    let store: PreferenceStore

    init(_ store: PreferenceStore) { self.store = store }

    struct Fault: Error, CustomStringConvertible {
        var item: Int
        var description: String {
            "completion \(item + 1) has nothing to be compared with; give the rows a reference answer, or several completions of one prompt"
        }
    }

    func scores(of items: [RewardItem]) throws -> [Double?] {
        let prompts = items.map { StoredPrompt(Self.stored($0.prompt)) }
        var groups: [String: [Int]] = [:]
        for (index, prompt) in prompts.enumerated() { groups[prompt.id, default: []].append(index) }
        var candidates: [Candidates] = []
        /// By item: its own id, and the place of its candidates.
        var places = [(completion: String, candidate: Int)](repeating: ("", 0), count: items.count)
        for (_, indices) in groups.sorted(by: { $0.value[0] < $1.value[0] }) {
            let prompt = prompts[indices[0]]
            var texts: [String] = []
            for text in indices.map({ items[$0].completion }) + (indices.compactMap { items[$0].reference }.first.map { [$0] } ?? []) where !texts.contains(text) { texts.append(text) }
            guard texts.count > 1 else { throw Fault(item: indices[0]) }
            for index in indices { places[index] = (prompt.completionID(StoredContent(kind: .text, text: items[index].completion)), candidates.count) }
            candidates.append(Candidates(prompt: prompt, completions: texts.map { StoredContent(kind: .text, text: $0) }))
        }
        let queued = try store.enqueue(candidates, source: Self.source, added: PreferenceStore.now()).items
        let votes = Dictionary(grouping: try store.standingVotes().filter { $0.outcome != .skip && $0.outcome != .withdrawal }, by: \.item.id)
        return places.map { place in
            let item = queued[place.candidate]
            let scores = (votes[item.id] ?? []).compactMap { Self.score(of: place.completion, by: $0) }
            return scores.isEmpty ? nil : scores.reduce(0, +) / Double(scores.count)
        }
    }

    /// The share of the others that the vote puts below a completion, ties a half.
    static func score(of completion: String, by vote: Vote) -> Double? {
        switch vote.outcome {
        case .first: vote.item.first == completion ? 1 : 0
        case .second: vote.item.second == completion ? 1 : 0
        case .tie: 0.5
        case .bothBad: 0
        case .skip, .withdrawal: nil
        case .ranking: rank(of: completion, in: vote.ranking ?? [])
        }
    }

    private static func rank(of completion: String, in tiers: [[String]]) -> Double? {
        guard let tier = tiers.firstIndex(where: { $0.contains(completion) }) else { return nil }
        let below = tiers[(tier + 1)...].reduce(0) { $0 + $1.count }, beside = tiers[tier].count - 1
        let others = tiers.reduce(0) { $0 + $1.count } - 1
        return others == 0 ? nil : (Double(below) + 0.5 * Double(beside)) / Double(others)
    }

    private static func stored(_ prompt: RolloutPrompt.Content) -> StoredContent {
        switch prompt {
        case let .text(text): StoredContent(kind: text.isEmpty ? .none : .text, text: text)
        case let .messages(messages): StoredContent(kind: .messages, text: JSON.array(messages).text())
        case let .tokens(ids): StoredContent(Content.tokens(ids))
        }
    }
}
