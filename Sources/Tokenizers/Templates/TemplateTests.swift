/// Which tests (`x is …`) there are (jinja2/tests.py, 3.1).
enum TemplateTests {
    static let names: Set<String> = [
        "defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping", "iterable", "sequence",
        "callable", "odd", "even", "divisibleby", "equalto", "eq", "==", "ne", "!=", "lt", "lessthan", "<", "le", "<=", "gt", "greaterthan", ">",
        "ge", ">=", "in", "sameas", "lower", "upper", "filter", "test", "escaped",
    ]
}

extension TemplateInterpreter {
    func test(_ name: String, _ marked: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> Bool {
        if name == "escaped" { if case .markup = marked { return true } else { return false } }
        let value = marked.plain
        switch name {
        case "defined": return !value.isUndefined
        case "undefined": return value.isUndefined
        case "none": if case .none = value { return true } else { return false }
        case "boolean": if case .bool = value { return true } else { return false }
        case "true": if case .bool(true) = value { return true } else { return false }
        case "false": if case .bool(false) = value { return true } else { return false }
        case "integer": if case .integer = value { return true } else if case .largeInteger = value { return true } else { return false }
        case "float": if case .number = value { return true } else { return false }
        case "number": return value.double != nil
        case "string": return value.string != nil
        case "mapping": if case .dictionary = value { return true } else { return false }
        case "iterable", "sequence":
            switch value {
            case .string, .list, .tuple, .dictionary, .undefined: return true
            default: return false
            }
        case "callable": if case .callable = value { return true } else { return false }
        case "odd", "even", "divisibleby": return try divides(name, value, arguments)
        case "lower", "upper":
            let text = try string(of: value)
            try charge(1 + text.utf8.count / 16)
            let isCased = text.unicodeScalars.contains { $0.properties.isCased }
            return isCased && (name == "lower" ? text.lowercased() : text.uppercased()) == text
        case "filter": return TemplateFilters.names.contains(value.string ?? "")
        case "test": return TemplateTests.names.contains(value.string ?? "")
        default:
            guard TemplateTests.names.contains(name) else { throw .unsupported(line: line, feature: "the test", found: name) }
            guard let other = arguments.positional.first ?? arguments.named.first?.value else { throw invalid("the test '\(name)' needs an argument") }
            switch name {
            case "equalto", "eq", "==": return try compare("==", value, other)
            case "ne", "!=": return try compare("!=", value, other)
            case "lt", "lessthan", "<": return try compare("<", value, other)
            case "le", "<=": return try compare("<=", value, other)
            case "gt", "greaterthan", ">": return try compare(">", value, other)
            case "ge", ">=": return try compare(">=", value, other)
            case "in": return try compare("in", value, other)
            default:  // sameas: the same object, which for the values of one kind means equal
                guard value.typeName == other.typeName else { return false }
                return try isEqual(value, other)
            }
        }
    }

    private func divides(_ name: String, _ value: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> Bool {
        guard let number = value.int else { throw invalid("the test '\(name)' needs an integer, not \(value.typeName)") }
        if name != "divisibleby" { return (number & 1 == 1) == (name == "odd") }
        guard let divisor = arguments.value(0, "num")?.int, divisor != 0 else { throw invalid("the test 'divisibleby' needs an integer other than 0") }
        return divisor == -1 || number % divisor == 0
    }
}
