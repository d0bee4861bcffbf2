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

    /// Unpacks every member of a gzip file; checksums and lengths are checked.
    /// - Parameter limit: Bytes of output beyond which unpacking stops, whatever the input claims.
    public static func gunzip(_ bytes: [UInt8], limit: Int) throws(InflateError) -> [UInt8] {
        let outcome: Result<[UInt8], InflateError> = bytes.withUnsafeBufferPointer { input in
            var reader = BitReader(input)
            var output: [UInt8] = []
            do throws(InflateError) {
                repeat { try member(&reader, into: &output, limit: limit) } while reader.byte < input.count
                return .success(output)
            } catch { return .failure(error) }
        }
        return try outcome.get()
    }

    private static func member(_ reader: inout BitReader, into output: inout [UInt8], limit: Int) throws(InflateError) {
        guard try reader.bits(16) == 0x8B1F, try reader.bits(8) == 8 else { throw .notGzip }
        let flags = try reader.bits(8)
        _ = try reader.bits(32)  // time
        _ = try reader.bits(16)  // extra flags, system
        if flags & 4 != 0 { for _ in 0..<(try reader.bits(16)) { _ = try reader.bits(8) } }
        if flags & 8 != 0 { while try reader.bits(8) != 0 {} }
        if flags & 16 != 0 { while try reader.bits(8) != 0 {} }
        if flags & 2 != 0 { _ = try reader.bits(16) }
        let start = output.count
        var isLast = false
        while !isLast {
            isLast = try reader.bits(1) == 1
            switch try reader.bits(2) {
            case 0: try stored(&reader, into: &output, limit: limit)
            case 1: try compressed(&reader, HuffmanTable.fixedLiterals, HuffmanTable.fixedDistances, into: &output, from: start, limit: limit)
            case 2:
                let (literals, distances) = try tables(&reader)
                try compressed(&reader, literals, distances, into: &output, from: start, limit: limit)
            default: throw .invalid(byte: reader.byte, what: "block type 3")
            }
        }
        reader.alignToByte()
        let (checksum, length) = (try reader.bits(32), try reader.bits(32))
        guard checksum == crc(output[start...]), length == UInt32(truncatingIfNeeded: output.count - start) else { throw .checksum }
    }

    private static func stored(_ reader: inout BitReader, into output: inout [UInt8], limit: Int) throws(InflateError) {
        reader.alignToByte()
        let (length, complement) = (try reader.bits(16), try reader.bits(16))
        guard length ^ 0xFFFF == complement else { throw .invalid(byte: reader.byte, what: "a stored block's length") }
        guard output.count + Int(length) <= limit else { throw .tooLarge(limit: limit) }
        for _ in 0..<length { output.append(UInt8(try reader.bits(8))) }
    }

    private static let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

    private static func tables(_ reader: inout BitReader) throws(InflateError) -> (HuffmanTable, HuffmanTable) {
        let literals = Int(try reader.bits(5)) + 257
        let distances = Int(try reader.bits(5)) + 1
        let codes = Int(try reader.bits(4)) + 4
        var lengths = [UInt8](repeating: 0, count: 19)
        for i in 0..<codes { lengths[order[i]] = UInt8(try reader.bits(3)) }
        let table = try HuffmanTable(lengths, at: reader.byte)
        var all: [UInt8] = []
        while all.count < literals + distances {
            let symbol = try table.symbol(&reader)
            switch symbol {
            case 0..<16: all.append(UInt8(symbol))
            case 16:
                guard let last = all.last else { throw .invalid(byte: reader.byte, what: "a repeat of nothing") }
                all += [UInt8](repeating: last, count: 3 + Int(try reader.bits(2)))
            case 17: all += [UInt8](repeating: 0, count: 3 + Int(try reader.bits(3)))
            default: all += [UInt8](repeating: 0, count: 11 + Int(try reader.bits(7)))
            }
        }
        guard all.count == literals + distances, all[256] > 0 else { throw .invalid(byte: reader.byte, what: "code lengths") }
        return (try HuffmanTable(Array(all[..<literals]), at: reader.byte), try HuffmanTable(Array(all[literals...]), at: reader.byte))
    }

    private static let lengthBase: [Int] = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258]
    private static let lengthBits: [Int] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
    private static let distanceBase: [Int] = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
    ]

    private static func compressed(
        _ reader: inout BitReader, _ literals: HuffmanTable, _ distances: HuffmanTable, into output: inout [UInt8], from start: Int, limit: Int
    ) throws(InflateError) {
        while true {
            let symbol = try literals.symbol(&reader)
            if symbol < 256 {
                guard output.count < limit else { throw .tooLarge(limit: limit) }
                output.append(UInt8(symbol))
                continue
            }
            if symbol == 256 { return }
            guard symbol <= 285 else { throw .invalid(byte: reader.byte, what: "a length code of \(symbol)") }
            let length = lengthBase[symbol - 257] + Int(try reader.bits(lengthBits[symbol - 257]))
            let code = try distances.symbol(&reader)
            guard code < 30 else { throw .invalid(byte: reader.byte, what: "a distance code of \(code)") }
            let distance = distanceBase[code] + Int(try reader.bits(code < 2 ? 0 : code / 2 - 1))
            guard distance <= output.count - start else { throw .invalid(byte: reader.byte, what: "a distance of \(distance) before the start") }
            guard output.count + length <= limit else { throw .tooLarge(limit: limit) }
            let from = output.count - distance
            for i in 0..<length { output.append(output[from + i]) }
        }
    }

    private static let crcTable: [UInt32] = (0..<256).map { n in
        (0..<8).reduce(UInt32(n)) { c, _ in c & 1 == 1 ? 0xEDB8_8320 ^ (c >> 1) : c >> 1 }
    }

    private static func crc(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        let table = crcTable
        return ~bytes.reduce(~UInt32(0)) { table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ ($0 >> 8) }
    }
}

