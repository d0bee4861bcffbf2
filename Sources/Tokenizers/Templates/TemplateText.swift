import Foundation

/// Strings as Python treats them: sequences of scalars, compared by code point.
enum PythonText {
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (scalar.value >= 0x1C && scalar.value <= 0x1F)
    }
    static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (byte >= 0x30 && byte <= 0x39) || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A)
    }

    static func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    /// `strip`, `lstrip`, `rstrip`; `nil` strips white space.
    static func strip(_ text: String, _ characters: String?, left: Bool = true, right: Bool = true) -> String {
        let set = characters.map { Set($0.unicodeScalars) }
        func strips(_ scalar: Unicode.Scalar) -> Bool { set?.contains(scalar) ?? isSpace(scalar) }
        var rest = text.unicodeScalars[...]
        if left { rest = rest.drop(while: strips) }
        if right { while let last = rest.last, strips(last) { rest.removeLast() } }
        return String(rest)
    }

    /// Byte offsets of the matches of `pattern`, not overlapping, found in linear time (Knuth, Morris, Pratt 1977).
    static func matches(of pattern: String, in text: String, limit: Int = .max) -> [Int] {
        let pattern = Array(pattern.utf8)
        guard !pattern.isEmpty else { return [] }
        var fallback = [0]
        var k = 0
        for i in 1..<max(pattern.count, 1) {
            while k > 0 && pattern[i] != pattern[k] { k = fallback[k - 1] }
            if pattern[i] == pattern[k] { k += 1 }
            fallback.append(k)
        }
        var result: [Int] = []
        k = 0
        var text = text
        text.withUTF8 { bytes in
            for i in 0..<bytes.count where result.count < limit {
                while k > 0 && bytes[i] != pattern[k] { k = fallback[k - 1] }
                if bytes[i] == pattern[k] { k += 1 }
                if k == pattern.count {
                    result.append(i + 1 - k)
                    k = 0
                }
            }
        }
        return result
    }

    static func contains(_ text: String, _ pattern: String) -> Bool { pattern.isEmpty || !matches(of: pattern, in: text, limit: 1).isEmpty }

    /// Parts between separators, at most `limit` cuts, counted from the end if `fromEnd`.
    static func split(_ text: String, _ separator: String, limit: Int = .max, fromEnd: Bool = false) -> [String] {
        var places = matches(of: separator, in: text, limit: fromEnd ? .max : limit)
        if fromEnd && places.count > limit { places = Array(places.suffix(limit)) }
        let bytes = Array(text.utf8)
        var parts: [String] = []
        var last = 0
        for place in places {
            parts.append(String(decoding: bytes[last..<place], as: UTF8.self))
            last = place + separator.utf8.count
        }
        parts.append(String(decoding: bytes[last...], as: UTF8.self))
        return parts
    }

    /// Parts between runs of white space.
    static func words(_ text: String, limit: Int = .max, fromEnd: Bool = false) -> [String] {
        var parts: [String] = []
        var rest = text.unicodeScalars[...]
        if fromEnd {
            while true {
                while let last = rest.last, isSpace(last) { rest.removeLast() }
                if rest.isEmpty { break }
                if parts.count == limit { parts.append(String(rest)); break }
                let start = rest.lastIndex(where: isSpace).map { rest.index(after: $0) } ?? rest.startIndex
                parts.append(String(rest[start...]))
                rest = rest[..<start]
            }
            return parts.reversed()
        }
        while true {
            rest = rest.drop(while: isSpace)
            if rest.isEmpty { return parts }
            if parts.count == limit { return parts + [String(rest)] }
            let end = rest.firstIndex(where: isSpace) ?? rest.endIndex
            parts.append(String(rest[..<end]))
            rest = rest[end...]
        }
    }

    static func replace(_ text: String, _ old: String, _ new: String, limit: Int = .max) -> String {
        if old.isEmpty {
            var result = ""
            var left = limit
            for scalar in text.unicodeScalars {
                if left > 0 { result += new; left -= 1 }
                result.unicodeScalars.append(scalar)
            }
            return left > 0 ? result + new : result
        }
        return split(text, old, limit: limit).joined(separator: new)
    }

    static func lines(_ text: String) -> [String] {
        var lines: [String] = []
        var line = String.UnicodeScalarView()
        var previous: Unicode.Scalar?
        var isOpen = false
        for scalar in text.unicodeScalars {
            defer { previous = scalar }
            if scalar == "\n" && previous == "\r" { continue }
            switch scalar.value {
            case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029:
                lines.append(String(line))
                line = String.UnicodeScalarView()
                isOpen = false
            default:
                line.append(scalar)
                isOpen = true
            }
        }
        return isOpen ? lines + [String(line)] : lines
    }

    static func capitalized(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return text }
        return first.properties.titlecaseMapping + string(text.unicodeScalars.dropFirst()).lowercased()
    }

    /// `str.title`: a letter that follows no letter is upper case, all others are lower case.
    static func title(_ text: String) -> String {
        var result = ""
        var afterLetter = false
        for scalar in text.unicodeScalars {
            let isCased = scalar.properties.isCased
            result += isCased ? (afterLetter ? scalar.properties.lowercaseMapping : scalar.properties.titlecaseMapping) : String(scalar)
            afterLetter = isCased
        }
        return result
    }

    /// `repr` of a string.
    static func quoted(_ text: String) -> String {
        let quote: Unicode.Scalar = text.unicodeScalars.contains("'") && !text.unicodeScalars.contains("\"") ? "\"" : "'"
        var result = String.UnicodeScalarView([quote])
        for scalar in text.unicodeScalars {
            switch scalar {
            case quote, "\\": result.append("\\"); result.append(scalar)
            case "\n": result.append(contentsOf: "\\n".unicodeScalars)
            case "\r": result.append(contentsOf: "\\r".unicodeScalars)
            case "\t": result.append(contentsOf: "\\t".unicodeScalars)
            default:
                if isPrintable(scalar) { result.append(scalar); continue }
                let (letter, width) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
                let digits = String(scalar.value, radix: 16)
                result.append(contentsOf: ("\\" + letter + String(repeating: "0", count: width - digits.count) + digits).unicodeScalars)
            }
        }
        result.append(quote)
        return String(result)
    }

    /// HTML's special characters written as entities.
    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "'": result += "&#39;"
            case "\"": result += "&#34;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        case .spaceSeparator: scalar == " "
        default: true
        }
    }

    /// JSON's form of a string, as `json.dumps(ensure_ascii=…)` writes it.
    static func json(_ text: String, ascii: Bool) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{8}": result += "\\b"
            case "\u{C}": result += "\\f"
            default:
                if scalar.value >= 0x20 && (scalar.value < 0x7F || !ascii) {
                    result.unicodeScalars.append(scalar)
                } else {
                    for unit in String(scalar).utf16 {
                        let digits = String(unit, radix: 16)
                        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                    }
                }
            }
        }
        return result + "\""
    }

    /// The shortest text of a number that reads back as the same, as Python prints it.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        return "\(value)"
    }

    /// A number with a fixed count of decimals, ties to even on the exact value (C's `printf`).
    static func fixed(_ value: Double, _ decimals: Int) -> String { String(format: "%.\(min(max(decimals, 0), 64))f", value) }
}
