import Foundation
import Serialization

/// What votes say of the annotators: how far they agree, and with whom.
public struct AgreementReport: Sendable, Equatable {
    public struct Figure: Sendable, Equatable {
        public var value: Double?
        /// 95 %, by the bootstrap over items.
        public var interval: ClosedRange<Double>?
        /// Why there is no value.
        public var reason: String?
    }
    public struct Pair: Sendable, Equatable {
        public var first: String
        public var second: String
        /// That both judged.
        public var items: Int
        public var observed: Double?
        public var kappa: Figure
    }
    public struct Annotator: Sendable, Equatable {
        public var name: String
        public var votes: Int
        public var ties: Int
        public var skips: Int
        /// Of votes on items that others judged: the share that says what most of the others say.
        public var consensus: Double?
        /// P(the vote is right) by Dawid and Skene; nil with fewer than two annotators.
        public var reliability: Double?
        public var goldRight: Int
        public var gold: Int
        /// Share of decided votes for the side shown first: far from ½, position decides.
        public var firstShown: Double?
    }

    /// Items with a standing vote, and those that two or more judged.
    public var items: Int
    public var overlapping: Int
    /// Krippendorff's, nominal: first, second, tie (both bad among them).
    public var alpha: Figure
    /// Krippendorff's, ordinal, over −4…4: side times strength, where every decided vote has one.
    public var strengthAlpha: Figure
    /// Fleiss', over the items that as many judged as the most common number of two or more.
    public var fleiss: Figure
    public var pairs: [Pair]
    public var annotators: [Annotator]

    private static let categories: [Vote.Outcome: Int] = [.first: 0, .second: 1, .tie: 2, .bothBad: 2]

    /// - Parameters:
    ///   - standing: Votes on pairs that hold (`Vote.standing`); rankings are left out.
    ///   - gold: Known outcomes by item's id.
    public init(_ standing: [Vote], gold: [String: Vote.Outcome] = [:], resamples: Int = 1000, seed: UInt64 = 0) {
        let judged = standing.filter { Self.categories[$0.outcome] != nil && $0.item.isPair }
        var byItem: [String: [Vote]] = [:]
        for vote in judged { byItem[vote.item.id, default: []].append(vote) }
        let ids = byItem.keys.sorted(), names = Set(standing.map(\.annotator)).sorted()
        items = ids.count
        overlapping = ids.count { (byItem[$0]?.count ?? 0) > 1 }
        let units = ids.map { id in (byItem[id] ?? []).compactMap { Self.categories[$0.outcome].map(Double.init) } }
        alpha = Self.figure(units, resamples, seed) { (units) throws(StatisticsError) in try KrippendorffAlpha.alpha(units: units, metric: .nominal) }
        let signed = ids.map { id in (byItem[id] ?? []).map(Self.signed) }
        if signed.contains(where: { $0.contains(nil) }) {
            strengthAlpha = Figure(value: nil, interval: nil, reason: "some decided votes have no strength")
        } else {
            strengthAlpha = Self.figure(signed.map { $0.compactMap(\.self) }, resamples, seed) { (units) throws(StatisticsError) in
                try KrippendorffAlpha.alpha(units: units, metric: .ordinal)
            }
        }
        let sizes = Dictionary(grouping: units.filter { $0.count > 1 }, by: \.count)
        let raters = sizes.keys.sorted().max { (sizes[$0]?.count ?? 0) < (sizes[$1]?.count ?? 0) } ?? 0
        fleiss = Self.figure(sizes[raters] ?? [], resamples, seed) { (units) throws(StatisticsError) in
            try FleissKappa.kappa(units.map { unit in (0..<3).map { k in unit.count { $0 == Double(k) } } })
        }
        pairs = names.indices.flatMap { i in names[(i + 1)...].map { Self.pair(names[i], $0, ids, byItem, resamples, seed) } }
        annotators = Self.annotators(names, standing, judged, ids, gold)
    }

    /// Side times strength; nil for a decided vote without one.
    private static func signed(_ vote: Vote) -> Double? {
        switch vote.outcome {
        case .first: vote.strength.map { -Double($0) }
        case .second: vote.strength.map { Double($0) }
        default: 0
        }
    }

    private static func figure(
        _ units: [[Double]], _ resamples: Int, _ seed: UInt64, _ statistic: ([[Double]]) throws(StatisticsError) -> Double
    ) -> Figure {
        do throws(StatisticsError) {
            let value = try statistic(units)
            let interval = try? Bootstrap.interval(units: units.count, resamples: resamples, seed: seed) { (rows) throws(StatisticsError) in
                try statistic(rows.map { units[$0] })
            }
            return Figure(value: value, interval: interval?.interval, reason: nil)
        } catch { return Figure(value: nil, interval: nil, reason: error.description) }
    }

