import Foundation

extension TemplateInterpreter {
    func unary(_ symbol: String, _ value: TemplateValue) throws(TemplateError) -> TemplateValue {
        if symbol == "not" { return .bool(!value.isTrue) }
        if case let .undefined(message) = value { throw .undefined(line: line, message: message) }
        if let integer = value.int {
            if symbol == "+" { return .integer(integer) }
            guard integer != Int.min else { throw overflow() }
            return .integer(-integer)
        }
        guard case let .number(number) = value else { throw invalid("'\(symbol)' has no meaning for \(value.typeName)") }
        return .number(symbol == "-" ? -number : number)
    }

    private func overflow() -> TemplateError { invalid("integers beyond 64 bits are not computed with") }

    func binary(_ symbol: String, _ first: TemplateExpression, _ second: TemplateExpression) throws(TemplateError) -> TemplateValue {
        let left = try evaluate(first)
        if symbol == "and" { return left.isTrue ? try evaluate(second) : left }
        if symbol == "or" { return left.isTrue ? left : try evaluate(second) }
        let right = try evaluate(second)
        line = first.line
        for value in [left, right] { if case let .undefined(message) = value { throw .undefined(line: line, message: message) } }
        if let a = left.int, let b = right.int { return try arithmetic(symbol, a, b) }
        if let a = left.double, let b = right.double { return .number(try arithmetic(symbol, a, b)) }
        switch (symbol, left, right) {
        case let ("+", .markup(a), .markup(b)): return try made(.markup(a + b))
        case let ("+", .markup(a), .string(b)): return try made(.markup(a + PythonText.escaped(b)))
        case let ("+", .string(a), .markup(b)): return try made(.markup(PythonText.escaped(a) + b))
        case let ("+", .string(a), .string(b)): return try made(.string(a + b))
        case let ("+", .list(a), .list(b)): return try made(.list(a.values + b.values))
        case let ("+", .tuple(a), .tuple(b)): return try made(.tuple(a.values + b.values))
        case let ("%", .string(format), _), let ("%", .markup(format), _):
            return try made(.string(try percentFormat(format, right.items?.values ?? [right])))
        case let ("*", .string(text), _), let ("*", .markup(text), _):
            guard let count = right.int else { break }
            try charge(repeats: count, 1 + text.utf8.count / 16)
            return .string(String(repeating: text, count: max(0, count)))
        case let ("*", .list(items), _):
            guard let count = right.int else { break }
            try charge(repeats: count, items.values.count)
            return .list((0..<max(0, count)).flatMap { _ in items.values })
        case let ("*", _, .string(text)) where left.int != nil:
            try charge(repeats: left.int ?? 0, 1 + text.utf8.count / 16)
            return .string(String(repeating: text, count: max(0, left.int ?? 0)))
        default: break
        }
        throw invalid("'\(symbol)' has no meaning for \(left.typeName) and \(right.typeName)")
    }

    /// Counts `size` pieces `count` times, before they are made.
    private func charge(repeats count: Int, _ size: Int) throws(TemplateError) {
        let (cost, overflows) = max(0, count).multipliedReportingOverflow(by: size + 1)
        try charge(overflows || cost > limits.steps ? limits.steps + 1 : cost)
    }

