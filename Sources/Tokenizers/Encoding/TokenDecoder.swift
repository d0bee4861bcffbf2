/// One step from token strings back to text.
enum DecoderStep: Sendable, Equatable {
    case byteLevel
    case replace([UInt8], with: [UInt8])
    /// Runs of `<0xNN>` tokens become the text they encode, or one U+FFFD for each byte if that is not valid UTF-8.
    case byteFallback
    case fuse
    /// Takes up to `start` leading and `stop` trailing copies of a scalar from each part.
    case strip([UInt8], start: Int, stop: Int)
    case metaspace([UInt8], prepends: Bool)
}

enum TokenDecoder {
    static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]  // U+FFFD

    /// - Parameter tokens: UTF-8 of the token strings (for a byte-level decoder: the bytes they stand for).
    static func decode(_ tokens: [[UInt8]], steps: [DecoderStep]) -> String {
        var parts = tokens
        for step in steps {
            switch step {
            case .byteLevel: parts = [Array(String(decoding: parts.joined(), as: UTF8.self).utf8)]
            case let .replace(pattern, content): parts = parts.map { replaced($0, pattern, content) }
            case .byteFallback: parts = joinedBytes(parts)
            case .fuse: parts = [Array(parts.joined())]
            case let .strip(content, start, stop): parts = parts.map { stripped($0, content, start: start, stop: stop) }
            case let .metaspace(content, prepends):
                parts = parts.enumerated().map { replaced($1, content, $0 == 0 && prepends ? [] : [0x20]) }
            }
        }
        return String(decoding: parts.joined(), as: UTF8.self)
    }

    static func replaced(_ text: [UInt8], _ pattern: [UInt8], _ content: [UInt8]) -> [UInt8] {
        guard !pattern.isEmpty, text.count >= pattern.count else { return text }
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 2)
        text.withUnsafeBufferPointer { text in
            var i = 0
            while i < text.count {
                if text[i] == pattern[0], i + pattern.count <= text.count, (1..<pattern.count).allSatisfy({ text[i + $0] == pattern[$0] }) {
                    result += content
                    i += pattern.count
                } else {
                    result.append(text[i])
                    i += 1
                }
            }
        }
        return result
    }

    static func stripped(_ text: [UInt8], _ content: [UInt8], start: Int, stop: Int) -> [UInt8] {
        var rest = text[...]
        for _ in 0..<start where rest.starts(with: content) { rest = rest.dropFirst(content.count) }
        for _ in 0..<stop where rest.suffix(content.count).elementsEqual(content) { rest = rest.dropLast(content.count) }
        return Array(rest)
    }

    private static func joinedBytes(_ parts: [[UInt8]]) -> [[UInt8]] {
        var result: [[UInt8]] = []
        var pending: [UInt8] = []
        func flush() {
            if pending.isEmpty { return }
            if String(validating: pending, as: UTF8.self) != nil {
                result.append(pending)
            } else {
                for _ in pending { result.append(replacement) }
            }
            pending = []
        }
        for part in parts {
            if let byte = byte(of: part) { pending.append(byte) } else { flush(); result.append(part) }
        }
        flush()
        return result
    }

    /// The byte that a token such as `<0x0A>` stands for.
    static func byte(of token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: [0x3C, 0x30, 0x78]), token[5] == 0x3E else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }
}

/// The printable characters that byte-level vocabularies write bytes with (GPT-2, `bytes_to_unicode`).
enum ByteAlphabet {
    /// The scalar for each byte.
    static let scalars: [UInt32] = {
        var next: UInt32 = 256
        return (0..<UInt32(256)).map { byte in
            let isPrintable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
            if isPrintable { return byte }
            defer { next += 1 }
            return next
        }
    }()
    /// The byte of each scalar, -1 for scalars outside the alphabet.
    private static let bytes: FixedArray<Int16> = {
        var table = [Int16](repeating: -1, count: 0x800)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar)] = Int16(byte) }
        return FixedArray(table)
    }()

    /// Appends the bytes that a token's characters stand for; if one of them is outside the alphabet, the token's UTF-8 as it is.
    /// - Parameter token: UTF-8.
    /// - Returns: Whether all characters are of the alphabet.
    static func append(_ token: UnsafeBufferPointer<UInt8>, to result: inout [UInt8]) -> Bool {
        let table = bytes.base  // has every scalar of one or two bytes
        let start = result.count
        var i = 0
        while i < token.count {
            let (scalar, next) = UTF8Scan.scalar(token, i)
            guard scalar < 0x800, table[Int(scalar)] >= 0 else {
                result.removeSubrange(start...)
                result.append(contentsOf: token)
                return false
            }
            result.append(UInt8(truncatingIfNeeded: table[Int(scalar)]))
            i = next
        }
        return true
    }
}
