extension TemplateInterpreter {
    func evaluate(_ expression: TemplateExpression) throws(TemplateError) -> TemplateValue {
        try charge()
        try enter()
        defer { depth -= 1 }
        line = expression.line
        switch expression.form {
        case let .literal(literal): return value(literal)
        case let .name(name): return lookup(name)
        case let .list(parts): return try made(.list(try evaluate(parts)))
        case let .tuple(parts): return try made(.tuple(try evaluate(parts)))
        case let .dictionary(members): return try dictionary(members)
        case let .attribute(base, name): return try attribute(name, of: try evaluate(base).plain)
        case let .item(base, key):
            let base = try evaluate(base).plain
            return try item(try evaluate(key).plain, of: base)
        case let .slice(base, start, stop, step): return try slice(base, start, stop, step)
        case .call: return try evaluateCall(expression, caller: nil)
        case let .filter(base, name, arguments):
            // `x|default` and the like may be given undefined values; the filter decides.
            return try applyFilter(name, to: try evaluate(base), try evaluate(arguments))
        case let .test(base, name, arguments, isNegated):
            return .bool(try test(name, try evaluate(base), try evaluate(arguments)) != isNegated)
        case let .unary(symbol, base): return try unary(symbol, try evaluate(base))
        case let .binary(symbol, left, right): return try binary(symbol, left, right)
        case let .compare(first, rest): return try compare(first, rest)
        case let .conditional(condition, then, other):
            if try evaluate(condition).isTrue { return try evaluate(then) }
            return try other.map { other throws(TemplateError) in try evaluate(other) }
                ?? .undefined("the inline if-expression evaluated to false and no else section was defined")
        case let .joined(parts): return try joined(parts)
        }
    }

    private func value(_ literal: TemplateExpression.Literal) -> TemplateValue {
        switch literal {
        case .none: .none
        case let .bool(value): .bool(value)
        case let .integer(value): .integer(value)
        case let .largeInteger(digits): .largeInteger(digits)
        case let .number(value): .number(value)
        case let .string(text): .string(text)
        }
    }

    private func evaluate(_ parts: [TemplateExpression]) throws(TemplateError) -> [TemplateValue] {
        var values: [TemplateValue] = []
        for part in parts { values.append(try evaluate(part)) }
        return values
    }

    func evaluate(_ arguments: TemplateExpression.Arguments) throws(TemplateError) -> TemplateArguments {
        var result = TemplateArguments(positional: try evaluate(arguments.positional))
        for (name, value) in arguments.named { result.named.append((name, try evaluate(value))) }
        return result
    }

    private func dictionary(_ members: [(key: TemplateExpression, value: TemplateExpression)]) throws(TemplateError) -> TemplateValue {
        var all: [(key: TemplateValue, value: TemplateValue)] = []
        for (key, value) in members { all.append((try hashable(try evaluate(key)), try evaluate(value))) }
        return try made(.dictionary(TemplateDictionary(all)))
    }

    func hashable(_ key: TemplateValue) throws(TemplateError) -> TemplateValue {
        switch key {
        case .list, .tuple, .dictionary: throw invalid("a \(key.typeName) cannot be a key")
        case .undefined, .namespace, .loop, .callable: throw invalid("an \(key.typeName) cannot be a key here")
        default: return key
        }
    }

    private func joined(_ parts: [TemplateExpression]) throws(TemplateError) -> TemplateValue {
        var text = ""
        for part in parts {
            let piece = try string(of: try evaluate(part))
            try charge(1 + piece.utf8.count / 16)
            text += piece
        }
        return .string(text)
    }

    /// A call; `caller` is the body of a call block.
    func evaluateCall(_ expression: TemplateExpression, caller: TemplateMacro?) throws(TemplateError) -> TemplateValue {
        guard case let .call(base, list) = expression.form else { throw invalid("this is no call") }
        let callee = try evaluate(base)
        let arguments = try evaluate(list)
        line = expression.line
        switch callee {
        case let .undefined(message): throw .undefined(line: line, message: message)
        case let .callable(.function(name)): return try callFunction(name, arguments)
        case let .callable(.method(object, name)): return try callMethod(name, of: object, arguments)
        case let .callable(.macro(macro)):
            return try call(macro, scopes: [scopes[0]], arguments, caller: caller.map { .caller($0, scopes) })
        case let .callable(.caller(body, outer)): return try call(body, scopes: outer, arguments, caller: nil)
        case let .loop(state):
            guard let sequence = arguments.value(0, "iterable") else { throw invalid("loop() needs what to go over") }
            return try recurse(state, over: sequence)
        default: throw invalid("'\(callee.typeName)' object is not callable")
        }
    }

    // MARK: Access

    func attribute(_ name: String, of base: TemplateValue) throws(TemplateError) -> TemplateValue {
        switch base {
        case let .undefined(message): throw .undefined(line: line, message: message)
        case let .dictionary(dictionary):
            if TemplateMethods.isMethod(name, of: base) { return .callable(.method(of: base, name)) }
            return dictionary[name] ?? .undefined("'dict object' has no attribute '\(name)'")
        case let .namespace(namespace): return namespace[name] ?? .undefined("'namespace object' has no attribute '\(name)'")
        case let .loop(state): return try attribute(name, of: state)
        default:
            if TemplateMethods.isMethod(name, of: base) { return .callable(.method(of: base, name)) }
            return .undefined("'\(base.typeName) object' has no attribute '\(name)'")
        }
    }

