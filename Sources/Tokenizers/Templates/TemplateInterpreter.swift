import Foundation

/// Runs one template once. Every node, and every piece of a long value, costs a step.
final class TemplateInterpreter {
    enum Flow { case normal, leave, next }

    let limits: TemplateLimits
    let clock: tm
    private(set) var steps = 0
    var depth = 0
    var line = 0
    var scopes: [TemplateScope]
    /// What is being written: the result, and on top of it the bodies that are captured.
    private var buffers = [""]
    /// UTF-8 ranges of the result that lie in `generation` blocks.
    private(set) var generationSpans: [Range<Int>] = []
    private var totalBytes = 0

    init(limits: TemplateLimits, clock: tm, variables: [String: TemplateValue]) {
        self.limits = limits
        self.clock = clock
        let globals = TemplateScope()
        for name in TemplateFunctions.names { globals.variables[name] = .callable(.function(name)) }
        for (name, value) in variables { globals.variables[name] = value }
        scopes = [globals]
    }

    func run(_ statements: [TemplateStatement]) throws(TemplateError) -> String {
        _ = try execute(statements)
        return buffers[0]
    }

    // MARK: Costs and errors

    func charge(_ cost: Int = 1) throws(TemplateError) {
        steps += max(cost, 1)
        if steps > limits.steps { throw .limit(line: line, quantity: "steps", limit: limits.steps) }
    }

    /// Counts the making of a value by its length, and refuses one that is nested too deeply or holds a namespace.
    func made(_ value: TemplateValue) throws(TemplateError) -> TemplateValue {
        switch value {
        case let .string(text), let .markup(text): try charge(1 + text.utf8.count / 16)
        case let .list(items), let .tuple(items):
            try charge(1 + items.values.count)
            try check(items.values, depth: items.depth)
        case let .dictionary(dictionary):
            try charge(1 + dictionary.count)
            try check(dictionary.members.map(\.value), depth: dictionary.depth)
        default: break
        }
        return value
    }

    private func check(_ values: [TemplateValue], depth: Int) throws(TemplateError) {
        if depth > TemplateValue.depthLimit { throw .limit(line: line, quantity: "levels of nesting in a value", limit: TemplateValue.depthLimit) }
        for value in values { try storable(value) }
    }

    /// Namespaces, loops and callables live in variables only, so that no value can hold itself.
    func storable(_ value: TemplateValue) throws(TemplateError) {
        switch value {
        case .namespace, .loop, .callable: throw .unsupported(line: line, feature: "keeping inside another value a", found: value.typeName)
        default: return
        }
    }

    func invalid(_ message: String) -> TemplateError { .invalid(line: line, message: message) }

    func enter() throws(TemplateError) {
        depth += 1
        if depth > limits.depth { throw .limit(line: line, quantity: "levels of nested evaluation", limit: limits.depth) }
    }

    // MARK: Output

    func write(_ text: String) throws(TemplateError) {
        totalBytes += text.utf8.count
        if totalBytes > limits.outputBytes { throw .limit(line: line, quantity: "bytes of output", limit: limits.outputBytes) }
        try charge(1 + text.utf8.count / 64)
        buffers[buffers.count - 1] += text
    }

    /// What `statements` write, in a scope of their own.
    func capture(_ statements: [TemplateStatement], in scope: TemplateScope = TemplateScope()) throws(TemplateError) -> String {
        buffers.append("")
        scopes.append(scope)
        defer { scopes.removeLast() }
        do throws(TemplateError) { _ = try execute(statements) } catch {
            buffers.removeLast()
            throw error
        }
        return buffers.removeLast()
    }

    // MARK: Variables

    func lookup(_ name: String) -> TemplateValue {
        for scope in scopes.reversed() { if let value = scope.variables[name] { return value } }
        return .undefined("'\(name)' is undefined")
    }

    func assign(_ target: TemplateTarget, _ value: TemplateValue) throws(TemplateError) {
        switch target {
        case let .name(name): scopes[scopes.count - 1].variables[name] = value
        case let .attribute(object, name):
            guard case let .namespace(namespace) = lookup(object) else {
                throw invalid("'\(object)' is no namespace, so its attribute '\(name)' cannot be set")
            }
            try storable(value)
            try charge(1 + namespace.attributes.count / 8)
            namespace[name] = value
        case let .tuple(targets):
            let values = try elements(of: value)
            guard values.count == targets.count else {
                throw invalid("\(values.count) values cannot be assigned to \(targets.count) names")
            }
            for (target, value) in zip(targets, values) { try assign(target, value) }
        }
    }

    // MARK: Statements

    func execute(_ statements: [TemplateStatement]) throws(TemplateError) -> Flow {
        try enter()
        defer { depth -= 1 }
        for statement in statements {
            try charge()
            line = statement.line
            let flow = try execute(statement)
            if flow != .normal { return flow }
        }
        return .normal
    }

