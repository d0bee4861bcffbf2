/// Which filters there are; what each does is Jinja's (jinja2/filters.py, 3.1) except `tojson`, which is `transformers`'.
enum TemplateFilters {
    static let names: Set<String> = [
        "abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "forceescape",
        "format", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace",
        "reverse", "round", "safe", "select", "selectattr", "slice", "sort", "string", "sum", "title", "tojson", "trim", "truncate", "unique",
        "upper", "wordcount",
    ]
}

extension TemplateInterpreter {
    func applyFilter(_ name: String, to marked: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        let value = marked.plain
        guard TemplateFilters.names.contains(name) else { throw .unsupported(line: line, feature: "the filter", found: name) }
        switch name {
        case "default", "d":
            let usesDefault = value.isUndefined || ((arguments.value(1, "boolean")?.isTrue ?? false) && !value.isTrue)
            return usesDefault ? arguments.value(0, "default_value") ?? .string("") : marked
        case "length", "count": return .integer(try length(of: value))
        case "list": return try made(.list(try elements(of: value)))
        case "string": return .string(try string(of: value))
        case "safe": return .markup(try string(of: value))
        case "e", "escape", "forceescape":
            if name != "forceescape", case .markup = marked { return marked }
            return try made(.markup(PythonText.escaped(try string(of: value))))
        case "items":
            if value.isUndefined { return .list([]) }
            guard case let .dictionary(dictionary) = value else { throw invalid("'items' needs a mapping, not \(value.typeName)") }
            return try made(.list(dictionary.members.map { .tuple([$0.key, $0.value]) }))
        case "tojson": return try toJSON(value, arguments)
        case "attr":
            guard let name = arguments.value(0, "name")?.string else { throw invalid("'attr' needs a name") }
            return try attribute(name, of: value)
        case "int", "float", "abs", "round": return try numberFilter(name, value, arguments)
        case "upper", "lower", "capitalize", "title", "trim", "replace", "indent", "center", "truncate", "wordcount", "format":
            return try made(try textFilter(name, value, arguments))
        default: return try made(try sequenceFilter(name, value, arguments))
        }
    }

    func length(of value: TemplateValue) throws(TemplateError) -> Int {
        switch value.plain {
        case let .string(text):
            try charge(1 + text.utf8.count / 16)
            return text.unicodeScalars.count
        case let .list(items), let .tuple(items): return items.values.count
        case let .dictionary(dictionary): return dictionary.count
        case .undefined: return 0
        default: throw invalid("object of type '\(value.typeName)' has no len()")
        }
    }

    private func count(_ arguments: TemplateArguments, _ index: Int, _ name: String, _ fallback: Int) throws(TemplateError) -> Int {
        guard let value = arguments.value(index, name) else { return fallback }
        if case .none = value { return fallback }
        guard let count = value.int else { throw invalid("'\(name)' needs an integer, not \(value.typeName)") }
        return count
    }

    private func numberFilter(_ name: String, _ value: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        switch name {
        case "int":
            if let integer = value.int { return .integer(integer) }
            let fallback = arguments.value(0, "default") ?? .integer(0)
            if case let .number(number) = value { return Int(exactly: number.rounded(.towardZero)).map { .integer($0) } ?? fallback }
            guard let text = value.string.map({ PythonText.strip($0, nil) }) else { return fallback }
            let base = try count(arguments, 1, "base", 10)
            if (2...36).contains(base), let integer = Int(text.filter { $0 != "_" }, radix: base) { return .integer(integer) }
            return Double(text).flatMap { Int(exactly: $0.rounded(.towardZero)) }.map { .integer($0) } ?? fallback
        case "float":
            if let number = value.double { return .number(number) }
            let text = value.string.map { PythonText.strip($0, nil) }
            return text.flatMap(Double.init).map { .number($0) } ?? arguments.value(0, "default") ?? .number(0)
        case "abs":
            if let integer = value.int, integer != Int.min { return .integer(Swift.abs(integer)) }
            guard let number = value.double else { throw invalid("bad operand type for abs(): '\(value.typeName)'") }
            return .number(Swift.abs(number))
        default:
            guard let number = value.double else { throw invalid("type \(value.typeName) cannot be rounded") }
            let precision = try count(arguments, 0, "precision", 0)
            let method = arguments.value(1, "method")?.string ?? "common"
            if method == "common" {
                if value.int != nil { return value }
                return .number(precision >= 0 ? Double(PythonText.fixed(number, precision)) ?? number : number)
            }
            guard ["ceil", "floor"].contains(method), (-300...300).contains(precision) else { throw invalid("'\(method)' is no way to round") }
            var scale = 1.0
            for _ in 0..<Swift.abs(precision) { scale *= 10 }
            if precision < 0 { scale = 1 / scale }
            return .number((number * scale).rounded(method == "ceil" ? .up : .down) / scale)
        }
    }

