import PreferenceData
import Serialization

/// Builds preference pairs from scored completions.
struct DataPairsCommand: Command {
    static let usage = Usage(
        "data pairs", "Build preference pairs from the store's scored completions: the best against the worst of each prompt.",
        [
            DataFlags.store,
            .optional("reward", "NAME", "whose scores count, as it was named when they were made", default: "the only one"),
            .optional("rejected", PairBuilding.Rejected.allCases.map(\.rawValue).joined(separator: "|"), "the lowest score, or one drawn from the lower half", default: "worst"),
            .optional("min-gap", "FLOAT", "smallest difference of the two scores", default: "0: any above none"),
            .optional("max-length-difference", "N", "largest difference of lengths, in characters", default: "any"),
            .optional("min-distance", "FLOAT", "smallest edit distance, as a share of the longer one; nearer ones are near-duplicates", default: "0.1"),
            .optional("seed", "N", "what --rejected lower-half follows from", default: "0"),
            DataFlags.split, DataFlags.json,
        ],
        example: "align data pairs --reward rule:math --min-gap 0.5",
        notes: "Truncated completions are left out. The difference of the scores is the pair's margin. Pairs are kept as comparisons in the store.")

    let store: String
    let reward: String?
    let building: PairBuilding
    let split: SplitChoice
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        store = DataFlags.path(arguments)
        reward = arguments.optionalText("reward")
        var building = PairBuilding()
        building.rejected = try arguments.choice("rejected", default: .worst)
        building.minGap = try arguments.number("min-gap", in: 0...Double.greatestFiniteMagnitude, default: 0, expected: "a number from 0, such as 0.5")
        building.maxLengthDifference = try arguments.optionalInteger("max-length-difference", in: 0...Int.max, expected: "a number of characters, such as 200")
        building.minDistance = try arguments.number("min-distance", in: 0...1, default: building.minDistance, expected: "a share from 0 to 1, such as 0.1")
        building.seed = UInt64(try arguments.integer("seed", in: 0...Int.max, default: 0, expected: "a whole number from 0, such as 1"))
        self.building = building
        split = arguments.optionalText("split").map { .named($0) } ?? .trainable
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        let store = try DataFlags.existing(store)
        let known = try store.rewards()
        let names = known.map { "\($0.name) (\(grouped($0.scores)) scores)" }.joined(separator: ", ")
        guard let only = known.first else { throw CommandError.badData(path: self.store, reason: "the store has no scores; import rows with \"score\", or let a reward score completions") }
        if let reward, !known.contains(where: { $0.name == reward }) {
            throw UsageError.badValue(command: Self.usage.name, flag: "reward", found: reward, expected: "one of \(names)")
        }
        guard reward != nil || known.count == 1 else { throw UsageError.missingFlag(command: Self.usage.name, form: "--reward NAME", help: "the store has scores of \(names)") }
        let report = try store.buildPairs(building, reward: reward ?? only.name, split: split, at: DataFlags.now)
        let drops = PairBuilding.Drop.allCases.filter { report.dropped[$0, default: 0] > 0 }
        if isJSON {
            let dropped = JSON.object(JSONObject(drops.map { ($0.rawValue, .integer(report.dropped[$0, default: 0])) }))
            try Output.line(DataFlags.document([
                "reward": .string(report.reward), "prompts": .integer(report.prompts), "new": .integer(report.new), "known": .integer(report.known), "dropped": dropped,
            ]))
        } else {
            try Output.write("\(grouped(report.prompts)) prompts with scores of \(report.reward)\n" + Help.table(
                [("new pairs", grouped(report.new)), ("in the store already", grouped(report.known))]
                    + drops.map { ("no pair", "\(grouped(report.dropped[$0, default: 0])): \($0.rawValue)") }))
        }
    }
}
