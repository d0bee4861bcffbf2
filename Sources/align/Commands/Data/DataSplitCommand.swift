import PreferenceData
import Serialization

/// Puts the store's prompts into splits.
struct DataSplitCommand: Command {
    static let usage = Usage(
        "data split", "Put the store's prompts, and all that belongs to them, into splits that share no question.",
        [
            DataFlags.store,
            .optional("shares", "NAME=SHARE,…", "the splits and their shares, which add up to 1", default: "train=0.9,test=0.1"),
            .optional("seed", "N", "what the draw follows from", default: "0"),
            .switched("again", "draw anew for prompts that are in a split already"),
            DataFlags.json,
        ],
        example: "align data split --shares train=0.8,validation=0.1,test=0.1 --seed 1",
        notes: """
            Prompts that open with the same question, but for case and white space, stay together. What is in a split stays
            there when more is imported and split later. Training takes 'train' and what is in no split, unless --split says
            otherwise.
            """)

    let store: String
    let shares: [SplitShare]
    let seed: UInt64
    let again: Bool
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        store = DataFlags.path(arguments)
        let text = arguments.optionalText("shares") ?? "train=0.9,test=0.1"
        var shares: [SplitShare] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.split(separator: "=", omittingEmptySubsequences: false)
            guard sides.count == 2, !sides[0].isEmpty, let share = Double(String(sides[1])), share > 0, share <= 1,
                !shares.contains(where: { $0.name == sides[0] })
            else { throw .badValue(command: Self.usage.name, flag: "shares", found: text, expected: "names and shares above 0, such as train=0.9,test=0.1") }
            shares.append(SplitShare(name: String(sides[0]), share: share))
        }
        let sum = shares.reduce(0) { $0 + $1.share }
        guard abs(sum - 1) < 1e-9 else {
            throw .badValue(command: Self.usage.name, flag: "shares", found: text, expected: "shares that add up to 1; these give \(sum)")
        }
        self.shares = shares
        seed = UInt64(try arguments.integer("seed", in: 0...Int.max, default: 0, expected: "a whole number from 0, such as 1"))
        again = arguments.isOn("again")
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        let counts = try DataFlags.existing(store).split(shares, seed: seed, again: again).sorted { $0.key < $1.key }
        if isJSON {
            try Output.line(DataFlags.document(["splits": .object(JSONObject(counts.map { ($0.key, .integer($0.value)) }))]))
        } else {
            try Output.write("Prompts by split:\n" + Help.table(counts.map { ($0.key, grouped($0.value)) }))
        }
    }
}
