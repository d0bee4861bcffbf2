/// A reward as a command line names it: terms with weights, added up.
///
///     0.7*model:DIR+0.3*rule:length,min=20
///     rule:math,clip=0..1+exec:./score.py --fast,timeout=10;clip=-5..5
///
/// A term is `[WEIGHT*]KIND:ARGUMENT[,OPTION=VALUE …]`. A comma begins an option only before the name of one, and a plus a term only
/// before a weight or a kind: paths, addresses and patterns may have both. `,clip=A..B` bounds a term before its weight,
/// `;clip=A..B` at the end the sum.
public struct RewardSpec: Sendable, Equatable {
    public struct Term: Sendable, Equatable {
        public var weight: Double
        public var kind: String
        public var argument: String
        /// Without `clip`.
        public var options: RewardOptions
        public var clip: ClosedRange<Double>?
        /// As written, without the weight.
        public var text: String
    }

    public var text: String
    public var terms: [Term]
    public var clip: ClosedRange<Double>?

    /// - Throws: `RewardError.badSpec`, naming the part.
    public init(_ text: String) throws(RewardError) {
        self.text = text
        var sum = Substring(text)
        if let semicolon = text.lastIndex(of: ";"), text[semicolon...].hasPrefix(";clip=") {
            clip = try Self.range(text[semicolon...].dropFirst(6), spec: text)
            sum = text[..<semicolon]
        }
        terms = []
        for part in Self.parts(sum) { terms.append(try Self.term(part, spec: text)) }
    }

    // MARK: Cutting

    /// Cuts at every plus that a term follows.
    private static func parts(_ sum: Substring) -> [Substring] {
        var parts: [Substring] = []
        var start = sum.startIndex
        for plus in sum.indices where sum[plus] == "+" {
            let rest = sum[sum.index(after: plus)...]
            guard plus > start, weight(of: rest) != nil || kind(of: rest) != nil else { continue }
            parts.append(sum[start..<plus])
            start = rest.startIndex
        }
        return parts + [sum[start...]]
    }

    /// `0.7*` before a kind.
    private static func weight(of text: Substring) -> (value: Double, rest: Substring)? {
        guard let star = text.firstIndex(of: "*"), let value = Double(text[..<star].trimmingSpaces), value.isFinite else { return nil }
        let rest = text[text.index(after: star)...]
        return kind(of: rest) == nil ? nil : (value, rest)
    }

    /// The kind that a term begins with.
    private static func kind(of text: Substring) -> RewardKind? {
        let text = text.drop { $0 == " " }
        return RewardKind.all.first { kind in
            guard text.hasPrefix(kind.name) else { return false }
            let after = text.dropFirst(kind.name.count).first
            return after == ":" || (!kind.takesArgument && (after == nil || after == "," || after == "+" || after == ";"))
        }
    }

    private static func term(_ part: Substring, spec: String) throws(RewardError) -> Term {
        let (value, rest) = weight(of: part) ?? (1, part)
        let text = rest.trimmingSpaces
        guard let kind = kind(of: text) else {
            let forms = RewardKind.all.map(\.form).joined(separator: ", ")
            throw .badSpec(spec: spec, found: text.isEmpty ? "an empty term" : "\"\(text)\"", expected: "a weighted sum of \(forms)")
        }
        var body = text.dropFirst(kind.name.count)
        if body.first == ":" { body = body.dropFirst() }
        let known = try kind.options(body, spec) + ["clip"]
        var (argument, pairs) = options(body, known: known)
        if kind.takesArgument, argument.isEmpty { throw .badSpec(spec: spec, found: "\(kind.name) without an argument", expected: kind.form) }
        if !kind.takesArgument, !argument.isEmpty { throw .badSpec(spec: spec, found: "\(kind.name) with \"\(argument)\"", expected: "\(kind.form) alone") }
        var range: ClosedRange<Double>?
        if let last = pairs.last(where: { $0.name == "clip" }) { range = try Self.range(Substring(last.value), spec: spec) }
        pairs.removeAll { $0.name == "clip" }
        if kind.hasClosedOptions, let comma = argument.firstIndex(of: ",") {
            let names = known.joined(separator: ", ")
            throw .badSpec(spec: spec, found: "the option \"\(argument[argument.index(after: comma)...])\"", expected: "one of \(names), as NAME=VALUE")
        }
        argument = argument.trimmingSpaces
        return Term(
            weight: value, kind: kind.name, argument: String(argument), options: RewardOptions(spec: spec, pairs: pairs), clip: range, text: String(text))
    }

    /// The argument, and the options from the first `,NAME=` on whose name is known.
    private static func options(_ body: Substring, known: [String]) -> (Substring, [RewardOptions.Pair]) {
        var cuts: [(comma: Substring.Index, name: String, value: Substring.Index)] = []
        for comma in body.indices where body[comma] == "," {
            let rest = body[body.index(after: comma)...]
            guard let equals = rest.firstIndex(of: "="), case let name = String(rest[..<equals].trimmingSpaces), known.contains(name) else { continue }
            cuts.append((comma, name, rest.index(after: equals)))
        }
        let pairs = cuts.enumerated().map { index, cut in
            RewardOptions.Pair(name: cut.name, value: String(body[cut.value..<(index + 1 < cuts.count ? cuts[index + 1].comma : body.endIndex)].trimmingSpaces))
        }
        return (body[..<(cuts.first?.comma ?? body.endIndex)], pairs)
    }

    /// `-5..5`
    private static func range(_ text: Substring, spec: String) throws(RewardError) -> ClosedRange<Double> {
        let dots = text.firstRange(of: "..")
        guard let dots, let low = Double(text[..<dots.lowerBound].trimmingSpaces), let high = Double(text[dots.upperBound...].trimmingSpaces), low <= high else {
            throw .badSpec(spec: spec, found: "clip=\(text)", expected: "two numbers, the lower first, such as clip=-5..5")
        }
        return low...high
    }
}

/// The options of a term, read by name.
public struct RewardOptions: Sendable, Equatable {
    public struct Pair: Sendable, Equatable {
        public var name: String
        public var value: String
    }
    var spec: String
    var pairs: [Pair]

    public func text(_ name: String) -> String? { pairs.last { $0.name == name }?.value }

    func bad(_ name: String, _ expected: String) -> RewardError { .badSpec(spec: spec, found: "\(name)=\(text(name) ?? "")", expected: expected) }

    func number(_ name: String, in range: ClosedRange<Double>, default value: Double, _ expected: String) throws(RewardError) -> Double {
        guard let text = text(name) else { return value }
        guard let value = Double(text), value.isFinite, range.contains(value) else { throw bad(name, expected) }
        return value
    }

    func integer(_ name: String, in range: ClosedRange<Int>, default value: Int, _ expected: String) throws(RewardError) -> Int {
        guard let text = text(name) else { return value }
        guard let value = Int(text), range.contains(value) else { throw bad(name, expected) }
        return value
    }

    func isOn(_ name: String) throws(RewardError) -> Bool {
        switch text(name) {
        case nil, "false", "no", "0": return false
        case "true", "yes", "1": return true
        default: throw bad(name, "true or false")
        }
    }

    func choice(_ name: String, of words: [String]) throws(RewardError) -> String {
        guard let text = text(name) else { return words[0] }
        guard words.contains(text) else { throw bad(name, "one of \(words.joined(separator: ", "))") }
        return text
    }

    /// `a|b|c`
    func words(_ name: String) -> [String]? { text(name)?.split(separator: "|").map { String($0.trimmingSpaces) } }
}
