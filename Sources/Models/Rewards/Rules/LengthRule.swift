/// Whether the length lies in a window; outside, the score falls linearly to 0 over `soft` units.
///
///     r = 1 in [min, max];  max(0, 1 − distance/soft) outside
struct LengthRule: RewardRule {
    static let name = "length"
    static let options = ["min", "max", "soft", "unit"]
    static let help = "1 if the length is from min=N to max=N, else 0; soft=N: falls to 0 over N (unit=words|characters|tokens)"
    let least, most: Int
    let soft: Int
    let unit: String

    init(_ options: RewardOptions) throws(RewardError) {
        let expected = "a whole number from 0"
        least = try options.integer("min", in: 0...Int(Int32.max), default: 0, expected)
        most = try options.integer("max", in: 0...Int(Int32.max), default: Int(Int32.max), expected)
        soft = try options.integer("soft", in: 0...Int(Int32.max), default: 0, expected)
        unit = try options.choice("unit", of: ["words", "characters", "tokens"])
        guard least <= most else { throw options.bad("min", "at most max=\(most)") }
        guard options.text("min") != nil || options.text("max") != nil else {
            throw .badSpec(spec: options.spec, found: "rule:length without a window", expected: "min=N, max=N or both")
        }
    }

    func score(_ item: RewardItem, index: Int) throws(RewardError) -> RewardScore {
        let length: Int
        switch unit {
        case "characters": length = item.completion.count
        case "tokens":
            guard let tokens = item.tokens else {
                throw .missing(reward: "rule:length", item: index, field: "token ids", remedy: "Count words or characters: unit=words.")
            }
            length = tokens.count
        default: length = item.completion.split(whereSeparator: \.isWhitespace).count
        }
        let distance = max(least - length, length - most, 0)
        let value = distance == 0 ? 1 : soft > 0 ? max(0, 1 - Double(distance) / Double(soft)) : 0
        return RewardScore(value, components: [.init("length", Double(length))])
    }
}
