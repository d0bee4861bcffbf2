import Serialization

/// A value while a template is rendered, with Python's meaning.
///
/// Containers never change and know their depth, which is bounded: printing, comparing and freeing them cannot exhaust the stack.
/// Namespaces change, and so are kept out of containers and of one another.
enum TemplateValue {
    case undefined(String)  // what to say when it is used
    case none
    case bool(Bool)
    case integer(Int)
    case largeInteger(String)
    case number(Double)
    case string(String)
    /// Text that `safe` or `escape` has marked: what is added to it is escaped as HTML.
    case markup(String)
    case list(TemplateItems)
    case tuple(TemplateItems)
    case dictionary(TemplateDictionary)
    case namespace(TemplateNamespace)
    case loop(TemplateLoopState)
    case callable(TemplateCallable)

    static let depthLimit = 200

    static func text(_ text: some StringProtocol) -> TemplateValue { .string(String(text)) }
    static func list(_ values: [TemplateValue]) -> TemplateValue { .list(TemplateItems(values)) }
    static func tuple(_ values: [TemplateValue]) -> TemplateValue { .tuple(TemplateItems(values)) }

    var depth: Int {
        switch self {
        case let .list(items), let .tuple(items): items.depth
        case let .dictionary(dictionary): dictionary.depth
        default: 0
        }
    }

    /// - Throws: `TemplateError.limit` for JSON nested too deeply.
    init(_ json: JSON, depth: Int = 0) throws(TemplateError) {
        if depth > TemplateValue.depthLimit {
            throw .limit(line: 0, quantity: "levels of nesting in the data", limit: TemplateValue.depthLimit)
        }
        switch json {
        case .null: self = .none
        case let .bool(value): self = .bool(value)
        case let .integer(value): self = .integer(value)
        case let .number(value): self = .number(value)
        case let .string(value): self = .string(value)
        case let .array(values):
            var items: [TemplateValue] = []
            items.reserveCapacity(values.count)
            for value in values { items.append(try TemplateValue(value, depth: depth + 1)) }
            self = .list(items)
        case let .object(object):
            var members: [(key: TemplateValue, value: TemplateValue)] = []
            for (key, value) in object.members { members.append((.string(key), try TemplateValue(value, depth: depth + 1))) }
            self = .dictionary(TemplateDictionary(distinct: members))
        }
    }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }
    var string: String? {
        switch self {
        case let .string(text), let .markup(text): text
        default: nil
        }
    }
    /// The value without the mark of `safe`.
    var plain: TemplateValue { if case let .markup(text) = self { .string(text) } else { self } }
    var items: TemplateItems? {
        switch self {
        case let .list(items), let .tuple(items): items
        default: nil
        }
    }
    /// Integers and booleans, as Python counts with both.
    var int: Int? {
        switch self {
        case let .integer(value): value
        case let .bool(value): value ? 1 : 0
        default: nil
        }
    }
    var double: Double? {
        if case let .number(value) = self { return value }
        if case let .largeInteger(digits) = self { return Double(digits) }
        return int.map(Double.init)
    }

    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case let .bool(value): value
        case let .integer(value): value != 0
        case let .number(value): value != 0
        case let .string(value), let .markup(value): !value.isEmpty
        case let .list(items), let .tuple(items): !items.values.isEmpty
        case let .dictionary(dictionary): dictionary.count > 0
        case .largeInteger, .namespace, .loop, .callable: true
        }
    }

    /// Python's name of the type, for messages.
    var typeName: String {
        switch self {
        case .undefined: "Undefined"
        case .none: "NoneType"
        case .bool: "bool"
        case .integer, .largeInteger: "int"
        case .number: "float"
        case .string, .markup: "str"
        case .list: "list"
        case .tuple: "tuple"
        case .dictionary: "dict"
        case .namespace: "Namespace"
        case .loop: "LoopContext"
        case .callable: "function"
        }
    }
}

/// The elements of a list or tuple.
final class TemplateItems {
    let values: [TemplateValue]
    let depth: Int
    init(_ values: [TemplateValue]) {
        self.values = values
        depth = 1 + values.reduce(0) { max($0, $1.depth) }
    }
}

/// A mapping that keeps its order.
final class TemplateDictionary {
    let members: [(key: TemplateValue, value: TemplateValue)]
    let depth: Int
    private let places: [ExactText: Int]
    var count: Int { members.count }

