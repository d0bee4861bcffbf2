/// What is wrong with compressed data, and where.
public enum InflateError: Error, Equatable, CustomStringConvertible {
    case notGzip
    case truncated(byte: Int)
    case invalid(byte: Int, what: String)
    case checksum
    case tooLarge(limit: Int)

    public var description: String {
        switch self {
        case .notGzip: "not gzip data: the first bytes are not 1f 8b 08"
        case let .truncated(byte): "the gzip data ends at byte \(byte), in the middle. The copy is incomplete: fetch it again."
        case let .invalid(byte, what): "the gzip data is damaged at byte \(byte): \(what)"
        case .checksum: "the unpacked data does not fit the checksum or length stored with it. The file is damaged: fetch it again."
        case let .tooLarge(limit): "the gzip data unpacks to more than \(limit) bytes"
        }
    }
}

/// Unpacking of gzip files. Sources: RFC 1951 (deflate), RFC 1952 (gzip).
public enum Inflate {
    public static func isGzip(_ bytes: [UInt8]) -> Bool { bytes.count >= 2 && bytes[0] == 0x1F && bytes[1] == 0x8B }

    /// Unpacks every member of a gzip file; checksums and lengths are checked. Zeros after the last member are padding.
    /// - Parameter limit: Bytes of output beyond which unpacking stops, whatever the input claims.
    public static func gunzip(_ bytes: [UInt8], limit: Int) throws(InflateError) -> [UInt8] {
        let outcome: Result<[UInt8], InflateError> = bytes.withUnsafeBufferPointer { input in
            var inflater = Inflater(input, limit: limit)
            do throws(InflateError) {
                repeat { try inflater.member() } while !inflater.isAtEnd
                return .success(inflater.output.array)
            } catch { return .failure(error) }
        }
        return try outcome.get()
    }
}

private let lengthBase: InlineArray<29, UInt16> = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
]
private let lengthBits: InlineArray<29, UInt8> = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
private let distanceBase: InlineArray<30, UInt16> = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
]
/// In which order the code lengths of the code-length code are stored.
private let codeOrder: InlineArray<19, Int> = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

private struct Inflater: ~Copyable {
    private let input: UnsafeBufferPointer<UInt8>
    private var reader: BitReader
    var output: GrowingBytes
    private var literals = PrefixCode()
    private var distances = PrefixCode()
    /// Whether the codes are the fixed ones already: a file of tiny blocks shall not build them again and again.
    private var codesAreFixed = false

    init(_ input: UnsafeBufferPointer<UInt8>, limit: Int) {
        self.input = input
        reader = BitReader(input)
        output = GrowingBytes(limit: limit, expected: 4 * input.count)
    }

    var isAtEnd: Bool { input[reader.byte...].allSatisfy { $0 == 0 } }

    /// One member: header, blocks, checksum, length.
    mutating func member() throws(InflateError) {
        let head = reader.byte
        guard try reader.bits(16) == 0x8B1F, try reader.bits(8) == 8 else { throw .notGzip }
        let flags = try reader.bits(8)
        guard flags & 0xE0 == 0 else { throw .invalid(byte: head + 3, what: "flags that gzip does not define") }
        _ = try reader.bits(32)  // time
        _ = try reader.bits(16)  // extra flags, system
        if flags & 4 != 0 { for _ in 0..<(try reader.bits(16)) { _ = try reader.bits(8) } }
        if flags & 8 != 0 { while try reader.bits(8) != 0 {} }  // name
        if flags & 16 != 0 { while try reader.bits(8) != 0 {} }  // comment
        if flags & 2 != 0 {
            let checksum = CRC32.of(UnsafeBufferPointer(rebasing: input[head..<reader.byte])) & 0xFFFF
            guard try reader.bits(16) == checksum else { throw .invalid(byte: reader.byte, what: "the header's checksum") }
        }
        let start = output.count
        var isLast = false
        while !isLast {
            isLast = try reader.bits(1) == 1
            switch try reader.bits(2) {
            case 0: try stored()
            case 1:
                useFixedCodes()
                try compressed(from: start)
            case 2:
                try readCodes()
                try compressed(from: start)
            default: throw .invalid(byte: reader.byte, what: "block type 3")
            }
        }
        reader.alignToByte()
        let (checksum, length) = (try reader.bits(32), try reader.bits(32))
        guard checksum == CRC32.of(output.bytes(from: start)), length == UInt32(truncatingIfNeeded: output.count - start) else { throw .checksum }
    }

