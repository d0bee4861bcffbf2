extension TemplateParser {
    mutating func template() throws(TemplateError) -> [TemplateStatement] {
        let body = try statements(until: [])
        guard current.kind == .end else { throw fault("the end of the template") }
        return body
    }

    /// Statements up to a block that begins with one of `ends`, which is left to the caller with its name as the current token.
    private mutating func statements(until ends: [String]) throws(TemplateError) -> [TemplateStatement] {
        try enter()
        defer { nesting -= 1 }
        var result: [TemplateStatement] = []
        while true {
            let start = line
            switch current.kind {
            case let .text(text):
                position += 1
                result.append(TemplateStatement(form: .text(text), line: start))
            case .variableBegin:
                position += 1
                result.append(TemplateStatement(form: .output(try tuple()), line: start))
                guard current.kind == .variableEnd else { throw fault("'}}'") }
                position += 1
            case .blockBegin:
                position += 1
                guard case let .name(name) = current.kind else { throw fault("the name of a statement") }
                if ends.contains(name) { return result }
                position += 1
                result.append(TemplateStatement(form: try statement(name, start), line: start))
            case .end:
                if !ends.isEmpty { throw fault(ends.map { "'{% \($0) %}'" }.joined(separator: " or ")) }
                return result
            default: throw fault("text or a tag")
            }
        }
    }

    private mutating func closeBlock() throws(TemplateError) {
        guard current.kind == .blockEnd else { throw fault("'%}'") }
        position += 1
    }

    /// The statements of a block that one end closes; its end tag is taken.
    private mutating func block(until end: String) throws(TemplateError) -> [TemplateStatement] {
        try closeBlock()
        let body = try statements(until: [end])
        position += 1
        if case .name = current.kind, end == "endmacro" { position += 1 }  // {% endmacro name %}
        try closeBlock()
        return body
    }

    private mutating func statement(_ name: String, _ start: Int) throws(TemplateError) -> TemplateStatement.Form {
        switch name {
        case "if": return try condition()
        case "for": return try loop()
        case "set": return try assignment()
        case "macro":
            let name = try self.name()
            let parameters = try self.parameters()
            return .macro(TemplateMacro(name: name, parameters: parameters, body: try block(until: "endmacro")))
        case "call":
            let parameters = isSymbol("(") ? try self.parameters() : []
            let call = try expression()
            guard case .call = call.form else { throw fault("a call") }
            return .call(TemplateMacro(name: "caller", parameters: parameters, body: try block(until: "endcall")), call)
        case "filter":
            let filters = try filterChain(first: true)
            return .filter(filters, try block(until: "endfilter"))
        case "with":
            var bindings: [(target: TemplateTarget, value: TemplateExpression)] = []
            while current.kind != .blockEnd {
                let target = TemplateTarget.name(try self.name())
                try expect("=")
                bindings.append((target, try expression()))
                if !take(",") { break }
            }
            return .with(bindings, try block(until: "endwith"))
        case "generation": return .generation(try block(until: "endgeneration"))
        case "break", "continue":
            try closeBlock()
            return name == "break" ? .leave : .next
        default: throw .unsupported(line: start, feature: "the statement", found: name)
        }
    }

    private mutating func condition() throws(TemplateError) -> TemplateStatement.Form {
        var branches: [(condition: TemplateExpression, body: [TemplateStatement])] = []
        var otherwise: [TemplateStatement] = []
        var condition = try tuple(conditional: false)
        while true {
            try closeBlock()
            branches.append((condition, try statements(until: ["elif", "else", "endif"])))
            let word = try name()
            if word == "elif" {
                condition = try tuple(conditional: false)
                continue
            }
            if word == "else" {
                try closeBlock()
                otherwise = try statements(until: ["endif"])
                position += 1
            }
            try closeBlock()
            return .condition(branches, otherwise: otherwise)
        }
    }

    private mutating func loop() throws(TemplateError) -> TemplateStatement.Form {
        let target = try self.target()
        guard takeName("in") else { throw fault("'in'") }
        let sequence = try tuple(conditional: false)
        let condition = takeName("if") ? try expression() : nil
        let isRecursive = takeName("recursive")
        try closeBlock()
        let body = try statements(until: ["endfor", "else"])
        var otherwise: [TemplateStatement] = []
        if try name() == "else" {
            try closeBlock()
            otherwise = try statements(until: ["endfor"])
            position += 1
        }
        try closeBlock()
        return .loop(
            TemplateLoop(
                target: target, sequence: sequence, condition: condition, body: body, otherwise: otherwise, isRecursive: isRecursive))
    }

    private mutating func assignment() throws(TemplateError) -> TemplateStatement.Form {
        let target = try self.target()
        if take("=") {
            let value = try tuple()
            try closeBlock()
            return .set(target, value)
        }
        let filters = try filterChain(first: false)
        return .setBlock(target, filters, try block(until: "endset"))
    }

    private mutating func filterChain(first: Bool) throws(TemplateError) -> TemplateStatement.Filters {
        var result: TemplateStatement.Filters = []
        if first { result.append(try filter()) }
        while take("|") { result.append(try filter()) }
        return result
    }

    private mutating func target() throws(TemplateError) -> TemplateTarget {
        var parts: [TemplateTarget] = []
        var isTuple = false
        repeat {
            if isName("in") || isSymbol("=") { break }
            if take("(") {
                try enter()
                defer { nesting -= 1 }
                parts.append(try target())
                try expect(")")
            } else {
                let name = try self.name()
                parts.append(take(".") ? .attribute(of: name, try self.name()) : .name(name))
            }
            if isSymbol(",") { isTuple = true }
        } while take(",")
        guard let first = parts.first else { throw fault("a name") }
        return isTuple ? .tuple(parts) : first
    }

    private mutating func parameters() throws(TemplateError) -> [(name: String, fallback: TemplateExpression?)] {
        try expect("(")
        var result: [(name: String, fallback: TemplateExpression?)] = []
        while !isSymbol(")") {
            let name = try self.name()
            let fallback = take("=") ? try expression() : nil
            if fallback == nil, result.last?.fallback != nil { throw fault("a default for '\(name)', as the parameter before it has one") }
            result.append((name, fallback))
            if !take(",") { break }
        }
        try expect(")")
        return result
    }
}