    private static func pair(_ a: String, _ b: String, _ ids: [String], _ byItem: [String: [Vote]], _ resamples: Int, _ seed: UInt64) -> Pair {
        let both = ids.compactMap { id -> [Double]? in
            let votes = byItem[id] ?? []
            guard let first = votes.first(where: { $0.annotator == a }), let second = votes.first(where: { $0.annotator == b }) else { return nil }
            return [first, second].compactMap { categories[$0.outcome].map(Double.init) }
        }
        let kappa = figure(both, resamples, seed) { (rows) throws(StatisticsError) in
            try CohenKappa(rows.map { Int($0[0]) }, rows.map { Int($0[1]) }, categories: 3).kappa()
        }
        let observed = both.isEmpty ? nil : Double(both.count { $0[0] == $0[1] }) / Double(both.count)
        return Pair(first: a, second: b, items: both.count, observed: observed, kappa: kappa)
    }

    private static func annotators(_ names: [String], _ standing: [Vote], _ judged: [Vote], _ ids: [String], _ gold: [String: Vote.Outcome]) -> [Annotator] {
        let itemNumber = Dictionary(uniqueKeysWithValues: ids.enumerated().map { ($0.element, $0.offset) })
        let nameNumber = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($0.element, $0.offset) })
        let votes = judged.map { vote in
            DawidSkene.Vote(item: itemNumber[vote.item.id] ?? 0, annotator: nameNumber[vote.annotator] ?? 0, category: categories[vote.outcome] ?? 2)
        }
        let consensus = Consensus.agreement(votes, annotators: names.count, categories: 3)
        let fit = try? DawidSkene(votes, items: ids.count, annotators: names.count, categories: 3)
        return names.enumerated().map { number, name in
            let own = standing.filter { $0.annotator == name }, decided = own.filter { $0.preferred != nil && $0.shownFirst != nil }
            let known = own.filter { $0.outcome != .skip && gold[$0.item.id] != nil }
            return Annotator(
                name: name, votes: own.count { $0.outcome != .skip }, ties: own.count { $0.outcome == .tie || $0.outcome == .bothBad },
                skips: own.count { $0.outcome == .skip },
                consensus: consensus[number].votes > 0 ? consensus[number].agreed / Double(consensus[number].votes) : nil,
                // Without a vote on a pair there is nothing to be reliable in.
                reliability: votes.contains { $0.annotator == number } ? fit?.reliability(number) : nil,
                goldRight: known.count { gold[$0.item.id] == $0.outcome }, gold: known.count,
                firstShown: decided.isEmpty ? nil : Double(decided.count { $0.preferred == $0.shownFirst }) / Double(decided.count))
        }
    }
}

/// What votes say of the models whose completions were compared.
public struct RatingReport: Sendable, Equatable {
    /// By their number in `ratings`.
    public var models: [String]
    public var ratings: Ratings?
    /// Why there are none.
    public var reason: String?
    /// Votes that were counted; those on completions of unknown or of the same model were not.
    public var votes: Int
    public var leftOut: Int

    /// - Parameters:
    ///   - standing: Votes that hold; a ranking counts for every two of its completions.
    ///   - authors: The model of each completion's id.
    public init(_ standing: [Vote], authors: [String: String], resamples: Int = 1000, seed: UInt64 = 0) {
        var clusters: [String: Int] = [:], games: [(a: String, b: String, result: Double, cluster: Int)] = []
        leftOut = 0
        for vote in standing.sorted(by: { $0.id < $1.id }) where vote.outcome != .skip && vote.outcome != .withdrawal {
            let cluster = clusters[vote.item.prompt] ?? clusters.count
            clusters[vote.item.prompt] = cluster
            for (a, b) in vote.item.everyTwo {
                guard let first = authors[a], let second = authors[b], first != second else {
                    leftOut += 1
                    continue
                }
                games.append((first, second, Self.result(vote, a, b), cluster))
            }
        }
        let names = Set(games.flatMap { [$0.a, $0.b] }).sorted()
        (models, votes) = (names, games.count)
        let number = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($0.element, $0.offset) })
        let outcomes = games.map { PairwiseOutcome(number[$0.a] ?? 0, number[$0.b] ?? 0, result: $0.result, cluster: $0.cluster) }
        do throws(StatisticsError) {
            ratings = try Ratings(outcomes, players: names.count, resamples: resamples, seed: seed)
        } catch {
            reason = error.description
        }
    }

    /// 1 if the vote prefers `a` to `b`.
    private static func result(_ vote: Vote, _ a: String, _ b: String) -> Double {
        if let ranking = vote.ranking {
            let (i, j) = (ranking.firstIndex { $0.contains(a) } ?? 0, ranking.firstIndex { $0.contains(b) } ?? 0)
            return i < j ? 1 : i > j ? 0 : 0.5
        }
        return vote.preferred == a ? 1 : vote.preferred == b ? 0 : 0.5
    }
}