    private func attribute(_ name: String, of loop: TemplateLoopState) throws(TemplateError) -> TemplateValue {
        switch name {
        case "index": return .integer(loop.index + 1)
        case "index0": return .integer(loop.index)
        case "revindex": return .integer(loop.values.count - loop.index)
        case "revindex0": return .integer(loop.values.count - loop.index - 1)
        case "first": return .bool(loop.index == 0)
        case "last": return .bool(loop.index == loop.values.count - 1)
        case "length": return .integer(loop.values.count)
        case "depth": return .integer(loop.depth + 1)
        case "depth0": return .integer(loop.depth)
        case "previtem": return loop.index > 0 ? loop.values[loop.index - 1] : .undefined("there is no previous item")
        case "nextitem": return loop.index + 1 < loop.values.count ? loop.values[loop.index + 1] : .undefined("there is no next item")
        case "cycle", "changed": return .callable(.method(of: .loop(loop), name))
        default: return .undefined("'LoopContext object' has no attribute '\(name)'")
        }
    }

    func item(_ key: TemplateValue, of base: TemplateValue) throws(TemplateError) -> TemplateValue {
        switch base {
        case let .undefined(message): throw .undefined(line: line, message: message)
        case let .dictionary(dictionary):
            try charge(key.string == nil ? 1 + dictionary.count : 1)
            if let value = dictionary[key] { return value }
        case let .list(items), let .tuple(items):
            if let index = key.int {
                let place = index < 0 ? index + items.values.count : index
                return items.values.indices.contains(place)
                    ? items.values[place] : .undefined("'\(base.typeName) object' has no element \(index)")
            }
        case let .string(text):
            if let index = key.int {
                try charge(1 + text.utf8.count / 16)
                let scalars = text.unicodeScalars
                let count = scalars.count
                let place = index < 0 ? index + count : index
                guard place >= 0 && place < count else { return .undefined("'str object' has no element \(index)") }
                return .string(String(scalars[scalars.index(scalars.startIndex, offsetBy: place)]))
            }
        default: break
        }
        if let name = key.string { return try attribute(name, of: base) }
        return .undefined("'\(base.typeName) object' has no element \(try representation(of: key))")
    }

    private func slice(
        _ base: TemplateExpression, _ start: TemplateExpression?, _ stop: TemplateExpression?, _ step: TemplateExpression?
    ) throws(TemplateError) -> TemplateValue {
        let value = try evaluate(base).plain
        func bound(_ expression: TemplateExpression?) throws(TemplateError) -> Int? {
            guard let expression else { return nil }
            let value = try evaluate(expression)
            if case .none = value { return nil }
            guard let index = value.int else { throw invalid("a slice needs integers, not \(value.typeName)") }
            return index
        }
        let (from, to, by) = (try bound(start), try bound(stop), try bound(step) ?? 1)
        guard by != 0 else { throw invalid("a slice cannot step by 0") }
        switch value {
        case let .string(text):
            try charge(1 + text.utf8.count / 4)
            let scalars = Array(text.unicodeScalars)
            return .string(PythonText.string(TemplateInterpreter.places(scalars.count, from, to, by).map { scalars[$0] }))
        case let .list(items):
            try charge(1 + items.values.count)
            return .list(TemplateInterpreter.places(items.values.count, from, to, by).map { items.values[$0] })
        case let .tuple(items):
            try charge(1 + items.values.count)
            return .tuple(TemplateInterpreter.places(items.values.count, from, to, by).map { items.values[$0] })
        case let .undefined(message): throw .undefined(line: line, message: message)
        default: return .undefined("'\(value.typeName) object' cannot be sliced")
        }
    }

    /// The indices of Python's `[start:stop:step]`.
    static func places(_ count: Int, _ start: Int?, _ stop: Int?, _ step: Int) -> [Int] {
        func clamp(_ bound: Int?, _ fallback: Int) -> Int {
            guard let bound else { return fallback }
            let place = bound < 0 ? max(bound, -count - 1) + count : min(bound, count)
            return step > 0 ? min(max(place, 0), count) : min(max(place, -1), count - 1)
        }
        let from = clamp(start, step > 0 ? 0 : count - 1)
        let to = clamp(stop, step > 0 ? count : -1)
        let by = max(min(step, count + 1), -count - 1)  // no step need be longer than the sequence
        return Array(stride(from: from, to: to, by: by))
    }

    /// The elements of something that can be gone over.
    func elements(of value: TemplateValue) throws(TemplateError) -> [TemplateValue] {
        switch value.plain {
        case let .list(items), let .tuple(items): return items.values
        case let .dictionary(dictionary):
            try charge(dictionary.count)
            return dictionary.members.map(\.key)
        case let .string(text):
            try charge(text.utf8.count)
            return text.unicodeScalars.map { .string(String($0)) }
        case .undefined: return []
        default: throw invalid("'\(value.typeName)' object is not iterable")
        }
    }
}