    private func textFilter(_ name: String, _ value: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        let text = try string(of: value)
        try charge(1 + text.utf8.count / 16)
        switch name {
        case "upper": return .string(text.uppercased())
        case "lower": return .string(text.lowercased())
        case "capitalize": return .string(PythonText.capitalized(text))
        case "trim": return .string(PythonText.strip(text, arguments.value(0, "chars")?.string))
        case "title":
            // Words begin after white space and - ( { [ <, whatever their letters.
            var (result, word) = ("", "")
            for scalar in text.unicodeScalars {
                word.unicodeScalars.append(scalar)
                if PythonText.isSpace(scalar) || "-({[<".unicodeScalars.contains(scalar) {
                    result += PythonText.capitalized(word)
                    word = ""
                }
            }
            return .string(result + PythonText.capitalized(word))
        case "replace":
            let all = try [arguments.value(0, "old"), arguments.value(1, "new")].map { value throws(TemplateError) in
                guard let value else { throw invalid("'replace' needs what to replace, and by what") }
                return try string(of: value)
            }
            return .string(try replaced(text, all[0], all[1], limit: try count(arguments, 2, "count", -1)))
        case "indent":
            let width = arguments.value(0, "width")?.string
            let amount = width == nil ? try count(arguments, 0, "width", 4) : 0
            try charge(max(0, min(amount, limits.steps + 1)))
            let space = width ?? String(repeating: " ", count: max(0, amount))
            let (first, blank) = (arguments.value(1, "first")?.isTrue ?? false, arguments.value(2, "blank")?.isTrue ?? false)
            let lines = PythonText.lines(text + "\n")
            try charge(lines.count * (1 + space.utf8.count / 16))
            let indented = lines.enumerated().map { $0 == 0 && !first || ($1.isEmpty && !blank && $0 > 0) ? $1 : space + $1 }
            return .string(indented.joined(separator: "\n"))
        case "center":
            let width = try count(arguments, 0, "width", 80)
            try charge(max(0, min(width, limits.steps + 1)))
            return .string(PythonTextPadding.center(text, width))
        case "truncate": return .string(try truncated(text, arguments))
        case "wordcount":
            var (words, isInWord) = (0, false)
            for scalar in text.unicodeScalars {
                let isWord = ScalarClass(scalar).contains(.word) || ScalarClass(scalar).contains(.number)
                if isWord && !isInWord { words += 1 }
                isInWord = isWord
            }
            return .integer(words)
        default: return .string(try percentFormat(text, arguments.positional))
        }
    }

    /// Replaces up to `limit` places (all if negative), counting the length of the result before it is made.
    func replaced(_ text: String, _ old: String, _ new: String, limit: Int) throws(TemplateError) -> String {
        let limit = limit < 0 ? Int.max : limit
        let places = old.isEmpty ? min(text.unicodeScalars.count + 1, limit) : PythonText.matches(of: old, in: text, limit: limit).count
        let (growth, overflows) = places.multipliedReportingOverflow(by: 1 + new.utf8.count / 16)
        try charge(overflows ? limits.steps + 1 : growth)
        return PythonText.replace(text, old, new, limit: limit)
    }

    private func truncated(_ text: String, _ arguments: TemplateArguments) throws(TemplateError) -> String {
        let length = try count(arguments, 0, "length", 255)
        let end = Array((arguments.value(2, "end")?.string ?? "...").unicodeScalars)
        let leeway = try count(arguments, 3, "leeway", 5)
        let scalars = Array(text.unicodeScalars)
        guard length >= end.count, leeway >= 0, leeway < 1 << 32, length < 1 << 32 else { throw invalid("'truncate' to \(length) leaves no room for its end") }
        if scalars.count <= length + leeway { return text }
        let cut = PythonText.string(scalars[..<(length - end.count)])
        if arguments.value(1, "killwords")?.isTrue ?? false { return cut + PythonText.string(end) }
        return PythonText.split(cut, " ", limit: 1, fromEnd: true)[0] + PythonText.string(end)
    }

