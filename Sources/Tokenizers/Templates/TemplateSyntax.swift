/// An expression of a template. Its depth is bounded when it is built, so that walking it cannot exhaust the stack.
final class TemplateExpression: Sendable {
    enum Literal: Sendable, Equatable {
        case none, bool(Bool), integer(Int), largeInteger(String), number(Double), string(String)
    }

    struct Arguments: Sendable {
        var positional: [TemplateExpression] = []
        var named: [(name: String, value: TemplateExpression)] = []
        var all: [TemplateExpression] { positional + named.map(\.value) }
    }

    enum Form: Sendable {
        case literal(Literal)
        case name(String)
        case list([TemplateExpression]), tuple([TemplateExpression])
        case dictionary([(key: TemplateExpression, value: TemplateExpression)])
        case attribute(TemplateExpression, String)
        case item(TemplateExpression, TemplateExpression)
        case slice(TemplateExpression, start: TemplateExpression?, stop: TemplateExpression?, step: TemplateExpression?)
        case call(TemplateExpression, Arguments)
        case filter(TemplateExpression, String, Arguments)
        case test(TemplateExpression, String, Arguments, isNegated: Bool)
        case unary(String, TemplateExpression)
        case binary(String, TemplateExpression, TemplateExpression)
        case compare(TemplateExpression, [(symbol: String, value: TemplateExpression)])
        case conditional(TemplateExpression, then: TemplateExpression, else: TemplateExpression?)
        case joined([TemplateExpression])
    }

    static let depthLimit = 200
    let form: Form
    let line: Int
    let depth: Int

    init(_ form: Form, line: Int) throws(TemplateError) {
        let depth = 1 + (TemplateExpression.children(of: form).map(\.depth).max() ?? 0)
        guard depth <= TemplateExpression.depthLimit else {
            throw .limit(line: line, quantity: "levels of nesting in an expression", limit: TemplateExpression.depthLimit)
        }
        self.form = form
        self.line = line
        self.depth = depth
    }

    private static func children(of form: Form) -> [TemplateExpression] {
        switch form {
        case .literal, .name: []
        case let .list(parts), let .tuple(parts), let .joined(parts): parts
        case let .dictionary(parts): parts.flatMap { [$0.key, $0.value] }
        case let .attribute(base, _), let .unary(_, base): [base]
        case let .item(base, key): [base, key]
        case let .slice(base, start, stop, step): [base] + [start, stop, step].compactMap { $0 }
        case let .call(base, arguments), let .filter(base, _, arguments), let .test(base, _, arguments, _): [base] + arguments.all
        case let .binary(_, left, right): [left, right]
        case let .compare(first, rest): [first] + rest.map(\.value)
        case let .conditional(condition, then, other): [condition, then] + [other].compactMap { $0 }
        }
    }
}

/// What a `set` or a loop assigns to.
indirect enum TemplateTarget: Sendable {
    case name(String)
    case attribute(of: String, String)
    case tuple([TemplateTarget])
}

struct TemplateStatement: Sendable {
    typealias Filters = [(name: String, arguments: TemplateExpression.Arguments)]

    indirect enum Form: Sendable {
        case text(String)
        case output(TemplateExpression)
        case condition([(condition: TemplateExpression, body: [TemplateStatement])], otherwise: [TemplateStatement])
        case loop(TemplateLoop)
        case set(TemplateTarget, TemplateExpression)
        case setBlock(TemplateTarget, Filters, [TemplateStatement])
        case macro(TemplateMacro)
        case call(TemplateMacro, TemplateExpression)
        case filter(Filters, [TemplateStatement])
        case with([(target: TemplateTarget, value: TemplateExpression)], [TemplateStatement])
        case generation([TemplateStatement])
        case leave, next
    }
    var form: Form
    var line: Int
}

/// A `for` statement.
final class TemplateLoop: Sendable {
    let target: TemplateTarget
    let sequence: TemplateExpression
    let condition: TemplateExpression?
    let body: [TemplateStatement]
    let otherwise: [TemplateStatement]
    let isRecursive: Bool

    init(
        target: TemplateTarget, sequence: TemplateExpression, condition: TemplateExpression?, body: [TemplateStatement],
        otherwise: [TemplateStatement], isRecursive: Bool
    ) {
        self.target = target
        self.sequence = sequence
        self.condition = condition
        self.body = body
        self.otherwise = otherwise
        self.isRecursive = isRecursive
    }
}

/// A macro, or the body of a `call` block.
final class TemplateMacro: Sendable {
    let name: String
    let parameters: [(name: String, fallback: TemplateExpression?)]
    let body: [TemplateStatement]

    init(name: String, parameters: [(name: String, fallback: TemplateExpression?)], body: [TemplateStatement]) {
        self.name = name
        self.parameters = parameters
        self.body = body
    }
}
