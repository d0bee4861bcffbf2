/// The order in which an annotator is asked.
public enum LabelQueue {
    public enum Order: String, Sendable, CaseIterable { case given, random, active }

    /// Items mixed with gold ones: of every `1/goldRate` places one is gold's, at a place of its block that follows from the seed.
    /// - Parameters:
    ///   - items: In the order to ask in.
    ///   - gold: Known items, in the order to ask in; those that do not fit at the rate are left for later sittings.
    public static func mixed(_ items: [LabelItem], gold: [LabelSession.Entry], goldRate: Double, seed: UInt64) -> [LabelSession.Entry] {
        let known = Set(gold.map(\.item.id))
        let plain = items.filter { !known.contains($0.id) }.map { LabelSession.Entry(item: $0) }
        guard goldRate > 0, !gold.isEmpty else { return plain }
        guard !plain.isEmpty else { return gold }
        let block = max(1, Int((1 / min(1, goldRate)).rounded()))
        var random = SplitMix64(seed: seed), result: [LabelSession.Entry] = [], rest = gold[...]
        var start = 0
        while start < plain.count {
            // block − 1 plain ones and a gold one among them.
            let end = min(plain.count, start + max(1, block - 1))
            var part = Array(plain[start..<end])
            if !rest.isEmpty { part.insert(rest.removeFirst(), at: Int.random(in: 0...part.count, using: &random)) }
            result += part
            start = end
        }
        return result
    }

    /// By a hash of item, annotator and seed: every annotator has an order of their own, and the same one tomorrow.
    public static func shuffled(_ items: [LabelItem], annotator: String, seed: UInt64) -> [LabelItem] {
        items.map { (SplitMix64.hash([$0.id, annotator], seed: seed), $0) }.sorted { ($0.0, $0.1.id) < ($1.0, $1.1.id) }.map(\.1)
    }

    /// Where reward models are least sure: by disagreement where several have scored both completions (BALD), else by p(1 − p) of the one;
    /// prompts spread, a tenth of the places random. Items without scores come last, as given.
    /// - Parameter scores: By reward, the value of each completion it scored.
    /// - Returns: nil if no item has scores for its completions.
    public static func active(_ items: [LabelItem], scores: [String: [String: Double]], seed: UInt64) throws(StatisticsError) -> [LabelItem]? {
        let rewards = scores.keys.sorted()
        // A reward's own unit: its values' spread, so that rewards compare.
        let units = rewards.map { reward in (try? SampleMean((scores[reward] ?? [:]).values.sorted()))?.standardDeviation ?? 1 }
        var scored: [(item: LabelItem, score: Double)] = [], others: [LabelItem] = []
        for item in items {
            var best: Double?
            for pair in item.everyTwo {
                let margins = zip(rewards, units).compactMap { reward, unit -> Double? in
                    guard let a = scores[reward]?[pair.0], let b = scores[reward]?[pair.1] else { return nil }
                    return unit > 0 ? (a - b) / unit : a - b
                }
                guard let first = margins.first, margins.allSatisfy(\.isFinite) else { continue }
                let score = margins.count > 1 ? try ActiveSelection.disagreement(margins: margins) : ActiveSelection.uncertainty(margin: first)
                best = max(best ?? 0, score)
            }
            if let best { scored.append((item, best)) } else { others.append(item) }
        }
        guard !scored.isEmpty else { return nil }
        var clusters: [String: Int] = [:]
        let numbers = scored.map { entry in
            let number = clusters[entry.item.prompt] ?? clusters.count
            clusters[entry.item.prompt] = number
            return number
        }
        return try ActiveSelection.order(scores: scored.map(\.score), clusters: numbers, seed: seed).map { scored[$0.candidate].item } + others
    }
}

extension LabelItem {
    /// Ids of every two completions.
    var everyTwo: [(String, String)] { completions.indices.flatMap { i in completions[(i + 1)...].map { (completions[i], $0) } } }
}