/// Bits from the lowest up, as deflate packs them.
private struct BitReader {
    private let input: UnsafeBufferPointer<UInt8>
    private var next = 0
    private var hold: UInt64 = 0
    private var held = 0

    init(_ input: UnsafeBufferPointer<UInt8>) { self.input = input }

    /// The first byte of which nothing has been taken.
    var byte: Int { next - held / 8 }

    private mutating func fill() {
        while held <= 56, next < input.count {
            hold |= UInt64(input[next]) << UInt64(held)
            next += 1
            held += 8
        }
    }

    mutating func bits(_ count: Int) throws(InflateError) -> UInt32 {
        if held < count { fill() }
        guard held >= count else { throw .truncated(byte: input.count) }
        defer {
            hold >>= UInt64(count)
            held -= count
        }
        return UInt32(truncatingIfNeeded: hold & ((1 << UInt64(count)) - 1))
    }

    /// The next 15 bits without taking them; zeros stand for what lies beyond the end.
    mutating func peek() -> Int {
        if held < 15 { fill() }
        return Int(hold & 0x7FFF)
    }

    mutating func take(_ count: Int) throws(InflateError) {
        guard held >= count else { throw .truncated(byte: input.count) }
        hold >>= UInt64(count)
        held -= count
    }

    mutating func alignToByte() {
        hold >>= UInt64(held % 8)
        held -= held % 8
    }
}

/// A prefix code, looked up by the next 15 bits.
private struct HuffmanTable {
    /// Symbol << 4 | length; length 0: no such code.
    private let entries: [UInt16]

    static let fixedLiterals = HuffmanTable(unchecked: (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 })
    static let fixedDistances = HuffmanTable(unchecked: [UInt8](repeating: 5, count: 30))

    init(_ lengths: [UInt8], at byte: Int) throws(InflateError) {
        // More codes than the lengths leave room for would overwrite each other.
        let space = lengths.reduce(0) { $0 + ($1 > 0 ? 1 << (15 - Int($1)) : 0) }
        guard space <= 1 << 15 else { throw .invalid(byte: byte, what: "a code with too many short words") }
        self.init(unchecked: lengths)
    }

    private init(unchecked lengths: [UInt8]) {
        var entries = [UInt16](repeating: 0, count: 1 << 15)
        var code = 0
        for length in 1...15 {
            for (symbol, l) in lengths.enumerated() where Int(l) == length {
                // Codes are stored from the highest bit, the stream is read from the lowest.
                var reversed = 0
                for bit in 0..<length where code >> bit & 1 == 1 { reversed |= 1 << (length - 1 - bit) }
                for i in stride(from: reversed, to: 1 << 15, by: 1 << length) { entries[i] = UInt16(symbol << 4 | length) }
                code += 1
            }
            code <<= 1
        }
        self.entries = entries
    }

    func symbol(_ reader: inout BitReader) throws(InflateError) -> Int {
        let entry = entries[reader.peek()]
        guard entry & 15 > 0 else { throw .invalid(byte: reader.byte, what: "a code word that is not in the table") }
        try reader.take(Int(entry & 15))
        return Int(entry >> 4)
    }
}
