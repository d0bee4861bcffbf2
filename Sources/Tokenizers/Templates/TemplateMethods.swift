/// Methods of strings, dictionaries, lists and loops (Python's). Those that would change a value are known, to be refused.
enum TemplateMethods {
    static let string: Set<String> = [
        "upper", "lower", "strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "replace", "title", "capitalize", "find",
        "rfind", "index", "count", "join", "format", "isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower", "isnumeric", "isdecimal",
        "splitlines", "zfill", "ljust", "rjust", "center", "removeprefix", "removesuffix", "partition", "rpartition", "casefold", "swapcase",
    ]
    static let dictionary: Set<String> = ["items", "keys", "values", "get", "copy"]
    static let list: Set<String> = ["index", "count", "copy"]
    static let changing: Set<String> = [
        "update", "pop", "popitem", "setdefault", "clear", "append", "extend", "insert", "remove", "reverse", "sort",
    ]

    static func isMethod(_ name: String, of value: TemplateValue) -> Bool {
        switch value {
        case .string: string.contains(name)
        case .dictionary: dictionary.contains(name) || ["update", "pop", "popitem", "setdefault", "clear"].contains(name)
        case .list: list.contains(name) || ["pop", "clear", "append", "extend", "insert", "remove", "reverse", "sort"].contains(name)
        case .tuple: ["index", "count"].contains(name)
        default: false
        }
    }
}

extension TemplateInterpreter {
    func callMethod(_ name: String, of object: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        switch object {
        case let .string(text): return try made(try stringMethod(name, text, arguments))
        case let .dictionary(dictionary):
            switch name {
            case "items": return try made(.list(dictionary.members.map { .tuple([$0.key, $0.value]) }))
            case "keys": return try made(.list(dictionary.members.map(\.key)))
            case "values": return try made(.list(dictionary.members.map(\.value)))
            case "copy": return object
            case "get":
                guard let key = arguments.value(0, "key") else { throw invalid("'get' needs a key") }
                try charge(key.string == nil ? 1 + dictionary.count : 1)
                return dictionary[key] ?? arguments.value(1, "default") ?? .none
            default: break
            }
        case let .list(items), let .tuple(items):
            if name == "copy" { return object }
            guard name == "index" || name == "count", let element = arguments.positional.first else { break }
            var count = 0
            for (place, value) in items.values.enumerated() where try isEqual(value, element) {
                if name == "index" { return .integer(place) }
                count += 1
            }
            if name == "count" { return .integer(count) }
            throw invalid("the value is not in the list")
        case let .loop(state):
            if name == "cycle" {
                guard !arguments.positional.isEmpty else { throw invalid("no items for cycling given") }
                return arguments.positional[state.index % arguments.positional.count]
            }
            for value in arguments.positional { try storable(value) }
            let isSame = try state.changedTo.map { last throws(TemplateError) in try isEqual(.tuple(last), .tuple(arguments.positional)) }
            state.changedTo = arguments.positional
            return .bool(!(isSame ?? false))
        default: break
        }
        if TemplateMethods.changing.contains(name) {
            throw .forbidden(line: line, message: "access to attribute '\(name)' of '\(object.typeName)' object is unsafe")
        }
        throw invalid("'\(name)' of \(object.typeName) cannot be called so")
    }

    private func text(_ arguments: TemplateArguments, _ index: Int, _ name: String, _ method: String) throws(TemplateError) -> String {
        guard let value = arguments.value(index, name) else { throw invalid("'\(method)' needs an argument") }
        guard let text = value.string else { throw invalid("'\(method)' needs a string, not \(value.typeName)") }
        return text
    }

    /// A string or nothing.
    private func optionalText(_ arguments: TemplateArguments, _ index: Int, _ name: String, _ method: String) throws(TemplateError) -> String? {
        guard let value = arguments.value(index, name) else { return nil }
        if case .none = value { return nil }
        return try text(arguments, index, name, method)
    }

