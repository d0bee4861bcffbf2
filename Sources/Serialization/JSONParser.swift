import Foundation

extension JSON {
    /// Parses one JSON text.
    /// - Parameters:
    ///   - depthLimit: Nesting beyond this is refused, so that a hostile text cannot exhaust the stack.
    ///   - repeatedKeys: What becomes of an object that has a key twice.
    /// - Throws: `JSONError` with the byte and line of the first fault.
    public static func parse(_ bytes: some Sequence<UInt8>, depthLimit: Int = 128, repeatedKeys: RepeatedKeys = .lastCounts) throws(JSONError) -> JSON {
        let array = ContiguousArray(bytes)
        let outcome: Result<JSON, JSONError> = array.withUnsafeBufferPointer { buffer in
            var parser = JSONParser(bytes: buffer, depthLimit: depthLimit, repeatedKeys: repeatedKeys)
            do throws(JSONError) { return .success(try parser.document()) } catch { return .failure(error) }
        }
        return try outcome.get()
    }

    /// What becomes of an object that has a key twice: most readers take the last value, which for data may be the wrong one.
    public enum RepeatedKeys: Sendable { case lastCounts, refused }

    /// Parses one JSON text given as a string.
    public static func parse(_ text: String, depthLimit: Int = 128) throws(JSONError) -> JSON {
        try parse(Array(text.utf8), depthLimit: depthLimit)
    }
}

/// Recursive descent over bytes. Strict RFC 8259, except that NaN, Infinity and -Infinity are read (Python writes them).
struct JSONParser {
    let bytes: UnsafeBufferPointer<UInt8>
    let depthLimit: Int
    let repeatedKeys: JSON.RepeatedKeys
    var position = 0
    var depth = 0

    init(bytes: UnsafeBufferPointer<UInt8>, depthLimit: Int, repeatedKeys: JSON.RepeatedKeys = .lastCounts) {
        self.bytes = bytes
        self.repeatedKeys = repeatedKeys
        self.depthLimit = depthLimit
    }

    mutating func document() throws(JSONError) -> JSON {
        if bytes.count >= 3, bytes[0] == 0xEF, bytes[1] == 0xBB, bytes[2] == 0xBF { position = 3 }  // a byte-order mark
        let value = try value()
        skipSpace()
        if position < bytes.count { throw fault("the end of the text") }
        return value
    }

    private func fault(_ expected: String, at place: Int? = nil) -> JSONError {
        let place = min(place ?? position, bytes.count)
        var line = 1
        for i in 0..<place where bytes[i] == 0x0A { line += 1 }
        let found: String
        if place >= bytes.count {
            found = "the end of the text"
        } else if bytes[place] >= 0x20 && bytes[place] < 0x7F {
            found = "'\(Character(UnicodeScalar(bytes[place])))'"
        } else {
            found = "byte 0x" + String(bytes[place], radix: 16)
        }
        return JSONError(byte: place, line: line, found: found, expected: expected)
    }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    private mutating func take(_ word: StaticString) -> Bool {
        let n = word.utf8CodeUnitCount
        guard position + n <= bytes.count else { return false }
        for i in 0..<n where bytes[position + i] != word.utf8Start[i] { return false }
        position += n
        return true
    }

    private mutating func value() throws(JSONError) -> JSON {
        skipSpace()
        guard position < bytes.count else { throw fault("a value") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return try object()
        case UInt8(ascii: "["): return try array()
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t") where take("true"): return .bool(true)
        case UInt8(ascii: "f") where take("false"): return .bool(false)
        case UInt8(ascii: "n") where take("null"): return .null
        case UInt8(ascii: "N") where take("NaN"): return .number(.nan)
        case UInt8(ascii: "I") where take("Infinity"): return .number(.infinity)
        case UInt8(ascii: "-") where take("-Infinity"): return .number(-.infinity)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw fault("a value")
        }
    }

    private mutating func enter() throws(JSONError) {
        depth += 1
        if depth > depthLimit { throw fault("at most \(depthLimit) levels of nesting") }
        position += 1
    }

    private mutating func object() throws(JSONError) -> JSON {
        try enter()
        defer { depth -= 1 }
        var result = JSONObject()
        skipSpace()
        if take("}") { return .object(result) }
        while true {
            skipSpace()
            guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else { throw fault("a key in double quotes") }
            let start = position
            let key = try string()
            if repeatedKeys == .refused, result[key] != nil { throw fault("the key \"\(key.prefix(60))\" once", at: start) }
            skipSpace()
            guard take(":") else { throw fault("':' after the key \"\(key.prefix(60))\"") }
            result[key] = try value()
            skipSpace()
            if take(",") { continue }
            if take("}") { return .object(result) }
            throw fault("',' or '}'")
        }
    }

