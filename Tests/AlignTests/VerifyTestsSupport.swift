import Foundation
import Serialization
import Tensors

@testable import align

/// Golden files to run `verify` on: those of the shared folder, which a checkout may lack, copied to a place of their own.
struct GoldenFolder {
    /// The shared folder: `ALIGN_SHARED`, else `shared` beside the package.
    static let shared: String? = {
        let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let path = ProcessInfo.processInfo.environment["ALIGN_SHARED"] ?? package.deletingLastPathComponent().appendingPathComponent("shared").path
        guard FileManager.default.fileExists(atPath: path + "/fixtures") else {
            print("skipped: \(path)/fixtures is not there (ALIGN_SHARED names the folder it is looked for in)")
            return nil
        }
        return path
    }()

    let path: String

    /// An empty folder.
    init() throws {
        path = NSTemporaryDirectory() + "align-verify-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    /// - Parameter names: Files and folders below `fixtures/` of the shared folder, which keep their places.
    init(copying names: [String], of shared: String) throws {
        try self.init()
        for name in names {
            let target = "\(path)/\(name)"
            try FileManager.default.createDirectory(
                atPath: (target as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: "\(shared)/fixtures/\(name)", toPath: target)
        }
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }

    func bytes(_ name: String) -> [UInt8] { [UInt8](FileManager.default.contents(atPath: "\(path)/\(name)") ?? Data()) }
    func json(_ name: String) throws -> JSON { try JSON.parse(bytes(name)) }

    func write(_ bytes: [UInt8], _ name: String) throws {
        let target = URL(fileURLWithPath: "\(path)/\(name)")
        try FileManager.default.createDirectory(at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: target)
    }
    func write(_ json: JSON, _ name: String) throws { try write(Array(json.text().utf8), name) }

    /// Every case of the folder, as `align verify` compares it.
    func verify(only part: String, model: String? = nil) throws -> [VerifyCase] {
        let context = VerifyContext(data: nil, model: model, compute: try Compute(threads: 1)) { _ in }
        for type in VerifyParts.all where type.folder == part { type.init().run("\(path)/\(part)", context) }
        return context.cases
    }

    /// Whether `align verify` would end with 1.
    func fails(_ part: String) throws -> Bool { try verify(only: part).contains { $0.verdict == .failed } }
}

/// A fixed sequence of pseudo-random numbers (SplitMix64).
struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Changes of one digit.
enum Digits {
    /// The number with another digit at significant place `place` (0 is the first); nil if it has none there.
    static func changed(_ value: Double, place: Int) -> Double? {
        guard let text = changed(JSON.number(value).text(), place: place) else { return nil }
        return Double(text)
    }
    static func changed(_ value: Int, place: Int) -> Int? { changed(String(value), place: place).flatMap { Int($0) } }

    private static func changed(_ text: String, place: Int) -> String? {
        var characters = Array(text)
        let end = characters.firstIndex { $0 == "e" || $0 == "E" } ?? characters.count
        guard let first = characters[..<end].firstIndex(where: { ("1"..."9").contains($0) }) else { return nil }
        let digits = (first..<end).filter { characters[$0].isNumber }
        guard digits.indices.contains(place), let digit = characters[digits[place]].wholeNumberValue else { return nil }
        characters[digits[place]] = Character(String(digit % 9 + 1))
        return String(characters)
    }
}

extension JSON {
    /// A way to a value: keys, and indices of arrays as keys.
    typealias Path = [String]

    /// The numbers below, with their ways.
    func numbers(_ path: Path = []) -> [(path: Path, value: JSON)] {
        switch self {
        case .integer, .number: [(path, self)]
        case let .array(values): values.enumerated().flatMap { $1.numbers(path + [String($0)]) }
        case let .object(object): object.members.flatMap { $0.value.numbers(path + [$0.key]) }
        default: []
        }
    }

    func replacing(_ path: some Collection<String>, by value: JSON) -> JSON {
        guard let key = path.first else { return value }
        switch self {
        case var .array(values):
            guard let i = Int(key), values.indices.contains(i) else { return self }
            values[i] = values[i].replacing(path.dropFirst(), by: value)
            return .array(values)
        case var .object(object):
            guard let member = self[key] else { return self }
            object[key] = member.replacing(path.dropFirst(), by: value)
            return .object(object)
        default: return self
        }
    }

    /// The number with another digit; nil if it has none there.
    func changed(place: Int) -> JSON? {
        switch self {
        case let .integer(value): Digits.changed(value, place: place).map { .integer($0) }
        case let .number(value): Digits.changed(value, place: place).map { .number($0) }
        default: nil
        }
    }
}

/// A safetensors file as bytes, of which single F32 and I64 values can be changed.
struct TensorBytes {
    var bytes: [UInt8]
    let tensors: [(name: String, type: String, range: Range<Int>)]

    init(_ bytes: [UInt8]) throws {
        self.bytes = bytes
        let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        let header = try JSON.parse(bytes[8..<8 + length])
        tensors = (header.object?.members ?? []).compactMap { name, value in
            guard let type = value["dtype"]?.string, let ends = value["data_offsets"]?.array?.compactMap(\.int), ends.count == 2 else { return nil }
            return (name, type, 8 + length + ends[0]..<8 + length + ends[1])
        }
    }

    private func bits(_ place: Int, _ size: Int) -> UInt64 { bytes[place..<place + size].reversed().reduce(0) { $0 << 8 | UInt64($1) } }

    /// Changes the first or second digit of a value of `name` that is not small beside the others.
    mutating func change(_ name: String, _ random: inout SeededNumbers) -> String? {
        guard let tensor = tensors.first(where: { $0.name == name }) else { return nil }
        let size = tensor.type == "I64" ? 8 : 4
        let count = tensor.range.count / size
        func float(_ i: Int) -> Float { Float(bitPattern: UInt32(bits(tensor.range.lowerBound + i * size, size))) }
        if tensor.type == "I64" {
            let i = Int.random(in: 0..<count, using: &random)
            let place = tensor.range.lowerBound + i * size
            let value = Int(bitPattern: UInt(bits(place, size)))
            return replace(place, size, UInt64(bitPattern: Int64(Digits.changed(value, place: 0) ?? value + 1)), "\(name)[\(i)]")
        }
        guard tensor.type == "F32" else { return nil }
        let largest = (0..<count).map { abs(float($0)) }.max() ?? 0
        let candidates = (0..<count).filter { abs(float($0)) > largest / 8 }
        guard largest > 0, let i = candidates.randomElement(using: &random) else { return nil }
        let digit = Int.random(in: 0...1, using: &random)
        guard let value = Digits.changed(Double(float(i)), place: digit) else { return nil }
        return replace(tensor.range.lowerBound + i * size, size, UInt64(Float(value).bitPattern), "\(name)[\(i)] from \(float(i)) to \(value)")
    }

    private mutating func replace(_ place: Int, _ size: Int, _ bits: UInt64, _ what: String) -> String {
        for i in 0..<size { bytes[place + i] = UInt8(truncatingIfNeeded: bits >> (8 * UInt64(i))) }
        return what
    }
}
