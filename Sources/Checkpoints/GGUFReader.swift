/// A value of a GGUF file's metadata.
public enum GGUFValue: Sendable, Equatable {
    case unsigned(UInt64)
    case signed(Int64)
    case float(Double)
    case bool(Bool)
    case string(String)
    case integers([Int64])
    case floats([Double])
    case bools([Bool])
    case strings([String])
    case arrays([GGUFValue])

    /// An integer of any width, if it fits.
    public var int: Int? {
        switch self {
        case let .unsigned(value): Int(exactly: value)
        case let .signed(value): Int(exactly: value)
        default: nil
        }
    }
    public var double: Double? {
        switch self {
        case let .float(value): value
        case let .unsigned(value): Double(value)
        case let .signed(value): Double(value)
        default: nil
        }
    }
    public var bool: Bool? { if case let .bool(value) = self { value } else { nil } }
    public var string: String? { if case let .string(value) = self { value } else { nil } }
    public var strings: [String]? { if case let .strings(value) = self { value } else { nil } }
    public var integers: [Int64]? { if case let .integers(value) = self { value } else { nil } }
    public var floats: [Double]? {
        switch self {
        case let .floats(value): value
        case let .integers(value): value.map { Double($0) }
        default: nil
        }
    }

    /// What kind of value this is, for messages.
    var kind: String {
        switch self {
        case let .unsigned(value): "\(value)"
        case let .signed(value): "\(value)"
        case let .float(value): "\(value)"
        case let .bool(value): "\(value)"
        case let .string(value): "'\(value.prefix(80))'"
        case let .integers(values): "\(values.count) integers"
        case let .floats(values): "\(values.count) numbers"
        case let .bools(values): "\(values.count) booleans"
        case let .strings(values): "\(values.count) strings"
        case let .arrays(values): "\(values.count) arrays"
        }
    }
}

/// Reads a GGUF file's head front to back through a window of bytes; every length is checked against the file before it is used.
struct GGUFReader {
    let file: InputFile
    private var window: [UInt8] = []
    private var windowStart = 0
    private(set) var position = 0

    /// No head is longer than this: that of a vocabulary of 256,000 tokens takes about 15 MB.
    static let headLimit = 256 << 20
    static let stringLimit = 16 << 20
    static let arrayLimit = 16 << 20
    static let depthLimit = 4

    init(_ file: InputFile) { self.file = file }

    private var end: Int { min(file.size, Self.headLimit) }

    private func malformed(_ field: String, _ found: String, _ expected: String, at offset: Int) -> CheckpointError {
        .malformed(file: file.path, field: field, offset: offset, found: found, expected: expected)
    }

    /// Makes `count` bytes from `position` on available in the window, and returns their place in it.
    private mutating func take(_ count: Int, _ field: @autoclosure () -> String) throws(CheckpointError) -> Int {
        guard count <= end - position else {
            if file.size > Self.headLimit {
                throw malformed(field(), "beyond byte \(Self.headLimit)", "a head of at most \(Self.headLimit) bytes", at: position)
            }
            throw .truncated(file: file.path, field: field(), offset: position, needed: count, available: end - position)
        }
        if position + count > windowStart + window.count {
            windowStart = position
            window = try file.bytes(at: position, count: min(max(count, 1 << 20), end - position), field: field())
        }
        defer { position += count }
        return position - windowStart
    }