    private mutating func array() throws(JSONError) -> JSON {
        try enter()
        defer { depth -= 1 }
        var result: [JSON] = []
        skipSpace()
        if take("]") { return .array(result) }
        while true {
            result.append(try value())
            skipSpace()
            if take(",") { continue }
            if take("]") { return .array(result) }
            throw fault("',' or ']'")
        }
    }

    private mutating func number() throws(JSONError) -> JSON {
        let start = position
        var isInteger = true
        _ = take("-")
        let digits = position
        func isDigit(_ i: Int) -> Bool { i < bytes.count && bytes[i] >= 0x30 && bytes[i] <= 0x39 }
        guard isDigit(position) else { throw fault("a digit") }
        while isDigit(position) { position += 1 }
        if bytes[digits] == 0x30 && position - digits > 1 { throw fault("no leading zero", at: digits) }
        if take(".") {
            isInteger = false
            guard isDigit(position) else { throw fault("a digit after the point") }
            while isDigit(position) { position += 1 }
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            guard isDigit(position) else { throw fault("a digit in the exponent") }
            while isDigit(position) { position += 1 }
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isInteger, let value = Int(text) { return .integer(value) }
        guard let value = Double(text) else { throw fault("a number", at: start) }
        return .number(value)
    }

    private mutating func string() throws(JSONError) -> String {
        let open = position
        position += 1
        let start = position
        while position < bytes.count, bytes[position] != UInt8(ascii: "\""), bytes[position] != UInt8(ascii: "\\"), bytes[position] >= 0x20 {
            position += 1
        }
        if position < bytes.count, bytes[position] == UInt8(ascii: "\"") {  // the common case: nothing escaped
            position += 1
            return try text(bytes[start..<(position - 1)], at: start)
        }
        var collected = Array(bytes[start..<position])
        while true {
            guard position < bytes.count else { throw fault("the closing quote of the string that starts at byte \(open)") }
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return try decoded(collected, at: open)
            case UInt8(ascii: "\\"):
                position += 1
                try escape(into: &collected)
            case 0..<0x20:
                throw fault("a control character to be written as an escape such as \\n")
            default:
                collected.append(byte)
                position += 1
            }
        }
    }

    private func text(_ slice: Slice<UnsafeBufferPointer<UInt8>>, at start: Int) throws(JSONError) -> String {
        guard let text = String(validating: slice, as: UTF8.self) else { throw fault("valid UTF-8 in the string", at: start) }
        return text
    }

    private func decoded(_ collected: [UInt8], at start: Int) throws(JSONError) -> String {
        guard let text = String(validating: collected, as: UTF8.self) else { throw fault("valid UTF-8 in the string", at: start) }
        return text
    }

    private mutating func escape(into collected: inout [UInt8]) throws(JSONError) {
        guard position < bytes.count else { throw fault("an escape") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): collected.append(byte)
        case UInt8(ascii: "b"): collected.append(0x08)
        case UInt8(ascii: "f"): collected.append(0x0C)
        case UInt8(ascii: "n"): collected.append(0x0A)
        case UInt8(ascii: "r"): collected.append(0x0D)
        case UInt8(ascii: "t"): collected.append(0x09)
        case UInt8(ascii: "u"):
            let first = try hex()
            var scalar = UInt32(first)
            if first >= 0xD800 && first < 0xDC00, position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
                bytes[position + 1] == UInt8(ascii: "u")
            {
                let mark = position
                position += 2
                let second = try hex()
                if second >= 0xDC00 && second < 0xE000 {
                    scalar = 0x10000 + (UInt32(first) - 0xD800) << 10 + (UInt32(second) - 0xDC00)
                } else {
                    position = mark
                }
            }
            // A lone surrogate names no character; U+FFFD stands for it, as in a lossy decoder.
            collected.append(contentsOf: String(UnicodeScalar(scalar) ?? "\u{FFFD}").utf8)
        default: throw fault("one of the escapes \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u", at: position - 1)
        }
    }

    private mutating func hex() throws(JSONError) -> UInt16 {
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard position < bytes.count, let digit = Character(UnicodeScalar(bytes[position])).hexDigitValue else { throw fault("a hexadecimal digit") }
            value = value << 4 | UInt16(digit)
            position += 1
        }
        return value
    }
}
