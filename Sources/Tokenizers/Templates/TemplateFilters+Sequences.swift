extension TemplateInterpreter {
    /// Filters that go over elements.
    func sequenceFilter(_ name: String, _ value: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        if name == "reverse", let text = value.string { return .string(PythonText.string(text.unicodeScalars.reversed())) }
        if name == "dictsort" { return try dictsort(value, arguments) }
        // These give nothing for anything that is false, none among it.
        let skipsFalse = ["map", "select", "reject", "selectattr", "rejectattr"].contains(name) && !value.isTrue
        let values = skipsFalse ? [] : try elements(of: value)
        try charge(values.count)
        switch name {
        case "first": return values.first ?? .undefined("No first item, sequence was empty.")
        case "last": return values.last ?? .undefined("No last item, sequence was empty.")
        case "reverse": return .list(values.reversed())
        case "join": return .string(try join(values, arguments))
        case "map": return .list(try map(values, arguments))
        case "select", "reject":
            return .list(try filter(values) { value throws(TemplateError) in try passes(value, arguments) == (name == "select") })
        case "selectattr", "rejectattr":
            guard let path = arguments.positional.first else { throw invalid("'\(name)' needs the name of an attribute") }
            let rest = arguments.dropFirst()
            return .list(
                try filter(values) { value throws(TemplateError) in
                    try passes(try follow(path, in: value), rest) == (name == "selectattr")
                })
        case "sort":
            let keys = try sortKeys(values, arguments, place: 2)
            let order = try sorted(keys, reverse: arguments.value(0, "reverse")?.isTrue ?? false)
            return .list(order.map { values[$0] })
        case "unique": return .list(try unique(values, arguments))
        case "max", "min":
            let keys = try sortKeys(values, arguments, place: 1, caseAt: 0)
            var best: Int?
            for i in keys.indices {
                if let now = best, !(try name == "max" ? isLess(keys[now], keys[i]) : isLess(keys[i], keys[now])) { continue }
                best = i
            }
            return best.map { values[$0] } ?? .undefined("No aggregated item, sequence was empty.")
        case "sum":
            var sum = arguments.value(1, "start") ?? .integer(0)
            for value in values {
                let part = try arguments.value(0, "attribute").map { path throws(TemplateError) in try follow(path, in: value) } ?? value
                sum = try add(sum, part)
            }
            return sum
        case "batch", "slice":
            guard let size = arguments.positional.first?.int, size > 0 else { throw invalid("'\(name)' needs a count above 0") }
            let fill = arguments.value(1, "fill_with")
            return .list(try name == "batch" ? batches(values, size, fill: fill) : slices(values, size, fill))
        default: throw .unsupported(line: line, feature: "the filter", found: name)
        }
    }

    private func filter(
        _ values: [TemplateValue], _ keeps: (TemplateValue) throws(TemplateError) -> Bool
    ) throws(TemplateError) -> [TemplateValue] {
        var kept: [TemplateValue] = []
        for value in values where try keeps(value) { kept.append(value) }
        return kept
    }

    /// The test that the first argument names, or truth.
    private func passes(_ value: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> Bool {
        guard let first = arguments.positional.first else { return value.isTrue }
        guard let name = first.string else { throw invalid("a test is named by a string, not \(first.typeName)") }
        return try test(name, value, arguments.dropFirst())
    }

    /// An attribute such as `a.b.0`, looked up as an item first.
    private func follow(_ path: TemplateValue, in value: TemplateValue) throws(TemplateError) -> TemplateValue {
        if path.int != nil { return try item(path, of: value) }
        guard let text = path.string else { throw invalid("an attribute is named by a string, not \(path.typeName)") }
        var result = value
        for part in PythonText.split(text, ".") { result = try item(Int(part).map { .integer($0) } ?? .string(part), of: result) }
        return result
    }

    private func map(_ values: [TemplateValue], _ arguments: TemplateArguments) throws(TemplateError) -> [TemplateValue] {
        var result: [TemplateValue] = []
        if let path = arguments.named.first(where: { $0.name == "attribute" })?.value {
            let fallback = arguments.named.first { $0.name == "default" }?.value
            for value in values {
                let found = try follow(path, in: value)
                result.append(found.isUndefined ? fallback ?? found : found)
            }
            return result
        }
        guard let name = arguments.positional.first?.string else { throw invalid("'map' needs a filter or an attribute") }
        for value in values { result.append(try applyFilter(name, to: value, arguments.dropFirst())) }
        return result
    }

    private func join(_ values: [TemplateValue], _ arguments: TemplateArguments) throws(TemplateError) -> String {
        let separator = try arguments.value(0, "d").map { value throws(TemplateError) in try string(of: value) } ?? ""
        var parts: [String] = []
        for value in values {
            let part = try arguments.value(1, "attribute").map { path throws(TemplateError) in try follow(path, in: value) } ?? value
            let text = try string(of: part)
            try charge(1 + (text.utf8.count + separator.utf8.count) / 16)
            parts.append(text)
        }
        return parts.joined(separator: separator)
    }

    /// What values are ordered by: an attribute, and strings without regard to case unless asked for.
    private func sortKeys(
        _ values: [TemplateValue], _ arguments: TemplateArguments, place: Int, caseAt: Int = 1
    ) throws(TemplateError) -> [TemplateValue] {
        let keepsCase = arguments.value(caseAt, "case_sensitive")?.isTrue ?? false
        var keys: [TemplateValue] = []
        for value in values {
            var key = value
            if let path = arguments.value(place, "attribute"), !path.isEqual(to: .none) { key = try follow(path, in: value) }
            if !keepsCase, let text = key.string {
                try charge(1 + text.utf8.count / 16)
                key = .string(text.lowercased())
            }
            keys.append(key)
        }
        return keys
    }

    /// The places of `keys` in their order, equal ones as they stood: a merge sort, whose comparisons may fail.
    private func sorted(_ keys: [TemplateValue], reverse: Bool) throws(TemplateError) -> [Int] {
        var order = Array(keys.indices)
        var width = 1
        while width < order.count {
            var merged: [Int] = []
            for start in stride(from: 0, to: order.count, by: 2 * width) {
                var (i, j) = (start, min(start + width, order.count))
                let (middle, end) = (j, min(start + 2 * width, order.count))
                while i < middle || j < end {
                    var takesRight = i == middle
                    if i < middle && j < end {
                        let (left, right) = (keys[order[i]], keys[order[j]])
                        takesRight = try reverse ? isLess(left, right) : isLess(right, left)
                    }
                    merged.append(takesRight ? order[j] : order[i])
                    if takesRight { j += 1 } else { i += 1 }
                }
            }
            order = merged
            width *= 2
        }
        return order
    }

    private func dictsort(_ value: TemplateValue, _ arguments: TemplateArguments) throws(TemplateError) -> TemplateValue {
        guard case let .dictionary(dictionary) = value else { throw invalid("'dictsort' needs a mapping, not \(value.typeName)") }
        let byValue = arguments.value(1, "by")?.string == "value"
        let keysOf = TemplateArguments(named: [("case_sensitive", arguments.value(0, "case_sensitive") ?? .bool(false))])
        let keys = try sortKeys(dictionary.members.map { byValue ? $0.value : $0.key }, keysOf, place: 9)
        let order = try sorted(keys, reverse: arguments.value(2, "reverse")?.isTrue ?? false)
        return .list(order.map { .tuple([dictionary.members[$0].key, dictionary.members[$0].value]) })
    }

    private func unique(_ values: [TemplateValue], _ arguments: TemplateArguments) throws(TemplateError) -> [TemplateValue] {
        let keys = try sortKeys(values, arguments, place: 1, caseAt: 0)
        var (kept, seen): ([TemplateValue], [TemplateValue]) = ([], [])
        for (value, key) in zip(values, keys) {
            var isNew = true
            for other in seen where try isEqual(other, key) { isNew = false; break }
            if isNew {
                kept.append(value)
                seen.append(key)
            }
        }
        return kept
    }

    private func add(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateError) -> TemplateValue {
        if case let .undefined(message) = right { throw .undefined(line: line, message: message) }
        if let a = left.int, let b = right.int {
            let (sum, overflows) = a.addingReportingOverflow(b)
            if overflows { throw invalid("integers beyond 64 bits are not computed with") }
            return .integer(sum)
        }
        guard let a = left.double, let b = right.double else { throw invalid("'sum' has no meaning for \(left.typeName) and \(right.typeName)") }
        return .number(a + b)
    }

    private func batches(_ values: [TemplateValue], _ size: Int, fill: TemplateValue?) throws(TemplateError) -> [TemplateValue] {
        if fill != nil { try charge(min(size, limits.steps + 1)) }
        return stride(from: 0, to: values.count, by: size).map { start in
            var part = Array(values[start..<min(start + size, values.count)])
            if let fill { while part.count < size { part.append(fill) } }
            return .list(part)
        }
    }

    private func slices(_ values: [TemplateValue], _ count: Int, _ fill: TemplateValue?) throws(TemplateError) -> [TemplateValue] {
        try charge(min(count, limits.steps + 1))
        let (size, extra) = values.count.quotientAndRemainder(dividingBy: count)
        var start = 0
        return (0..<count).map { index in
            let end = start + size + (index < extra ? 1 : 0)
            var part = Array(values[start..<end])
            if let fill, index >= extra, extra > 0 { part.append(fill) }
            start = end
            return .list(part)
        }
    }
}
