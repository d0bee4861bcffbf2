import Serialization

/// Typed, bounded access to the members of a configuration object; faults name file, line and key.
struct ConfigValues {
    let object: JSONObject
    let file: String
    /// The text the object was parsed from, to find lines in; empty where there is none.
    var text: [UInt8] = []
    /// The names under which keys are reported, where they differ (a GGUF file's own keys).
    var names: [String: String] = [:]

    func has(_ key: String) -> Bool { object[key].map { !$0.isNull } ?? false }
    func name(_ key: String) -> String { names[key] ?? key }

    /// The 1-based line of the first occurrence of `"key"`; 0 where it has none.
    func line(_ key: String) -> Int {
        let needle = Array("\"\(key)\"".utf8)
        guard text.count >= needle.count else { return 0 }
        var line = 1
        for start in 0...(text.count - needle.count) {
            if text[start] == 0x0A { line += 1 }
            if text[start] == needle[0], text[start..<(start + needle.count)].elementsEqual(needle) { return line }
        }
        return 0
    }

    func fault(_ key: String, _ expected: String) -> CheckpointError {
        let found = object[key].map { String($0.text().prefix(80)) } ?? "absent"
        return .invalidValue(file: file, line: line(key), key: name(key), found: found, expected: expected)
    }

    func integer(_ key: String, in range: ClosedRange<Int>, default fallback: Int? = nil) throws(CheckpointError) -> Int {
        let expected = "an integer from \(range.lowerBound) to \(range.upperBound)"
        guard has(key) else {
            if let fallback { return fallback }
            throw fault(key, expected)
        }
        guard let value = object[key]?.int, range.contains(value) else { throw fault(key, expected) }
        return value
    }

    func number(_ key: String, in range: ClosedRange<Double>, default fallback: Double? = nil) throws(CheckpointError) -> Double {
        if let value = try optionalNumber(key, in: range) ?? fallback { return value }
        throw fault(key, "a number from \(range.lowerBound) to \(range.upperBound)")
    }

    func optionalNumber(_ key: String, in range: ClosedRange<Double>) throws(CheckpointError) -> Double? {
        guard has(key) else { return nil }
        guard let value = object[key]?.double, range.contains(value) else {  // contains is false for NaN
            throw fault(key, "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    func numbers(_ key: String, count: Int, in range: ClosedRange<Double>) throws(CheckpointError) -> [Double] {
        let expected = "\(count) numbers from \(range.lowerBound) to \(range.upperBound)"
        guard let array = object[key]?.array, array.count == count else { throw fault(key, expected) }
        var values: [Double] = []
        for element in array {
            guard let value = element.double, range.contains(value) else { throw fault(key, expected) }
            values.append(value)
        }
        return values
    }

    func flag(_ key: String, default fallback: Bool) throws(CheckpointError) -> Bool {
        guard has(key) else { return fallback }
        guard let value = object[key]?.bool else { throw fault(key, "true or false") }
        return value
    }

    func text(_ key: String) throws(CheckpointError) -> String? {
        guard has(key) else { return nil }
        guard let value = object[key]?.string else { throw fault(key, "a string") }
        return value
    }

    func nested(_ key: String) throws(CheckpointError) -> ConfigValues? {
        guard has(key) else { return nil }
        guard let object = object[key]?.object else { throw fault(key, "an object") }
        return ConfigValues(object: object, file: file, text: text, names: names)
    }

    /// One token id, or a list of them, each within the vocabulary.
    func tokens(_ key: String, vocabulary: Int) throws(CheckpointError) -> [Int] {
        guard has(key) else { return [] }
        let expected = "token ids from 0 to \(vocabulary - 1)"
        let elements = object[key]?.array ?? [object[key] ?? .null]
        guard elements.count <= 1000 else { throw fault(key, "at most 1000 token ids") }
        var ids: [Int] = []
        for element in elements {
            guard let id = element.int, (0..<vocabulary).contains(id) else { throw fault(key, expected) }
            ids.append(id)
        }
        return ids
    }
}