    private func arithmetic(_ symbol: String, _ a: Int, _ b: Int) throws(TemplateError) -> TemplateValue {
        func checked(_ result: (partialValue: Int, overflow: Bool)) throws(TemplateError) -> TemplateValue {
            if result.overflow { throw overflow() }
            return .integer(result.partialValue)
        }
        switch symbol {
        case "+": return try checked(a.addingReportingOverflow(b))
        case "-": return try checked(a.subtractingReportingOverflow(b))
        case "*": return try checked(a.multipliedReportingOverflow(by: b))
        case "**":
            if b < 0 { return .number(pow(Double(a), Double(b))) }
            var (result, base, exponent) = (1, a, b)
            while exponent > 0 {
                if exponent & 1 == 1 {
                    let (value, overflows) = result.multipliedReportingOverflow(by: base)
                    if overflows { throw overflow() }
                    result = value
                }
                exponent >>= 1
                if exponent > 0 {
                    let (value, overflows) = base.multipliedReportingOverflow(by: base)
                    if overflows { throw overflow() }
                    base = value
                }
            }
            return .integer(result)
        default:
            guard b != 0 else { throw invalid("division by zero") }
            if symbol == "/" { return .number(Double(a) / Double(b)) }
            if b == -1 { return symbol == "%" ? .integer(0) : try checked((0).subtractingReportingOverflow(a)) }
            let (quotient, remainder) = a.quotientAndRemainder(dividingBy: b)
            let adjusts = remainder != 0 && (remainder < 0) != (b < 0)
            return .integer(symbol == "%" ? (adjusts ? remainder + b : remainder) : (adjusts ? quotient - 1 : quotient))
        }
    }

    private func arithmetic(_ symbol: String, _ a: Double, _ b: Double) throws(TemplateError) -> Double {
        switch symbol {
        case "+": return a + b
        case "-": return a - b
        case "*": return a * b
        case "**": return pow(a, b)
        default:
            guard b != 0 else { throw invalid("division by zero") }
            if symbol == "/" { return a / b }
            return symbol == "//" ? (a / b).rounded(.down) : a - (a / b).rounded(.down) * b
        }
    }

    func compare(_ first: TemplateExpression, _ rest: [(symbol: String, value: TemplateExpression)]) throws(TemplateError) -> TemplateValue {
        var left = try evaluate(first)
        for (symbol, expression) in rest {
            let right = try evaluate(expression)
            line = expression.line
            if !(try compare(symbol, left, right)) { return .bool(false) }
            left = right
        }
        return .bool(true)
    }

    func compare(_ symbol: String, _ first: TemplateValue, _ second: TemplateValue) throws(TemplateError) -> Bool {
        let (left, right) = (first.plain, second.plain)
        switch symbol {
        case "==": return try isEqual(left, right)
        case "!=": return !(try isEqual(left, right))
        case "in": return try contains(right, left)
        case "not in": return !(try contains(right, left))
        case "<": return try isLess(left, right)
        case ">": return try isLess(right, left)
        case "<=": return !(try isLess(right, left))
        default: return !(try isLess(left, right))
        }
    }

    func isEqual(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateError) -> Bool {
        // Shared parts are walked each time they are met, so the walk is counted in full.
        let budget = limits.steps - steps + 1
        try charge(min(left.size(limit: budget), right.size(limit: budget)))
        return left.isEqual(to: right)
    }

    private func contains(_ container: TemplateValue, _ element: TemplateValue) throws(TemplateError) -> Bool {
        switch container {
        case let .string(text):
            guard let part = element.string else { throw invalid("'in <string>' needs a string, not \(element.typeName)") }
            try charge(1 + text.utf8.count / 16)
            return PythonText.contains(text, part)
        case let .dictionary(dictionary):
            try charge(element.string == nil ? 1 + dictionary.count : 1)
            return dictionary[element] != nil
        default:
            for value in try elements(of: container) where try isEqual(value, element) { return true }
            return false
        }
    }

    /// Python's order: numbers among themselves, strings by code point, lists by their first difference.
    func isLess(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateError) -> Bool {
        try charge()
        for value in [left, right] { if case let .undefined(message) = value { throw .undefined(line: line, message: message) } }
        if let a = left.int, let b = right.int { return a < b }
        if let a = left.double, let b = right.double { return a < b }
        switch (left.plain, right.plain) {
        case let (.string(a), .string(b)):
            try charge(1 + min(a.utf8.count, b.utf8.count) / 16)
            return a.utf8.lexicographicallyPrecedes(b.utf8)
        case let (.list(a), .list(b)), let (.tuple(a), .tuple(b)):
            for (x, y) in zip(a.values, b.values) where !(try isEqual(x, y)) { return try isLess(x, y) }
            return a.values.count < b.values.count
        default: throw invalid("'<' has no meaning for \(left.typeName) and \(right.typeName)")
        }
    }