    mutating func fixed<Value: FixedWidthInteger>(_: Value.Type, _ field: @autoclosure () -> String) throws(CheckpointError) -> Value {
        let place = try take(MemoryLayout<Value>.size, field())
        return window.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: place, as: Value.self)) }
    }

    /// A count or length of at most `limit`.
    mutating func count(_ field: @autoclosure () -> String, limit: Int) throws(CheckpointError) -> Int {
        let start = position
        let value = try fixed(UInt64.self, field())
        guard value <= UInt64(limit) else { throw malformed(field(), "\(value)", "at most \(limit)", at: start) }
        return Int(value)
    }

    /// A string. Bytes that are not UTF-8 become U+FFFD: a licence's text must not keep weights from loading.
    mutating func string(_ field: @autoclosure () -> String, limit: Int = stringLimit) throws(CheckpointError) -> String {
        let length = try count("the length of \(field())", limit: limit)
        let place = try take(length, field())
        return String(decoding: window[place..<(place + length)], as: UTF8.self)
    }

    private mutating func bool(_ field: @autoclosure () -> String) throws(CheckpointError) -> Bool {
        let start = position
        let byte = try fixed(UInt8.self, field())
        guard byte <= 1 else { throw malformed(field(), "\(byte)", "0 or 1", at: start) }
        return byte == 1
    }

    mutating func value(_ key: String) throws(CheckpointError) -> GGUFValue {
        let type = try fixed(UInt32.self, "the type of \(key)")
        return try value(key, type: type, depth: 0)
    }

    private mutating func value(_ key: String, type: UInt32, depth: Int) throws(CheckpointError) -> GGUFValue {
        switch type {
        case 0: return .unsigned(UInt64(try fixed(UInt8.self, key)))
        case 1: return .signed(Int64(try fixed(Int8.self, key)))
        case 2: return .unsigned(UInt64(try fixed(UInt16.self, key)))
        case 3: return .signed(Int64(try fixed(Int16.self, key)))
        case 4: return .unsigned(UInt64(try fixed(UInt32.self, key)))
        case 5: return .signed(Int64(try fixed(Int32.self, key)))
        case 6: return .float(Double(Float(bitPattern: try fixed(UInt32.self, key))))
        case 7: return .bool(try bool(key))
        case 8: return .string(try string(key))
        case 9: return try array(key, depth: depth + 1)
        case 10: return .unsigned(try fixed(UInt64.self, key))
        case 11: return .signed(try fixed(Int64.self, key))
        case 12: return .float(Double(bitPattern: try fixed(UInt64.self, key)))
        default: throw malformed("the type of \(key)", "\(type)", "a value type from 0 to 12", at: position - 4)
        }
    }

    private mutating func array(_ key: String, depth: Int) throws(CheckpointError) -> GGUFValue {
        guard depth <= Self.depthLimit else { throw malformed(key, "nested arrays", "at most \(Self.depthLimit) levels of arrays", at: position) }
        let start = position
        let type = try fixed(UInt32.self, "the element type of \(key)")
        let count = try count("the length of \(key)", limit: Self.arrayLimit)
        // The least an element can take: no room is set aside for more elements than the file can hold.
        let least: Int
        switch type {
        case 0, 1, 7: least = 1
        case 2, 3: least = 2
        case 4, 5, 6: least = 4
        case 8, 10, 11, 12: least = 8
        case 9: least = 12
        default: throw malformed("the element type of \(key)", "\(type)", "a value type from 0 to 12", at: start)
        }
        guard count <= (end - position) / least else {
            throw .truncated(file: file.path, field: key, offset: position, needed: count * least, available: end - position)
        }
        switch type {
        case 0, 1, 2, 3, 4, 5, 10, 11:
            var values: [Int64] = []
            values.reserveCapacity(count)
            for _ in 0..<count {
                let place = position
                guard let value = try value(key, type: type, depth: depth).int else { throw malformed(key, "an integer above 2^63", "integers below it", at: place) }
                values.append(Int64(value))
            }
            return .integers(values)
        case 6, 12:
            var values: [Double] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try value(key, type: type, depth: depth).double ?? 0) }
            return .floats(values)
        case 7:
            var values: [Bool] = []
            for _ in 0..<count { values.append(try bool(key)) }
            return .bools(values)
        case 8:
            var values: [String] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try string(key)) }
            return .strings(values)
        default:
            var values: [GGUFValue] = []
            for _ in 0..<count { values.append(try array(key, depth: depth + 1)) }
            return .arrays(values)
        }
    }
}
