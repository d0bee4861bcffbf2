import Checkpoints
import Foundation
import Serialization

/// A golden file that cannot be used; the case then counts as failed.
enum GoldenError: Error, Equatable, CustomStringConvertible {
    case unreadable(file: String, reason: String)
    case missing(file: String, path: String)
    case wrongKind(file: String, path: String, found: String, expected: String)

    var description: String {
        switch self {
        case let .unreadable(file, reason): "\(file): \(reason)"
        case let .missing(file, path): "\(file): \"\(path)\" is missing"
        case let .wrongKind(file, path, found, expected): "\(file): \"\(path)\" is \(found), expected \(expected)"
        }
    }
}

/// A golden JSON file that remembers which of its numbers were asked for, so that none is left out unnoticed.
final class GoldenFile {
    let path: String
    let json: JSON
    fileprivate var read: Set<String> = []

    init(_ path: String) throws(GoldenError) {
        self.path = path
        guard let data = FileManager.default.contents(atPath: path) else {
            throw .unreadable(file: path, reason: fileExists(path) ? "it cannot be read" : "no such file")
        }
        do throws(JSONError) { json = try JSON.parse(data) } catch { throw .unreadable(file: path, reason: "not JSON: \(error)") }
    }

    var root: GoldenNode { GoldenNode(file: self, path: "", json: json) }

    /// Numbers that nothing was compared with, by path; lists of them as one.
    func uncompared() -> [String] {
        var found: [String] = []
        func walk(_ json: JSON, _ path: String) {
            if read.contains(path) { return }
            switch json {
            case .integer, .number: found.append(path)
            case let .array(values):
                if values.contains(where: { $0.double != nil }) {
                    if values.indices.contains(where: { !read.contains("\(path)/\($0)") }) { found.append(path) }
                } else {
                    for (i, value) in values.enumerated() { walk(value, "\(path)/\(i)") }
                }
            case let .object(object): for member in object.members { walk(member.value, "\(path)/\(member.key)") }
            default: break
            }
        }
        walk(json, "")
        return found
    }
}

/// One value of a golden file, with its place for messages.
struct GoldenNode {
    let file: GoldenFile
    let path: String
    let json: JSON

    private func wrong(_ expected: String) -> GoldenError { .wrongKind(file: file.path, path: path, found: json.kind, expected: expected) }

    func optional(_ key: String) -> GoldenNode? {
        guard let value = json[key], !value.isNull else { return nil }
        return GoldenNode(file: file, path: "\(path)/\(key)", json: value)
    }

    func member(_ key: String) throws(GoldenError) -> GoldenNode {
        guard let value = json[key] else { throw .missing(file: file.path, path: "\(path)/\(key)") }
        return GoldenNode(file: file, path: "\(path)/\(key)", json: value)
    }

    func members() throws(GoldenError) -> [(key: String, value: GoldenNode)] {
        guard let object = json.object else { throw wrong("an object") }
        return object.members.map { ($0.key, GoldenNode(file: file, path: "\(path)/\($0.key)", json: $0.value)) }
    }

    func elements() throws(GoldenError) -> [GoldenNode] {
        guard let array = json.array else { throw wrong("an array") }
        return array.enumerated().map { GoldenNode(file: file, path: "\(path)/\($0.offset)", json: $0.element) }
    }

    /// The number under `tolerance` (or another key), where there is one: in words it is the README's, which is built in.
    func tolerance(_ key: String = "tolerance", default builtIn: Double) -> Double {
        guard let node = optional(key), let value = node.json.double, value >= 0 else { return builtIn }
        node.markRead()
        return value
    }

    /// The value and all below it count as compared.
    func markRead() { file.read.insert(path) }

    func number() throws(GoldenError) -> Double {
        guard let value = json.double else { throw wrong("a number") }
        markRead()
        return value
    }
    func integer() throws(GoldenError) -> Int {
        guard let value = json.int else { throw wrong("an integer") }
        markRead()
        return value
    }
    func text() throws(GoldenError) -> String {
        guard let value = json.string else { throw wrong("a string") }
        return value
    }
    func bool() throws(GoldenError) -> Bool {
        guard let value = json.bool else { throw wrong("a boolean") }
        return value
    }
    func texts() throws(GoldenError) -> [String] {
        var texts: [String] = []
        for element in try elements() { texts.append(try element.text()) }
        return texts
    }
    /// A list of numbers.
    func numbers() throws(GoldenError) -> [Double] {
        guard let array = json.array else { throw wrong("an array of numbers") }
        let values = array.compactMap(\.double)
        guard values.count == array.count else { throw wrong("an array of numbers only") }
        markRead()
        return values
    }
    func integers() throws(GoldenError) -> [Int] {
        guard let array = json.array else { throw wrong("an array of integers") }
        let values = array.compactMap(\.int)
        guard values.count == array.count else { throw wrong("an array of integers only") }
        markRead()
        return values
    }
    func ids() throws(GoldenError) -> [Int32] {
        let values = try integers().compactMap { Int32(exactly: $0) }
        guard values.count == json.array?.count else { throw wrong("token ids") }
        return values
    }
    /// A list of lists of numbers.
    func rows() throws(GoldenError) -> [[Double]] {
        var rows: [[Double]] = []
        for element in try elements() { rows.append(try element.numbers()) }
        return rows
    }
    func integerRows() throws(GoldenError) -> [[Int]] {
        var rows: [[Int]] = []
        for element in try elements() { rows.append(try element.integers()) }
        return rows
    }
    /// Numbers at any depth, in order.
    func flattened() throws(GoldenError) -> [Double] {
        markRead()
        if let value = json.double { return [value] }
        var values: [Double] = []
        for element in try elements() { values += try element.flattened() }
        return values
    }
}

/// A golden safetensors file that remembers which of its tensors were asked for.
final class GoldenTensors {
    let file: SafetensorsFile
    private var read: Set<String> = []

    init(_ path: String) throws { file = try SafetensorsFile(path: path) }

    func has(_ name: String) -> Bool { file.info(name) != nil }
    func shape(_ name: String) throws -> [Int] {
        guard let info = file.info(name) else { throw GoldenError.missing(file: file.path, path: name) }
        return info.shape
    }
    /// Checks the shape and reads.
    func floats(_ name: String, shape: [Int]? = nil) throws -> [Float] {
        try check(name, shape)
        return try file.floats(name)
    }
    func integers(_ name: String, shape: [Int]? = nil) throws -> [Int] {
        try check(name, shape)
        return try file.integers(name).map { Int($0) }
    }
    func bytes(_ name: String) throws -> [UInt8] {
        try check(name, nil)
        return try file.bytes(name)
    }
    private func check(_ name: String, _ expected: [Int]?) throws {
        let found = try shape(name)
        if let expected, expected != found {
            throw GoldenError.wrongKind(file: file.path, path: name, found: "of shape \(found)", expected: "\(expected)")
        }
        read.insert(name)
    }
    func uncompared() -> [String] { file.names.filter { !read.contains($0) } }
}
