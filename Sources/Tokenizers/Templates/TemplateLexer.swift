/// The parts of a template's source.
struct TemplateToken {
    enum Kind: Equatable {
        case text(String)
        case variableBegin, variableEnd, blockBegin, blockEnd
        case name(String)
        case string(String)
        case integer(Int)
        /// An integer beyond `Int`, as its digits; it can be printed only.
        case largeInteger(String)
        case number(Double)
        case symbol(String)
        case end
    }
    var kind: Kind
    var line: Int

    var found: String {
        switch kind {
        case .text: "text"
        case .variableBegin: "'{{'"
        case .variableEnd: "'}}'"
        case .blockBegin: "'{%'"
        case .blockEnd: "'%}'"
        case let .name(name): "'\(name)'"
        case .string: "a string"
        case .integer, .largeInteger, .number: "a number"
        case let .symbol(symbol): "'\(symbol)'"
        case .end: "the end of the template"
        }
    }
}

/// Cuts a source into tokens, with `trim_blocks` and `lstrip_blocks` on, as chat templates are written for.
///
/// Source: jinja2/lexer.py (3.1); line ends become "\n", and one at the end of the source is dropped.
struct TemplateLexer {
    private let source: [UInt8]
    private var position = 0
    private var line = 1
    private var tokens: [TemplateToken] = []
    /// Whether the text before `position` ended a line (or nothing is before it).
    private var atLineStart = true

    static func tokens(of source: String) throws(TemplateError) -> [TemplateToken] {
        var lexer = TemplateLexer(source)
        try lexer.run()
        return lexer.tokens
    }