    // MARK: JSON

    private func toJSON(_ value: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        // transformers: tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)
        var options = JSONOptions()
        options.ascii = arguments.value(0, "ensure_ascii")?.isTrue ?? false
        if let indent = arguments.value(1, "indent") {
            if let text = indent.string {
                options.indent = text
            } else if let width = indent.int {
                try charge(max(0, min(width, limits.steps + 1)))
                options.indent = String(repeating: " ", count: max(0, width))
            }
        }
        if let separators = arguments.value(2, "separators")?.items?.values, separators.count == 2 {
            options.separators = (try string(of: separators[0]), try string(of: separators[1]))
        } else if options.indent != nil {
            options.separators.item = ","
        }
        options.sortsKeys = arguments.value(3, "sort_keys")?.isTrue ?? false
        var out = ""
        try writeJSON(value, options, level: 0, into: &out)
        return try made(.string(out))
    }

    private struct JSONOptions {
        var ascii = false, sortsKeys = false
        var indent: String?
        var separators = (item: ", ", key: ": ")
    }

    private func writeJSON(_ value: TemplateValue, _ options: JSONOptions, level: Int, into out: inout String) throws(TemplateError) {
        try charge()
        func newline(_ level: Int) throws(TemplateError) {
            guard let indent = options.indent else { return }
            try charge(1 + level * indent.utf8.count / 16)
            out += "\n" + String(repeating: indent, count: level)
        }
        switch value.plain {
        case .none: out += "null"
        case let .bool(value): out += value ? "true" : "false"
        case let .integer(value): out += String(value)
        case let .largeInteger(digits): out += digits
        case let .number(value):
            out += value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Infinity" : "Infinity") : PythonText.number(value)
        case let .string(text):
            try charge(1 + text.utf8.count / 16)
            out += PythonText.json(text, ascii: options.ascii)
        case let .list(items), let .tuple(items):
            if items.values.isEmpty { out += "[]"; return }
            out += "["
            for (index, item) in items.values.enumerated() {
                if index > 0 { out += options.separators.item }
                try newline(level + 1)
                try writeJSON(item, options, level: level + 1, into: &out)
            }
            try newline(level)
            out += "]"
        case let .dictionary(dictionary):
            if dictionary.count == 0 { out += "{}"; return }
            var members: [(key: String, value: TemplateValue)] = []
            for (key, value) in dictionary.members { members.append((try jsonKey(key), value)) }
            if options.sortsKeys { members.sort { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } }
            out += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { out += options.separators.item }
                try newline(level + 1)
                out += PythonText.json(member.key, ascii: options.ascii) + options.separators.key
                try writeJSON(member.value, options, level: level + 1, into: &out)
            }
            try newline(level)
            out += "}"
        case .undefined, .namespace, .loop, .callable, .markup: throw invalid("object of type \(value.typeName) is not JSON serializable")
        }
    }

    private func jsonKey(_ key: TemplateValue) throws(TemplateError) -> String {
        switch key {
        case let .string(text): return text
        case .none: return "null"
        case let .bool(value): return value ? "true" : "false"
        case .integer, .largeInteger, .number: return try string(of: key)
        default: throw invalid("keys of JSON are strings or numbers, not \(key.typeName)")
        }
    }
}

/// Padding to a width counted in scalars.
enum PythonTextPadding {
    static func pad(_ text: String, _ width: Int, with fill: String, left: Bool) -> String {
        let missing = width - text.unicodeScalars.count
        guard missing > 0 else { return text }
        let padding = String(repeating: fill, count: missing)
        return left ? padding + text : text + padding
    }
    /// Python puts the odd space to the left if the width is odd, otherwise to the right.
    static func center(_ text: String, _ width: Int) -> String {
        let missing = width - text.unicodeScalars.count
        guard missing > 0 else { return text }
        let left = missing / 2 + (missing & width & 1)
        return String(repeating: " ", count: left) + text + String(repeating: " ", count: missing - left)
    }
}
