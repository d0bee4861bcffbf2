import Foundation

/// A JSON value whose objects keep their order: chat templates print tools in it, and errors name the place.
///
/// Numbers keep integers apart from floating-point ones, because token ids and offsets must not pass through a `Double`.
public enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSON])
    case object(JSONObject)
}

/// Members in the order in which they were written; of a repeated key the last value counts, at the first's place.
public struct JSONObject: Sendable, Equatable {
    public private(set) var keys: [String] = []
    private var values: [Key: JSON] = [:]

    /// Keys are told apart by their bytes: `String`'s own equality takes canonically equivalent texts for the same.
    private struct Key: Hashable {
        let text: String
        init(_ text: String) { self.text = text }
        static func == (a: Key, b: Key) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }
        func hash(into hasher: inout Hasher) {
            var text = text
            text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        }
    }


    public init() {}
    public init(_ members: [(String, JSON)]) { for (key, value) in members { self[key] = value } }

    public var count: Int { keys.count }
    public var isEmpty: Bool { keys.isEmpty }
    public subscript(key: String) -> JSON? {
        get { values[Key(key)] }
        set {
            if let newValue {
                if values.updateValue(newValue, forKey: Key(key)) == nil { keys.append(key) }
            } else if values.removeValue(forKey: Key(key)) != nil {
                keys.removeAll { Key($0) == Key(key) }
            }
        }
    }
    public var members: [(key: String, value: JSON)] { keys.map { ($0, values[Key($0)]!) } }

    public static func == (a: JSONObject, b: JSONObject) -> Bool { a.keys.map(Key.init) == b.keys.map(Key.init) && a.values == b.values }
}

extension JSON {
    public var string: String? { if case let .string(value) = self { value } else { nil } }
    public var bool: Bool? { if case let .bool(value) = self { value } else { nil } }
    public var array: [JSON]? { if case let .array(value) = self { value } else { nil } }
    public var object: JSONObject? { if case let .object(value) = self { value } else { nil } }
    public var isNull: Bool { self == .null }
    /// The value as a `Double`, from an integer or a number.
    public var double: Double? {
        switch self {
        case let .integer(value): Double(value)
        case let .number(value): value
        default: nil
        }
    }
    /// The value as an `Int`; a number such as `3.0` counts, `3.5` and `1e300` do not.
    public var int: Int? {
        switch self {
        case let .integer(value): value
        case let .number(value): Int(exactly: value)
        default: nil
        }
    }
    public subscript(key: String) -> JSON? { object?[key] }
    public subscript(index: Int) -> JSON? {
        guard let array, array.indices.contains(index) else { return nil }
        return array[index]
    }
    /// What kind of value this is, for messages.
    public var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer, .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSON)...) { self = .object(JSONObject(elements)) }
    public init(nilLiteral: ()) { self = .null }
}

/// What a text breaks of RFC 8259, and where.
public struct JSONError: Error, Equatable, CustomStringConvertible {
    /// Bytes from the start of the text.
    public var byte: Int
    /// 1-based.
    public var line: Int
    public var found: String
    public var expected: String
    public var description: String { "line \(line), byte \(byte): found \(found), expected \(expected)" }
}
