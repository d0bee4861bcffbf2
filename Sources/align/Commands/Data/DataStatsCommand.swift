import PreferenceData
import Serialization

/// Says what the store holds, in numbers.
struct DataStatsCommand: Command {
    static let usage = Usage(
        "data stats", "Count what the store holds: rows, lengths, labels, splits, how often the longer answer wins.",
        [
            DataFlags.store, .switched("agreement", "how far annotators agree, and how reliable each is"),
            .switched("ratings", "Elo ratings of the models whose completions were voted on"), DataFlags.json,
        ],
        example: "align data stats --store runs/align.sqlite --agreement",
        notes: """
            Lengths are in characters, of token ids in tokens. --agreement: Krippendorff's alpha, Fleiss' and Cohen's kappa with 95 % intervals by
            the bootstrap over items; reliability is Dawid and Skene's. --ratings: Bradley-Terry, ties half a win, 95 % intervals by the bootstrap
            over prompts. Of each annotator's votes on an item the last that stands counts.
            """)

    let store: String
    let isJSON: Bool
    let agreement: Bool, ratings: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        store = DataFlags.path(arguments)
        isJSON = arguments.isOn("json")
        (agreement, ratings) = (arguments.isOn("agreement"), arguments.isOn("ratings"))
    }

    func run() async throws {
        if agreement || ratings { return try votes(DataFlags.existing(store)) }
        let statistics = try DataFlags.existing(store).statistics()
        try Output.write(isJSON ? json(statistics).text(pretty: true) + "\n" : text(statistics))
    }

    /// What the votes say, of annotators and of models.
    private func votes(_ store: PreferenceStore) throws {
        let standing = try store.standingVotes()
        let annotators = agreement ? AgreementReport(standing, gold: try store.gold().mapValues(\.expected)) : nil
        let models = ratings ? RatingReport(standing, authors: try store.authors()) : nil
        guard isJSON else { return try Output.write([annotators?.text, models?.text].compactMap(\.self).joined(separator: "\n")) }
        let members = [("agreement", annotators?.json), ("ratings", models?.json)].compactMap { name, json in json.map { (name, $0) } }
        try Output.write(JSON.object(JSONObject(members)).text(pretty: true) + "\n")
    }

    private func text(_ s: StoreStatistics) -> String {
        var text = "\(store)\n"
        text += Help.table(s.counts.filter { $0.count > 0 }.map { ($0.name, grouped($0.count)) })
        if !s.lengths.isEmpty {
            text += "\nLengths in characters:\n"
            text += Help.table(s.lengths.map { name, l in
                (name, "min \(grouped(l.minimum)), median \(grouped(l.median)), mean \(formatted(l.mean, "%.1f")), max \(grouped(l.maximum))")
            })
        }
        if s.splits.contains(where: { $0.name != nil }) {
            text += "\nPrompts by split:\n" + Help.table(s.splits.map { ($0.name ?? "(none)", grouped($0.prompts)) })
        }
        var findings: [(String, String)] = []
        if let wins = s.longerWins {
            findings.append(("longer answer preferred", "\(formatted(100 * wins, "%.1f")) % of \(grouped(s.longerChosen + s.shorterChosen)) pairs of unequal length"))
        }
        if s.goodLabels + s.badLabels > 0 { findings.append(("labels", "\(grouped(s.goodLabels)) good, \(grouped(s.badLabels)) bad")) }
        if s.decidedItems + s.undecidedItems > 0 {
            findings.append(("items with votes", "\(grouped(s.decidedItems)) decided by a majority, \(grouped(s.undecidedItems)) not"))
        }
        if s.contradictions > 0 { findings.append(("contradictions", "\(grouped(s.contradictions)) pairs are there both ways round")) }
        return text + (findings.isEmpty ? "" : "\nPreferences:\n" + Help.table(findings))
    }

    private func json(_ s: StoreStatistics) -> JSON {
        [
            "store": .string(store), "counts": .object(JSONObject(s.counts.map { ($0.name, .integer($0.count)) })),
            "lengths": .object(JSONObject(s.lengths.map { name, l in
                (name, [
                    "count": .integer(l.count), "min": .integer(l.minimum), "median": .integer(l.median), "mean": .number(l.mean), "max": .integer(l.maximum),
                ])
            })),
            "splits": .object(JSONObject(s.splits.map { ($0.name ?? "", .integer($0.prompts)) })),
            "longer_wins": s.longerWins.map { .number($0) } ?? .null, "longer_chosen": .integer(s.longerChosen), "shorter_chosen": .integer(s.shorterChosen),
            "equally_long": .integer(s.equallyLong), "good_labels": .integer(s.goodLabels), "bad_labels": .integer(s.badLabels),
            "decided_items": .integer(s.decidedItems), "undecided_items": .integer(s.undecidedItems), "contradictions": .integer(s.contradictions),
        ]
    }
}
