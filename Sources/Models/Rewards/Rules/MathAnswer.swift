import Foundation

/// The final answer of a worked solution, in a form that can be compared.
struct MathAnswer: Equatable {
    /// nil where the answer is no number.
    var number: Double?
    /// Without dollar signs and LaTeX's dress, in lower case.
    var text: String
    /// Whether the solution marks it: `#### 42`, `\boxed{42}`, `A: 42`, "the answer is 42".
    var isMarked: Bool

    /// Numbers to 1e-9 of their size, everything else letter by letter.
    func agrees(with other: MathAnswer) -> Bool {
        if let a = number, let b = other.number { return abs(a - b) <= 1e-9 * max(1, abs(a), abs(b)) }
        let (a, b) = (text.filter { !$0.isWhitespace }, other.text.filter { !$0.isWhitespace })
        return number == nil && other.number == nil && !a.isEmpty && a == b
    }

    private init(_ part: some StringProtocol, isMarked: Bool) {
        text = Self.plain(String(part))
        number = Self.number(in: text)
        self.isMarked = isMarked
    }

    /// What a solution ends in.
    /// - Parameter takesLastNumber: Without a mark, the last number of the text.
    init?(solution: String, takesLastNumber: Bool) {
        if let part = Self.marked(solution) {
            self.init(part, isMarked: true)
        } else {
            guard takesLastNumber, let last = Self.numbers(in: Self.plain(solution)).last else { return nil }
            self.init(last.text, isMarked: false)
        }
    }

    /// A reference: a worked solution with its mark, or the answer itself.
    init(reference: String) {
        self.init(Self.marked(reference) ?? reference, isMarked: true)
    }

    // MARK: Where it stands

    /// The part after the last mark, of the strongest kind there is.
    private static func marked(_ solution: String) -> String? {
        if let mark = solution.range(of: "####", options: .backwards) { return firstLine(solution[mark.upperBound...]) }
        if let boxed = boxed(solution) { return boxed }
        for line in solution.split(separator: "\n").reversed() {
            let line = line.trimmingCharacters(in: .whitespaces)
            for start in ["A:", "Answer:", "**Answer:**", "Final answer:", "Final Answer:"] where line.hasPrefix(start) { return String(line.dropFirst(start.count)) }
        }
        if let mark = solution.range(of: "answer is", options: [.backwards, .caseInsensitive]) {
            return sentence(firstLine(solution[mark.upperBound...]))
        }
        return nil
    }

    private static func firstLine(_ text: Substring) -> String { text.split(separator: "\n", omittingEmptySubsequences: true).first.map(String.init) ?? "" }

    /// Up to a full stop that ends a sentence, not one inside a number.
    private static func sentence(_ line: String) -> String {
        var line = line.drop { $0 == ":" || $0 == " " }
        if let stop = line.range(of: ". ") { line = line[..<stop.lowerBound] }
        return String(line)
    }

    /// What the last `\boxed{…}` holds.
    private static func boxed(_ text: String) -> String? {
        guard let start = text.range(of: "\\boxed{", options: .backwards) else { return nil }
        var depth = 1
        for index in text[start.upperBound...].indices {
            if text[index] == "{" { depth += 1 } else if text[index] == "}" { depth -= 1 }
            if depth == 0 { return String(text[start.upperBound..<index]) }
        }
        return nil
    }

    // MARK: What it says

    /// LaTeX's dress off: `\frac{1}{2}` is 1/2, `\text{cm}` is cm, `1\,000` and `1{,}000` are 1000.
    private static func plain(_ source: String) -> String {
        var text = source
        for (dress, bare) in [("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\left", ""), ("\\right", ""), ("\\,", ""), ("\\!", ""), ("\\;", ""), ("{,}", ""), ("\\%", "%"), ("\\$", "$"), ("^\\circ", ""), ("^{\\circ}", ""), ("−", "-"), ("**", ""), ("`", "")] {
            text = text.replacingOccurrences(of: dress, with: bare)
        }
        while let range = text.range(of: "\\frac{") {
            let parts = text[range.upperBound...].split(separator: "}", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3, parts[1].hasPrefix("{") else { break }
            text = text[..<range.lowerBound] + "\(parts[0])/\(parts[1].dropFirst())\(parts[2])"
        }
        for command in ["\\text{", "\\mathrm{", "\\textbf{"] { text = text.replacingOccurrences(of: command, with: " ") }
        text = text.replacingOccurrences(of: "}", with: "").lowercased()
        return text.trimmingCharacters(in: CharacterSet(charactersIn: " \t\n\r$.()\\"))
    }

    /// The number that an answer is: what follows its last `=`, with or without a unit; nil where there is none, or the text says more.
    private static func number(in text: String) -> Double? {
        let side = text.split(separator: "=").last.map(String.init) ?? text
        // An expression is compared as it is written.
        guard !side.contains(where: { "^*+_\\{".contains($0) }) else { return nil }
        return numbers(in: side).first?.value
    }

    /// Numbers in decimal notation, with thousands commas, or as fractions, in order.
    private static func numbers(in text: String) -> [(value: Double, text: String)] {
        let bytes = Array(text.utf8)
        var found: [(Double, String)] = []
        var i = 0
        while i < bytes.count {
            let start = i
            // A sign counts where no digit or letter stands before it: 5-3 has no negative number.
            let isSigned = bytes[i] == 0x2D && (i == 0 || !isWord(bytes[i - 1]))
            if isSigned { i += bytes.dropFirst(i + 1).first == UInt8(ascii: "$") ? 2 : 1 }
            guard i < bytes.count, isDigit(bytes[i]) || (bytes[i] == 0x2E && i + 1 < bytes.count && isDigit(bytes[i + 1])) else {
                i = max(i, start + 1)
                continue
            }
            guard var value = decimal(bytes, &i) else { continue }
            if i + 1 < bytes.count, bytes[i] == UInt8(ascii: "/"), isDigit(bytes[i + 1]) {
                var after = i + 1
                if let divisor = decimal(bytes, &after), divisor != 0 { (value, i) = (value / divisor, after) }
            }
            found.append((isSigned ? -value : value, String(decoding: bytes[start..<i], as: UTF8.self)))
        }
        return found
    }

    /// `1,234.5`; a comma belongs to it where exactly three digits follow.
    private static func decimal(_ bytes: [UInt8], _ i: inout Int) -> Double? {
        var digits: [UInt8] = []
        var hasPoint = false
        while i < bytes.count {
            if isDigit(bytes[i]) { digits.append(bytes[i]) } else if bytes[i] == 0x2E, !hasPoint, i + 1 < bytes.count, isDigit(bytes[i + 1]) {
                digits.append(bytes[i])
                hasPoint = true
            } else if bytes[i] == 0x2C, !hasPoint, !digits.isEmpty, i + 3 < bytes.count, bytes[i + 1...i + 3].allSatisfy(isDigit), i + 4 == bytes.count || !isDigit(bytes[i + 4]) {
                // The comma itself is left out.
            } else {
                break
            }
            i += 1
        }
        return Double(String(decoding: digits, as: UTF8.self))
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    private static func isWord(_ byte: UInt8) -> Bool { isDigit(byte) || (0x61...0x7A).contains(byte) || byte == UInt8(ascii: ")") }
}