    private mutating func stored() throws(InflateError) {
        reader.alignToByte()
        let (length, complement) = (try reader.bits(16), try reader.bits(16))
        guard length ^ 0xFFFF == complement else { throw .invalid(byte: reader.byte, what: "a stored block's length") }
        try output.append(reader.bytes(Int(length)))
    }

    private mutating func compressed(from start: Int) throws(InflateError) {
        while true {
            if reader.isOverdrawn { throw .truncated(byte: input.count) }
            reader.fill()  // at least 48 bits if there are as many: enough for a length, a distance and their extra bits
            let symbol = literals.symbol(&reader)
            if symbol < 256 {
                guard symbol >= 0 else { throw unknownWord() }
                try output.append(UInt8(truncatingIfNeeded: symbol))
                continue
            }
            if symbol == 256 {
                if reader.isOverdrawn { throw .truncated(byte: input.count) }
                return
            }
            guard symbol <= 285 else { throw .invalid(byte: reader.byte, what: "a length code of \(symbol)") }
            let length = Int(lengthBase[symbol - 257]) + reader.take(Int(lengthBits[symbol - 257]))
            let code = distances.symbol(&reader)
            guard code >= 0 else { throw unknownWord() }
            guard code < 30 else { throw .invalid(byte: reader.byte, what: "a distance code of \(code)") }
            let distance = Int(distanceBase[code]) + reader.take(code < 2 ? 0 : code / 2 - 1)
            if reader.isOverdrawn { throw .truncated(byte: input.count) }
            guard distance <= output.count - start else { throw .invalid(byte: reader.byte, what: "a distance of \(distance) before the start") }
            try output.copy(length, from: distance)
        }
    }

    private func unknownWord() -> InflateError {
        reader.isOverdrawn ? .truncated(byte: input.count) : .invalid(byte: reader.byte, what: "a code word that is not in the table")
    }

    private mutating func useFixedCodes() {
        if codesAreFixed { return }
        codesAreFixed = true
        _ = literals.build([UInt8](repeating: 8, count: 144) + [UInt8](repeating: 9, count: 112) + [UInt8](repeating: 7, count: 24) + [UInt8](repeating: 8, count: 8))
        _ = distances.build([UInt8](repeating: 5, count: 30))
    }

    private mutating func readCodes() throws(InflateError) {
        codesAreFixed = false
        let literalCount = Int(try reader.bits(5)) + 257
        let distanceCount = Int(try reader.bits(5)) + 1
        var lengths = [UInt8](repeating: 0, count: 19)
        for i in 0..<(Int(try reader.bits(4)) + 4) { lengths[codeOrder[i]] = UInt8(try reader.bits(3)) }
        guard literals.build(lengths) else { throw tooManyWords() }
        var all: [UInt8] = []
        all.reserveCapacity(literalCount + distanceCount + 138)
        while all.count < literalCount + distanceCount {
            reader.fill()
            let symbol = literals.symbol(&reader)
            switch symbol {
            case 0..<16: all.append(UInt8(symbol))
            case 16:
                guard let last = all.last else { throw .invalid(byte: reader.byte, what: "a repeat of nothing") }
                for _ in 0..<3 + reader.take(2) { all.append(last) }
            case 17: for _ in 0..<3 + reader.take(3) { all.append(0) }
            case 18: for _ in 0..<11 + reader.take(7) { all.append(0) }
            default: throw unknownWord()
            }
            if reader.isOverdrawn { throw .truncated(byte: input.count) }
        }
        guard all.count == literalCount + distanceCount, all[256] > 0 else { throw .invalid(byte: reader.byte, what: "code lengths") }
        guard literals.build(all[..<literalCount]), distances.build(all[literalCount...]) else { throw tooManyWords() }
    }

    private func tooManyWords() -> InflateError { .invalid(byte: reader.byte, what: "a code with too many short words") }
}