    private func stringMethod(_ name: String, _ text: String, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        try charge(1 + text.utf8.count / 16)
        switch name {
        case "upper": return .string(text.uppercased())
        case "lower", "casefold": return .string(text.lowercased())
        case "title": return .string(PythonText.title(text))
        case "capitalize": return .string(PythonText.capitalized(text))
        case "swapcase":
            return .string(text.unicodeScalars.map { $0.properties.isUppercase ? $0.properties.lowercaseMapping : $0.properties.uppercaseMapping }.joined())
        case "strip", "lstrip", "rstrip":
            let set = try optionalText(arguments, 0, "chars", name)
            return .string(PythonText.strip(text, set, left: name != "rstrip", right: name != "lstrip"))
        case "split", "rsplit":
            let limit = arguments.value(1, "maxsplit")?.int ?? -1
            let most = limit < 0 ? Int.max : limit
            try charge(text.utf8.count / 4)
            guard let separator = try optionalText(arguments, 0, "sep", name) else {
                return .list(PythonText.words(text, limit: most, fromEnd: name == "rsplit").map { .string($0) })
            }
            if separator.isEmpty { throw invalid("empty separator") }
            return .list(PythonText.split(text, separator, limit: most, fromEnd: name == "rsplit").map { .string($0) })
        case "splitlines":
            try charge(text.utf8.count / 4)
            return .list(PythonText.lines(text).map { .string($0) })
        case "partition", "rpartition":
            let separator = try self.text(arguments, 0, "sep", name)
            if separator.isEmpty { throw invalid("empty separator") }
            let parts = PythonText.split(text, separator, limit: 1, fromEnd: name == "rpartition")
            if parts.count == 2 { return .tuple([.string(parts[0]), .string(separator), .string(parts[1])]) }
            return .tuple(name == "partition" ? [.string(text), .string(""), .string("")] : [.string(""), .string(""), .string(text)])
        case "replace":
            let (old, new) = (try self.text(arguments, 0, "old", name), try self.text(arguments, 1, "new", name))
            return .string(try replaced(text, old, new, limit: arguments.value(2, "count")?.int ?? -1))
        case "join":
            guard let list = arguments.positional.first else { throw invalid("'join' needs a list") }
            var parts: [String] = []
            for value in try elements(of: list) {
                guard let part = value.string else { throw invalid("'join' needs strings, not \(value.typeName)") }
                try charge(1 + (part.utf8.count + text.utf8.count) / 16)
                parts.append(part)
            }
            return .string(parts.joined(separator: text))
        case "format": return .string(try format(text, arguments))
        case "zfill", "ljust", "rjust", "center": return .string(try padded(name, text, arguments))
        default: return try search(name, text, arguments)
        }
    }

    private func padded(_ name: String, _ text: String, _ arguments: TemplateArguments) throws(TemplateError) -> String {
        guard let width = arguments.value(0, "width")?.int else { throw invalid("'\(name)' needs a width") }
        try charge(max(0, min(width, limits.steps + 1)))
        if name == "center" { return PythonTextPadding.center(text, width) }
        if name == "zfill" {
            let sign = text.hasPrefix("-") || text.hasPrefix("+") ? String(text.unicodeScalars.prefix(1)) : ""
            let digits = String(text.unicodeScalars.dropFirst(sign.unicodeScalars.count))
            return sign + PythonTextPadding.pad(digits, width - sign.unicodeScalars.count, with: "0", left: true)
        }
        let fill = try optionalText(arguments, 1, "fillchar", name) ?? " "
        guard fill.unicodeScalars.count == 1 else { throw invalid("the fill must be one character") }
        return PythonTextPadding.pad(text, width, with: fill, left: name == "rjust")
    }

