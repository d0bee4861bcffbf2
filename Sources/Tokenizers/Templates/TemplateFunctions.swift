import Foundation

/// The functions that every template can call.
enum TemplateFunctions {
    static let names = ["range", "dict", "namespace", "raise_exception", "strftime_now"]
    /// Longer ranges are refused, as Jinja's sandbox does.
    static let rangeLimit = 100_000
}

extension TemplateInterpreter {
    func callFunction(_ name: String, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        switch name {
        case "range": return try range(arguments)
        case "dict":
            var members: [(key: TemplateValue, value: TemplateValue)] = []
            if case let .dictionary(dictionary) = arguments.positional.first { members = dictionary.members }
            return try made(.dictionary(TemplateDictionary(members + arguments.named.map { (.string($0.name), $0.value) })))
        case "namespace":
            let namespace = TemplateNamespace()
            if case let .dictionary(dictionary) = arguments.positional.first {
                try charge(dictionary.count)
                for (key, value) in dictionary.members { namespace[try string(of: key)] = value }
            }
            for (name, value) in arguments.named {
                try storable(value)
                namespace[name] = value
            }
            return .namespace(namespace)
        case "raise_exception":
            throw .raised(message: try arguments.value(0, "message").map { value throws(TemplateError) in try string(of: value) } ?? "")
        case "strftime_now":
            guard let format = arguments.value(0, "format")?.string else { throw invalid("'strftime_now' needs a format") }
            return try made(.string(try date(format)))
        default: throw .undefined(line: line, message: "'\(name)' is undefined")
        }
    }

    private func range(_ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        var bounds: [Int] = []
        for value in arguments.positional {
            guard let bound = value.int else { throw invalid("'range' needs integers, not \(value.typeName)") }
            bounds.append(bound)
        }
        guard (1...3).contains(bounds.count) else { throw invalid("'range' needs 1 to 3 integers") }
        let (start, stop) = bounds.count == 1 ? (0, bounds[0]) : (bounds[0], bounds[1])
        let step = bounds.count == 3 ? bounds[2] : 1
        guard step != 0 else { throw invalid("'range' cannot step by 0") }
        let count = max(0, (Double(stop) - Double(start)) / Double(step))
        guard count <= Double(TemplateFunctions.rangeLimit) else {
            throw .limit(line: line, quantity: "elements of a range", limit: TemplateFunctions.rangeLimit)
        }
        try charge(Int(count))
        return .list(stride(from: start, to: stop, by: step).map { .integer($0) })
    }

    /// C's `strftime`, which Python's follows.
    private func date(_ format: String) throws(TemplateError) -> String {
        guard format.utf8.count <= 256, !format.utf8.contains(0) else { throw invalid("the date format is longer than 256 bytes") }
        if format.isEmpty { return "" }
        var moment = clock
        let bytes = [UInt8](unsafeUninitializedCapacity: 8192) { buffer, count in
            count = buffer.withMemoryRebound(to: CChar.self) { strftime($0.baseAddress, $0.count, format, &moment) }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
