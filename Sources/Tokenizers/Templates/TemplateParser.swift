/// Recursive descent over tokens, in the precedence of jinja2/parser.py (3.1). Statements are in `TemplateParser+Statements`.
struct TemplateParser {
    let tokens: [TemplateToken]
    var position = 0
    var nesting = 0
    /// Bounds the parser's own recursion.
    static let nestingLimit = 100

    static func parse(_ source: String) throws(TemplateError) -> [TemplateStatement] {
        var parser = TemplateParser(tokens: try TemplateLexer.tokens(of: source))
        return try parser.template()
    }

    init(tokens: [TemplateToken]) { self.tokens = tokens }

    var current: TemplateToken { tokens[min(position, tokens.count - 1)] }
    var line: Int { current.line }

    func isSymbol(_ symbol: String) -> Bool { current.kind == .symbol(symbol) }
    func isName(_ name: String) -> Bool { current.kind == .name(name) }

    mutating func take(_ symbol: String) -> Bool {
        guard isSymbol(symbol) else { return false }
        position += 1
        return true
    }
    mutating func takeName(_ name: String) -> Bool {
        guard isName(name) else { return false }
        position += 1
        return true
    }
    func fault(_ expected: String) -> TemplateError { .syntax(line: line, found: current.found, expected: expected) }
    mutating func expect(_ symbol: String) throws(TemplateError) { if !take(symbol) { throw fault("'\(symbol)'") } }
    mutating func name() throws(TemplateError) -> String {
        guard case let .name(name) = current.kind else { throw fault("a name") }
        position += 1
        return name
    }

    mutating func enter() throws(TemplateError) {
        nesting += 1
        if nesting > TemplateParser.nestingLimit {
            throw .limit(line: line, quantity: "levels of nesting", limit: TemplateParser.nestingLimit)
        }
    }

    private func node(_ form: TemplateExpression.Form, _ line: Int) throws(TemplateError) -> TemplateExpression {
        try TemplateExpression(form, line: line)
    }

    mutating func expression(conditional: Bool = true) throws(TemplateError) -> TemplateExpression {
        try enter()
        defer { nesting -= 1 }
        let start = line
        var result = try disjunction()
        while conditional, takeName("if") {
            let condition = try disjunction()
            let other = takeName("else") ? try expression() : nil
            result = try node(.conditional(condition, then: result, else: other), start)
        }
        return result
    }

    /// `a, b` without brackets is a tuple.
    mutating func tuple(conditional: Bool = true) throws(TemplateError) -> TemplateExpression {
        let start = line
        let first = try expression(conditional: conditional)
        guard isSymbol(",") else { return first }
        var parts = [first]
        while take(",") {
            if current.kind == .variableEnd || current.kind == .blockEnd || isSymbol(")") || isSymbol("=") { break }
            parts.append(try expression(conditional: conditional))
        }
        return try node(.tuple(parts), start)
    }

    private mutating func disjunction() throws(TemplateError) -> TemplateExpression {
        let start = line
        var left = try conjunction()
        while takeName("or") { left = try node(.binary("or", left, try conjunction()), start) }
        return left
    }

    private mutating func conjunction() throws(TemplateError) -> TemplateExpression {
        let start = line
        var left = try negation()
        while takeName("and") { left = try node(.binary("and", left, try negation()), start) }
        return left
    }

    private mutating func negation() throws(TemplateError) -> TemplateExpression {
        let start = line
        if takeName("not") {
            try enter()
            defer { nesting -= 1 }
            return try node(.unary("not", try negation()), start)
        }
        return try comparison()
    }

    private mutating func comparison() throws(TemplateError) -> TemplateExpression {
        let start = line
        let first = try sum()
        var rest: [(symbol: String, value: TemplateExpression)] = []
        while true {
            if case let .symbol(symbol) = current.kind, ["==", "!=", "<", "<=", ">", ">="].contains(symbol) {
                position += 1
                rest.append((symbol, try sum()))
            } else if takeName("in") {
                rest.append(("in", try sum()))
            } else if isName("not"), position + 1 < tokens.count, tokens[position + 1].kind == .name("in") {
                position += 2
                rest.append(("not in", try sum()))
            } else {
                return rest.isEmpty ? first : try node(.compare(first, rest), start)
            }
        }
    }

    private mutating func sum() throws(TemplateError) -> TemplateExpression {
        let start = line
        var left = try joined()
        while case let .symbol(symbol) = current.kind, symbol == "+" || symbol == "-" {
            position += 1
            left = try node(.binary(symbol, left, try joined()), start)
        }
        return left
    }

    private mutating func joined() throws(TemplateError) -> TemplateExpression {
        let start = line
        var parts = [try product()]
        while take("~") { parts.append(try product()) }
        return parts.count == 1 ? parts[0] : try node(.joined(parts), start)
    }

    private mutating func product() throws(TemplateError) -> TemplateExpression {
        let start = line
        var left = try power()
        while case let .symbol(symbol) = current.kind, ["*", "/", "//", "%"].contains(symbol) {
            position += 1
            left = try node(.binary(symbol, left, try power()), start)
        }
        return left
    }

    private mutating func power() throws(TemplateError) -> TemplateExpression {
        let start = line
        var left = try unary()
        while take("**") { left = try node(.binary("**", left, try unary()), start) }
        return left
    }

    private mutating func unary(filters: Bool = true) throws(TemplateError) -> TemplateExpression {
        let start = line
        var result: TemplateExpression
        if isSymbol("-") || isSymbol("+") {
            let symbol = isSymbol("-") ? "-" : "+"
            position += 1
            try enter()
            defer { nesting -= 1 }
            result = try node(.unary(symbol, try unary(filters: false)), start)
        } else {
            result = try postfix(try primary())
        }
        return filters ? try filtered(result) : result
    }