    private init(_ source: String) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(source.utf8.count)
        var previous: UInt8 = 0
        for byte in source.utf8 {
            if byte == 0x0D { bytes.append(0x0A) } else if !(byte == 0x0A && previous == 0x0D) { bytes.append(byte) }
            previous = byte
        }
        if bytes.last == 0x0A { bytes.removeLast() }
        self.source = bytes
    }

    private func at(_ i: Int) -> UInt8 { i < source.count ? source[i] : 0 }
    private func string(_ range: Range<Int>) -> String { String(decoding: source[range], as: UTF8.self) }
    private mutating func add(_ kind: TemplateToken.Kind) { tokens.append(TemplateToken(kind: kind, line: line)) }
    private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) || (byte >= 0x1C && byte <= 0x1F) }

    private mutating func advance(to end: Int) {
        for i in position..<end where source[i] == 0x0A { line += 1 }
        position = end
    }

    private mutating func run() throws(TemplateError) {
        while position < source.count {
            var open = position
            while open < source.count, !(source[open] == UInt8(ascii: "{") && [0x7B, 0x25, 0x23].contains(at(open + 1))) { open += 1 }
            let kind = at(open + 1)
            let sign = open < source.count ? at(open + 2) : 0
            addText(position..<open, before: open < source.count ? kind : 0, sign: sign)
            advance(to: open)
            guard open < source.count else { break }
            let start = open + (sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") ? 3 : 2)
            switch kind {
            case UInt8(ascii: "#"): try comment(from: start)
            case UInt8(ascii: "{"):
                add(.variableBegin)
                advance(to: start)
                try expression(closing: UInt8(ascii: "}"))
            default:
                if let body = rawBody(start) {
                    try raw(body)
                } else {
                    add(.blockBegin)
                    advance(to: start)
                    try expression(closing: UInt8(ascii: "%"))
                }
            }
        }
        add(.end)
    }

    /// Text before a tag: "-" strips all white space before it; otherwise blocks and comments strip blanks back to the line's start.
    private mutating func addText(_ range: Range<Int>, before kind: UInt8, sign: UInt8) {
        var end = range.upperBound
        if kind != 0 && sign == UInt8(ascii: "-") {
            let text = string(range).unicodeScalars
            let kept = text.reversed().drop { PythonText.isSpace($0) }
            end = range.lowerBound + kept.reduce(0) { $0 + UTF8.width($1) }
        } else if kind != 0 && kind != UInt8(ascii: "{") && sign != UInt8(ascii: "+") {
            var start = end
            while start > range.lowerBound, isSpace(source[start - 1]), source[start - 1] != 0x0A { start -= 1 }
            if start > range.lowerBound ? source[start - 1] == 0x0A : atLineStart { end = start }
        }
        if end > range.lowerBound { add(.text(string(range.lowerBound..<end))) }
    }

    /// After a tag's end: "-" takes all white space that follows; otherwise a block or comment takes one line end.
    private mutating func finish(_ end: Int, sign: UInt8, trims: Bool) {
        var next = end
        if sign == UInt8(ascii: "-") {
            while next < source.count {
                if source[next] < 0x80 {
                    guard isSpace(source[next]) else { break }
                    next += 1
                } else {
                    let width = UTF8Scan.length(source[next])
                    guard let scalar = string(next..<min(next + width, source.count)).unicodeScalars.first, PythonText.isSpace(scalar) else { break }
                    next += width
                }
            }
        } else if trims && sign != UInt8(ascii: "+") && at(next) == 0x0A && next < source.count {
            next += 1
        }
        advance(to: next)
        atLineStart = next > 0 && source[next - 1] == 0x0A
    }

    private mutating func comment(from start: Int) throws(TemplateError) {
        var i = start
        while i < source.count, !(source[i] == UInt8(ascii: "#") && at(i + 1) == UInt8(ascii: "}")) { i += 1 }
        guard i < source.count else { throw .syntax(line: line, found: "a comment without end", expected: "'#}'") }
        finish(i + 2, sign: i > start ? source[i - 1] : 0, trims: true)
    }

    /// Where the body of `{% raw %}` begins, if the tag at `start` is one.
    private func rawBody(_ start: Int) -> Int? {
        var i = start
        while i < source.count, isSpace(source[i]) { i += 1 }
        guard i + 3 <= source.count, source[i..<(i + 3)].elementsEqual("raw".utf8) else { return nil }
        i += 3
        while i < source.count, isSpace(source[i]) { i += 1 }
        let strips = at(i) == UInt8(ascii: "-")
        if strips { i += 1 }
        guard at(i) == UInt8(ascii: "%"), at(i + 1) == UInt8(ascii: "}") else { return nil }
        i += 2
        if strips { while i < source.count, isSpace(source[i]) { i += 1 } }
        return i
    }

    private mutating func raw(_ body: Int) throws(TemplateError) {
        atLineStart = body > 0 && source[body - 1] == 0x0A
        advance(to: body)
        var i = body
        while i < source.count {
            guard source[i] == UInt8(ascii: "{"), at(i + 1) == UInt8(ascii: "%") else { i += 1; continue }
            var j = i + 2
            let sign = at(j)
            if sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { j += 1 }
            while j < source.count, isSpace(source[j]) { j += 1 }
            guard j + 6 <= source.count, source[j..<(j + 6)].elementsEqual("endraw".utf8) else { i += 1; continue }
            j += 6
            while j < source.count, isSpace(source[j]) { j += 1 }
            let closing = at(j)
            if closing == UInt8(ascii: "-") || closing == UInt8(ascii: "+") { j += 1 }
            guard at(j) == UInt8(ascii: "%"), at(j + 1) == UInt8(ascii: "}") else { i += 1; continue }
            addText(body..<i, before: UInt8(ascii: "%"), sign: sign)
            advance(to: i)
            return finish(j + 2, sign: closing, trims: true)
        }
        throw .syntax(line: line, found: "a raw block without end", expected: "'{% endraw %}'")
    }

    /// The tokens of one tag, up to and including its end.
    private mutating func expression(closing: UInt8) throws(TemplateError) {
        var brackets: [UInt8] = []
        while true {
            while position < source.count, isSpace(source[position]) { advance(to: position + 1) }
            guard position < source.count else {
                throw .syntax(line: line, found: "the end of the template", expected: closing == 0x7D ? "'}}'" : "'%}'")
            }
            let byte = source[position]
            let sign = byte == UInt8(ascii: "-") || (byte == UInt8(ascii: "+") && closing == UInt8(ascii: "%")) ? byte : 0
            let mark = sign == 0 ? position : position + 1
            if brackets.isEmpty, at(mark) == closing, at(mark + 1) == UInt8(ascii: "}") {
                add(closing == 0x7D ? .variableEnd : .blockEnd)
                return finish(mark + 2, sign: sign, trims: closing == UInt8(ascii: "%"))
            }
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
            case UInt8(ascii: "'"), UInt8(ascii: "\""): try quoted(byte)
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"), 0x80...: name()
            default: try symbol(&brackets)
            }
        }
    }

    private mutating func name() {
        var end = position
        while end < source.count, source[end] >= 0x80 || source[end] == UInt8(ascii: "_") || PythonText.isAlphanumeric(source[end]) { end += 1 }
        add(.name(string(position..<end)))
        advance(to: end)
    }

    private mutating func symbol(_ brackets: inout [UInt8]) throws(TemplateError) {
        let two = string(position..<min(position + 2, source.count))
        if ["//", "**", "==", "!=", ">=", "<="].contains(two) {
            add(.symbol(two))
            return advance(to: position + 2)
        }
        let byte = source[position]
        guard "+-/*%~[](){}><=.:|,;".utf8.contains(byte) else {
            throw .syntax(line: line, found: "'\(String(decoding: [byte], as: UTF8.self))'", expected: "an operator")
        }
        switch byte {
        case UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "{"): brackets.append(byte)
        case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"):
            let open: UInt8 = byte == UInt8(ascii: ")") ? UInt8(ascii: "(") : byte - 2
            guard brackets.popLast() == open else {
                throw .syntax(line: line, found: "'\(string(position..<(position + 1)))'", expected: "the bracket that closes the last one opened")
            }
        default: break
        }
        add(.symbol(string(position..<(position + 1))))
        advance(to: position + 1)
    }

    private mutating func number() throws(TemplateError) {
        var end = position
        func isDigit(_ i: Int) -> Bool { at(i) >= 0x30 && at(i) <= 0x39 }
        if at(end) == 0x30, let radix = [UInt8(ascii: "x"): 16, UInt8(ascii: "o"): 8, UInt8(ascii: "b"): 2][at(end + 1) | 0x20] {
            end += 2
            while PythonText.isAlphanumeric(at(end)) || at(end) == UInt8(ascii: "_") { end += 1 }
            let digits = string((position + 2)..<end).filter { $0 != "_" }
            guard let value = Int(digits, radix: radix) else { throw .syntax(line: line, found: "'\(string(position..<end))'", expected: "a number") }
            add(.integer(value))
            return advance(to: end)
        }
        while isDigit(end) || (at(end) == UInt8(ascii: "_") && isDigit(end + 1)) { end += 1 }
        var isInteger = true
        if at(end) == UInt8(ascii: "."), isDigit(end + 1) {
            isInteger = false
            end += 1
            while isDigit(end) || (at(end) == UInt8(ascii: "_") && isDigit(end + 1)) { end += 1 }
        }
        if at(end) | 0x20 == UInt8(ascii: "e") {
            let digits = at(end + 1) == UInt8(ascii: "+") || at(end + 1) == UInt8(ascii: "-") ? end + 2 : end + 1
            if isDigit(digits) {
                isInteger = false
                end = digits
                while isDigit(end) { end += 1 }
            }
        }
        let text = string(position..<end).filter { $0 != "_" }
        if isInteger {
            add(Int(text).map { .integer($0) } ?? .largeInteger(text))
        } else if let value = Double(text) {
            add(.number(value))
        } else {
            throw .syntax(line: line, found: "'\(text)'", expected: "a number")
        }
        advance(to: end)
    }

    private mutating func quoted(_ quote: UInt8) throws(TemplateError) {
        var text: [UInt8] = []
        var i = position + 1
        while i < source.count, source[i] != quote {
            if source[i] != UInt8(ascii: "\\") || i + 1 >= source.count {
                text.append(source[i])
                i += 1
                continue
            }
            let escape = source[i + 1]
            i += 2
            switch escape {
            case UInt8(ascii: "n"): text.append(0x0A)
            case UInt8(ascii: "t"): text.append(0x09)
            case UInt8(ascii: "r"): text.append(0x0D)
            case UInt8(ascii: "a"): text.append(0x07)
            case UInt8(ascii: "b"): text.append(0x08)
            case UInt8(ascii: "f"): text.append(0x0C)
            case UInt8(ascii: "v"): text.append(0x0B)
            case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): text.append(escape)
            case 0x0A: break
            case UInt8(ascii: "x"): try hexadecimal(2, &i, into: &text)
            case UInt8(ascii: "u"): try hexadecimal(4, &i, into: &text)
            case UInt8(ascii: "U"): try hexadecimal(8, &i, into: &text)
            case 0x30...0x37:
                var value = UInt32(escape - 0x30)
                var digits = 1
                while digits < 3, at(i) >= 0x30, at(i) <= 0x37 { value = value * 8 + UInt32(source[i] - 0x30); i += 1; digits += 1 }
                text += Array(String(Unicode.Scalar(value) ?? "\u{FFFD}").utf8)
            default: text += [UInt8(ascii: "\\"), escape]
            }
        }
        guard i < source.count else { throw .syntax(line: line, found: "a string without end", expected: "the closing quote") }
        add(.string(String(decoding: text, as: UTF8.self)))
        advance(to: i + 1)
    }

    private func hexadecimal(_ digits: Int, _ i: inout Int, into text: inout [UInt8]) throws(TemplateError) {
        guard i + digits <= source.count, let value = UInt32(string(i..<(i + digits)), radix: 16) else {
            throw .syntax(line: line, found: "a cut escape", expected: "\(digits) hexadecimal digits")
        }
        i += digits
        text += Array(String(Unicode.Scalar(value) ?? "\u{FFFD}").utf8)
    }
}