    private func execute(_ statement: TemplateStatement) throws(TemplateError) -> Flow {
        switch statement.form {
        case let .text(text): try write(text)
        case let .output(expression): try write(try string(of: try evaluate(expression)))
        case let .condition(branches, otherwise):
            for branch in branches where try evaluate(branch.condition).isTrue { return try execute(branch.body) }
            return try execute(otherwise)
        case let .loop(loop): try run(loop, over: try evaluate(loop.sequence), depth: 0)
        case let .set(target, expression): try assign(target, try evaluate(expression))
        case let .setBlock(target, filters, body):
            try assign(target, try apply(filters, to: .string(try capture(body))))
        case let .macro(macro): scopes[scopes.count - 1].variables[macro.name] = .callable(.macro(macro))
        case let .call(body, call): try write(try string(of: try evaluateCall(call, caller: body)))
        case let .filter(filters, body): try write(try string(of: try apply(filters, to: .string(try capture(body)))))
        case let .with(bindings, body): return try with(bindings, body)
        case let .generation(body):
            let start = buffers[0].utf8.count
            let isResult = buffers.count == 1
            try write(try capture(body))
            if isResult { generationSpans.append(start..<buffers[0].utf8.count) }
        case .leave: return .leave
        case .next: return .next
        }
        return .normal
    }

    private func with(
        _ bindings: [(target: TemplateTarget, value: TemplateExpression)], _ body: [TemplateStatement]
    ) throws(TemplateError) -> Flow {
        let scope = TemplateScope()
        var values: [TemplateValue] = []
        for binding in bindings { values.append(try evaluate(binding.value)) }
        scopes.append(scope)
        defer { scopes.removeLast() }
        for (binding, value) in zip(bindings, values) { try assign(binding.target, value) }
        return try execute(body)
    }

    private func apply(_ filters: TemplateStatement.Filters, to value: TemplateValue) throws(TemplateError) -> TemplateValue {
        var value = value
        for filter in filters { value = try applyFilter(filter.name, to: value, try evaluate(filter.arguments)) }
        return value
    }

    /// Runs a loop; each turn has a scope of its own.
    func run(_ loop: TemplateLoop, over sequence: TemplateValue, depth loopDepth: Int) throws(TemplateError) {
        var values = try elements(of: sequence)
        if let condition = loop.condition {
            var kept: [TemplateValue] = []
            for value in values {
                try charge()
                scopes.append(TemplateScope())
                defer { scopes.removeLast() }
                try assign(loop.target, value)
                if try evaluate(condition).isTrue { kept.append(value) }
            }
            values = kept
        }
        if values.isEmpty {
            scopes.append(TemplateScope())
            defer { scopes.removeLast() }
            _ = try execute(loop.otherwise)
            return
        }
        let state = TemplateLoopState(values: values, loop: loop, depth: loopDepth)
        for (index, value) in values.enumerated() {
            state.index = index
            let scope = TemplateScope()
            scope.variables["loop"] = .loop(state)
            scopes.append(scope)
            defer { scopes.removeLast() }
            try assign(loop.target, value)
            if try execute(loop.body) == .leave { return }
        }
    }

    /// What a recursive loop writes for its `loop(children)`.
    func recurse(_ state: TemplateLoopState, over sequence: TemplateValue) throws(TemplateError) -> TemplateValue {
        guard state.loop.isRecursive else { throw invalid("the loop is called but not marked as recursive") }
        try enter()
        defer { depth -= 1 }
        buffers.append("")
        do throws(TemplateError) { try run(state.loop, over: sequence, depth: state.depth + 1) } catch {
            buffers.removeLast()
            throw error
        }
        return .string(buffers.removeLast())
    }

    /// Calls a macro: it sees the outermost scope and its own parameters.
    func call(
        _ macro: TemplateMacro, scopes outer: [TemplateScope], _ arguments: TemplateArguments, caller: TemplateCallable?
    ) throws(TemplateError) -> TemplateValue {
        try enter()
        defer { depth -= 1 }
        guard arguments.positional.count <= macro.parameters.count else {
            throw invalid("'\(macro.name)' takes \(macro.parameters.count) arguments, \(arguments.positional.count) are given")
        }
        for (name, _) in arguments.named where !macro.parameters.contains(where: { $0.name == name }) {
            throw invalid("'\(macro.name)' has no parameter '\(name)'")
        }
        let scope = TemplateScope()
        if let caller { scope.variables["caller"] = .callable(caller) }
        let saved = scopes
        scopes = outer + [scope]
        defer { scopes = saved }
        for (index, parameter) in macro.parameters.enumerated() {
            if index < arguments.positional.count {
                scope.variables[parameter.name] = arguments.positional[index]
            } else if let named = arguments.named.first(where: { $0.name == parameter.name }) {
                scope.variables[parameter.name] = named.value
            } else if let fallback = parameter.fallback {
                scope.variables[parameter.name] = try evaluate(fallback)
            } else {
                scope.variables[parameter.name] = .undefined("parameter '\(parameter.name)' was not provided")
            }
        }
        return try made(.string(try capture(macro.body)))
    }
}

/// Evaluated arguments of a call.
struct TemplateArguments {
    var positional: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    /// The argument at a place or of a name.
    func value(_ index: Int, _ name: String) -> TemplateValue? {
        index < positional.count ? positional[index] : named.first { $0.name == name }?.value
    }
    func dropFirst(_ count: Int = 1) -> TemplateArguments { TemplateArguments(positional: Array(positional.dropFirst(count)), named: named) }
}