    private mutating func postfix(_ base: TemplateExpression) throws(TemplateError) -> TemplateExpression {
        var result = base
        while true {
            let start = line
            if take(".") {
                if case let .integer(index) = current.kind {
                    position += 1
                    result = try node(.item(result, try node(.literal(.integer(index)), start)), start)
                } else {
                    result = try node(.attribute(result, try name()), start)
                }
            } else if take("[") {
                result = try subscripted(result, start)
            } else if isSymbol("(") {
                result = try node(.call(result, try arguments()), start)
            } else {
                return result
            }
        }
    }

    private mutating func subscripted(_ base: TemplateExpression, _ start: Int) throws(TemplateError) -> TemplateExpression {
        var parts: [TemplateExpression?] = [nil]
        while !isSymbol("]") {
            if take(":") {
                parts.append(nil)
                if parts.count > 3 { throw fault("']'") }
            } else {
                parts[parts.count - 1] = try tuple()
                if !isSymbol(":") && !isSymbol("]") { throw fault("']'") }
            }
        }
        try expect("]")
        if parts.count > 1 {
            return try node(.slice(base, start: parts[0], stop: parts[1], step: parts.count > 2 ? parts[2] : nil), start)
        }
        guard let key = parts[0] else { throw fault("a subscript") }
        return try node(.item(base, key), start)
    }

    mutating func arguments() throws(TemplateError) -> TemplateExpression.Arguments {
        try expect("(")
        var result = TemplateExpression.Arguments()
        while !isSymbol(")") {
            if isSymbol("*") || isSymbol("**") { throw .unsupported(line: line, feature: "argument", found: "*") }
            if case let .name(name) = current.kind, position + 1 < tokens.count, tokens[position + 1].kind == .symbol("=") {
                position += 2
                result.named.append((name, try expression()))
            } else {
                if !result.named.isEmpty { throw fault("a named argument") }
                result.positional.append(try expression())
            }
            if !take(",") { break }
        }
        try expect(")")
        return result
    }

    private mutating func filtered(_ base: TemplateExpression) throws(TemplateError) -> TemplateExpression {
        var result = base
        while true {
            let start = line
            if take("|") {
                let (name, arguments) = try filter()
                result = try node(.filter(result, name, arguments), start)
            } else if takeName("is") {
                result = try test(result, start)
            } else if isSymbol("(") {
                result = try node(.call(result, try arguments()), start)
            } else {
                return result
            }
        }
    }

    mutating func filter() throws(TemplateError) -> (String, TemplateExpression.Arguments) {
        let start = line
        var filter = try name()
        while take(".") { filter += "." + (try name()) }
        guard TemplateFilters.names.contains(filter) else { throw .unsupported(line: start, feature: "the filter", found: filter) }
        return (filter, isSymbol("(") ? try arguments() : TemplateExpression.Arguments())
    }

    private mutating func test(_ base: TemplateExpression, _ start: Int) throws(TemplateError) -> TemplateExpression {
        let isNegated = takeName("not")
        let test = try name()
        guard TemplateTests.names.contains(test) else { throw .unsupported(line: start, feature: "the test", found: test) }
        var arguments = TemplateExpression.Arguments()
        if isSymbol("(") {
            arguments = try self.arguments()
        } else {
            switch current.kind {
            case .name("else"), .name("or"), .name("and"), .name("is"), .name("if"), .name("in"), .name("not"): break
            case .name, .string, .integer, .number, .symbol("["), .symbol("{"): arguments.positional = [try postfix(try primary())]
            default: break
            }
        }
        return try node(.test(base, test, arguments, isNegated: isNegated), start)
    }

    private mutating func primary() throws(TemplateError) -> TemplateExpression {
        let start = line
        let token = current
        position += 1
        switch token.kind {
        case .name("true"), .name("True"): return try node(.literal(.bool(true)), start)
        case .name("false"), .name("False"): return try node(.literal(.bool(false)), start)
        case .name("none"), .name("None"): return try node(.literal(.none), start)
        case let .name(name):
            if ["if", "else", "in", "is", "and", "or", "not"].contains(name) { position -= 1; throw fault("an expression") }
            return try node(.name(name), start)
        case let .integer(value): return try node(.literal(.integer(value)), start)
        case let .largeInteger(digits): return try node(.literal(.largeInteger(digits)), start)
        case let .number(value): return try node(.literal(.number(value)), start)
        case let .string(first):
            var text = first
            while case let .string(more) = current.kind {
                text += more
                position += 1
            }
            return try node(.literal(.string(text)), start)
        case .symbol("("):
            if take(")") { return try node(.tuple([]), start) }
            let inner = try tuple()
            try expect(")")
            return inner
        case .symbol("["): return try node(.list(try items(until: "]")), start)
        case .symbol("{"): return try dictionary(start)
        default:
            position -= 1
            throw fault("an expression")
        }
    }

    private mutating func items(until close: String) throws(TemplateError) -> [TemplateExpression] {
        var items: [TemplateExpression] = []
        while !isSymbol(close) {
            items.append(try expression())
            if !take(",") { break }
        }
        try expect(close)
        return items
    }

    private mutating func dictionary(_ start: Int) throws(TemplateError) -> TemplateExpression {
        var members: [(key: TemplateExpression, value: TemplateExpression)] = []
        while !isSymbol("}") {
            let key = try expression()
            try expect(":")
            members.append((key, try expression()))
            if !take(",") { break }
        }
        try expect("}")
        return try node(.dictionary(members), start)
    }
}