    /// Of a repeated key the last value counts, at the first's place.
    init(_ all: [(key: TemplateValue, value: TemplateValue)]) {
        var members: [(key: TemplateValue, value: TemplateValue)] = []
        var places: [ExactText: Int] = [:]
        for member in all {
            let place = member.key.string.map { places[ExactText($0)] } ?? members.firstIndex { $0.key.isEqual(to: member.key) }
            if let place {
                members[place].value = member.value
            } else {
                if let key = member.key.string { places[ExactText(key)] = members.count }
                members.append(member)
            }
        }
        self.members = members
        self.places = places
        depth = 1 + members.reduce(0) { max($0, $1.value.depth, $1.key.depth) }
    }

    /// - Parameter distinct: Members with string keys, each once.
    init(distinct: [(key: TemplateValue, value: TemplateValue)]) {
        members = distinct
        var places: [ExactText: Int] = [:]
        for (place, member) in distinct.enumerated() { if let key = member.key.string { places[ExactText(key)] = place } }
        self.places = places
        depth = 1 + members.reduce(0) { max($0, $1.value.depth) }
    }

    subscript(key: String) -> TemplateValue? { places[ExactText(key)].map { members[$0].value } }
    subscript(key: TemplateValue) -> TemplateValue? {
        if let text = key.string { return self[text] }
        return members.first { $0.key.isEqual(to: key) }?.value
    }
}

/// What `namespace()` makes: attributes that inner scopes may set.
final class TemplateNamespace {
    var attributes: [(name: String, value: TemplateValue)] = []
    subscript(name: String) -> TemplateValue? {
        get { attributes.first { $0.name == name }?.value }
        set {
            guard let newValue else { return }
            if let place = attributes.firstIndex(where: { $0.name == name }) {
                attributes[place].value = newValue
            } else {
                attributes.append((name, newValue))
            }
        }
    }
}

/// The `loop` of one `for`.
final class TemplateLoopState {
    let values: [TemplateValue]
    let loop: TemplateLoop
    let depth: Int
    var index = 0
    var changedTo: [TemplateValue]?
    init(values: [TemplateValue], loop: TemplateLoop, depth: Int) {
        self.values = values
        self.loop = loop
        self.depth = depth
    }
}

/// Something a template can call.
indirect enum TemplateCallable {
    case function(String)
    case method(of: TemplateValue, String)
    case macro(TemplateMacro)
    /// The body of a `call` block with the scopes it was written in.
    case caller(TemplateMacro, [TemplateScope])
}

/// The variables of one scope.
final class TemplateScope {
    var variables: [String: TemplateValue] = [:]
}

extension TemplateValue {
    /// Python's `==`. The depth of values bounds its recursion.
    func isEqual(to other: TemplateValue) -> Bool {
        switch (plain, other.plain) {
        case (.none, .none), (.undefined, .undefined): return true
        case let (.string(a), .string(b)): return a.utf8.elementsEqual(b.utf8)
        case let (.list(a), .list(b)), let (.tuple(a), .tuple(b)):
            return a === b || (a.values.count == b.values.count && zip(a.values, b.values).allSatisfy { $0.isEqual(to: $1) })
        case let (.dictionary(a), .dictionary(b)):
            return a === b || (a.count == b.count && a.members.allSatisfy { b[$0.key]?.isEqual(to: $0.value) ?? false })
        case let (.namespace(a), .namespace(b)): return a === b
        case let (.loop(a), .loop(b)): return a === b
        default:
            if let a = int, let b = other.int { return a == b }
            if let a = double, let b = other.double { return a == b }
            return false
        }
    }

    /// How many elements or 16-byte pieces a walk over the value visits, up to `limit`.
    func size(limit: Int) -> Int {
        switch self {
        case let .string(text), let .markup(text): return 1 + text.utf8.count / 16
        case let .list(items), let .tuple(items):
            var sum = 1
            for value in items.values where sum < limit { sum += value.size(limit: limit - sum) }
            return sum
        case let .dictionary(dictionary):
            var sum = 1
            for (key, value) in dictionary.members where sum < limit { sum += key.size(limit: limit - sum) + value.size(limit: limit - sum) }
            return sum
        default: return 1
        }
    }
}