    // MARK: Text of values

    /// Python's `str`.
    func string(of value: TemplateValue) throws(TemplateError) -> String {
        switch value {
        case let .string(text), let .markup(text): return text
        case .undefined: return ""
        default: return try representation(of: value)
        }
    }

    /// Python's `repr`.
    func representation(of value: TemplateValue) throws(TemplateError) -> String {
        var out = ""
        try represent(value, into: &out)
        return out
    }

    private func represent(_ value: TemplateValue, into out: inout String) throws(TemplateError) {
        try charge()
        switch value.plain {
        case .undefined: out += "Undefined"
        case .none: out += "None"
        case let .bool(value): out += value ? "True" : "False"
        case let .integer(value): out += String(value)
        case let .largeInteger(digits): out += digits
        case let .number(value): out += PythonText.number(value)
        case let .string(text):
            try charge(1 + text.utf8.count / 16)
            out += PythonText.quoted(text)
        case let .list(items):
            out += "["
            try represent(items.values, into: &out)
            out += "]"
        case let .tuple(items):
            out += "("
            try represent(items.values, into: &out)
            out += items.values.count == 1 ? ",)" : ")"
        case let .dictionary(dictionary):
            out += "{"
            for (index, member) in dictionary.members.enumerated() {
                if index > 0 { out += ", " }
                try represent(member.key, into: &out)
                out += ": "
                try represent(member.value, into: &out)
            }
            out += "}"
        case .namespace, .loop, .callable, .markup: out += "<\(value.typeName)>"
        }
    }

    private func represent(_ values: [TemplateValue], into out: inout String) throws(TemplateError) {
        for (index, value) in values.enumerated() {
            if index > 0 { out += ", " }
            try represent(value, into: &out)
        }
    }

    /// Python's `%` on strings: `%s`, `%r`, `%d`, `%i`, `%x`, `%f` with an optional `.N`, and `%%`.
    func percentFormat(_ format: String, _ values: [TemplateValue]) throws(TemplateError) -> String {
        var out = String.UnicodeScalarView()
        var rest = format.unicodeScalars[...]
        var values = values[...]
        while let scalar = rest.popFirst() {
            guard scalar == "%" else { out.append(scalar); continue }
            var decimals = 6
            if rest.first == "." {
                rest.removeFirst()
                let digits = String(rest.prefix { ("0"..."9").contains($0) })
                rest = rest.dropFirst(digits.utf8.count)
                decimals = Int(digits) ?? 0
            }
            guard let kind = rest.popFirst() else { throw invalid("the format ends with '%'") }
            if kind == "%" { out.append("%"); continue }
            guard let value = values.popFirst() else { throw invalid("not enough arguments for the format string") }
            let text: String
            switch kind {
            case "s": text = try string(of: value)
            case "r": text = try representation(of: value)
            case "d", "i", "x", "f":
                guard let number = value.double else { throw invalid("'%\(kind)' needs a number, not \(value.typeName)") }
                if kind == "f" { text = PythonText.fixed(number, decimals); break }
                guard let integer = value.int ?? Int(exactly: number.rounded(.towardZero)) else { throw overflow() }
                text = String(integer, radix: kind == "x" ? 16 : 10)
            default: throw .unsupported(line: line, feature: "the format", found: "%\(kind)")
            }
            try charge(1 + text.utf8.count / 16)
            out.append(contentsOf: text.unicodeScalars)
        }
        if !values.isEmpty { throw invalid("not all arguments are used by the format string") }
        return String(out)
    }
}