    /// Methods that look into a string.
    private func search(_ name: String, _ text: String, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        let scalars = text.unicodeScalars
        func all(_ holds: (Unicode.Scalar) -> Bool) -> TemplateValue { .bool(!scalars.isEmpty && scalars.allSatisfy(holds)) }
        switch name {
        case "isdigit", "isdecimal", "isnumeric": return all { $0.properties.numericType != nil && ScalarClass($0).contains(.number) }
        case "isalpha": return all { ScalarClass($0).contains(.letter) }
        case "isalnum": return all { !ScalarClass($0).isDisjoint(with: [.letter, .number]) }
        case "isspace": return all(PythonText.isSpace)
        case "isupper", "islower":
            let cased = scalars.filter { $0.properties.isCased }
            return .bool(!cased.isEmpty && cased.allSatisfy { name == "isupper" ? $0.properties.isUppercase : $0.properties.isLowercase })
        case "startswith", "endswith":
            guard let value = arguments.positional.first else { throw invalid("'\(name)' needs a string") }
            for option in value.items?.values ?? [value] {
                guard let part = option.string else { throw invalid("'\(name)' needs a string, not \(option.typeName)") }
                if name == "startswith" ? text.utf8.starts(with: part.utf8) : text.utf8.suffix(part.utf8.count).elementsEqual(part.utf8) { return .bool(true) }
            }
            return .bool(false)
        case "removeprefix", "removesuffix":
            let part = try self.text(arguments, 0, "prefix", name)
            if name == "removeprefix", text.utf8.starts(with: part.utf8) { return .string(String(decoding: text.utf8.dropFirst(part.utf8.count), as: UTF8.self)) }
            if name == "removesuffix", text.utf8.suffix(part.utf8.count).elementsEqual(part.utf8) {
                return .string(String(decoding: text.utf8.dropLast(part.utf8.count), as: UTF8.self))
            }
            return .string(text)
        case "find", "rfind", "index", "count":
            let part = try self.text(arguments, 0, "sub", name)
            if part.isEmpty { return .integer(name == "rfind" ? scalars.count : name == "count" ? scalars.count + 1 : 0) }
            let places = PythonText.matches(of: part, in: text, limit: name == "find" || name == "index" ? 1 : .max)
            if name == "count" { return .integer(places.count) }
            guard let place = name == "rfind" ? places.last : places.first else {
                if name == "index" { throw invalid("substring not found") }
                return .integer(-1)
            }
            return .integer(text.utf8.prefix(place).reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) })
        default: throw invalid("'str object' has no method '\(name)'")
        }
    }

    /// `str.format` with `{}`, `{0}` and `{name}`; format specifications are not implemented.
    private func format(_ text: String, _ arguments: TemplateArguments) throws(TemplateError) -> String {
        var out = String.UnicodeScalarView()
        var rest = text.unicodeScalars[...]
        var next = 0
        while let scalar = rest.popFirst() {
            if scalar == "}" {
                guard rest.popFirst() == "}" else { throw invalid("single '}' in a format") }
                out.append("}")
                continue
            }
            guard scalar == "{" else { out.append(scalar); continue }
            if rest.first == "{" { out.append("{"); rest.removeFirst(); continue }
            guard let end = rest.firstIndex(of: "}") else { throw invalid("a '{' without end in a format") }
            let field = String(rest[..<end])
            rest = rest[rest.index(after: end)...]
            var value: TemplateValue?
            if field.isEmpty {
                value = next < arguments.positional.count ? arguments.positional[next] : nil
                next += 1
            } else if let place = Int(field) {
                value = arguments.positional.indices.contains(place) ? arguments.positional[place] : nil
            } else {
                value = arguments.named.first { $0.name == field }?.value
            }
            guard let value else { throw .unsupported(line: line, feature: "the format field", found: "{\(field)}") }
            let part = try string(of: value)
            try charge(1 + part.utf8.count / 16)
            out.append(contentsOf: part.unicodeScalars)
        }
        return String(out)
    }
}
