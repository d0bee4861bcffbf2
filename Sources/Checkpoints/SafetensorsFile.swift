import Serialization

/// A safetensors file, opened and validated: tensors by name, read on demand.
///
/// Layout: the header's length (8 bytes, little-endian), the header (JSON: name → dtype, shape, data_offsets), then the data.
/// Everything the header says is checked before it is used: its length, its depth, every product, that data lie in the file and do
/// not overlap, and that sizes equal type × shape. Reading is safe from several threads.
public struct SafetensorsFile: Sendable {
    public let path: String
    /// In the order of their data in the file.
    public let names: [String]
    /// The header's `__metadata__`.
    public let metadata: [String: String]
    let file: InputFile
    let stored: [String: StoredTensor]

    /// The longest header read, in bytes: that of a thousand layers takes about 1 MB.
    static let headerLimit = 16 << 20

    /// - Throws: `.system`, `.truncated`, `.malformed`, `.invalidJSON`, `.unsupported` (an element type not read here).
    public init(path: String) throws(CheckpointError) {
        let file = try InputFile(path)
        let prefix = try file.bytes(at: 0, count: 8, field: "the header's length")
        let length = prefix.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(Self.headerLimit), length >= 2 else {
            throw .malformed(file: path, field: "the header's length", offset: 0, found: "\(length)", expected: "from 2 to \(Self.headerLimit) bytes")
        }
        let header = try file.bytes(at: 8, count: Int(length), field: "the header")
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(header, depthLimit: 8) } catch { throw .invalidJSON(file: path, fault: error) }
        guard let object = json.object else {
            throw .malformed(file: path, field: "the header", offset: 8, found: json.kind, expected: "an object")
        }
        if let name = Self.duplicate(in: header, of: object) {
            throw .malformed(file: path, field: "the header", offset: 8, found: "'\(name)' twice", expected: "every name once")
        }

        self.path = path
        self.file = file
        metadata = try Self.metadata(object["__metadata__"], path: path)
        let dataStart = 8 + Int(length)
        var stored: [String: StoredTensor] = [:]
        for (name, value) in object.members where name != "__metadata__" {
            stored[name] = try Self.tensor(value, name: name, path: path, dataStart: dataStart, fileSize: file.size)
        }
        names = stored.keys.sorted { (stored[$0]!.offset, stored[$0]!.bytes, $0) < (stored[$1]!.offset, stored[$1]!.bytes, $1) }
        self.stored = stored
        var end = dataStart
        for name in names where stored[name]!.bytes > 0 {
            let tensor = stored[name]!
            guard tensor.offset >= end else {
                throw .malformed(file: path, field: "the data of '\(name)'", offset: tensor.offset, found: "overlapping another tensor", expected: "data from byte \(end) on")
            }
            end = tensor.offset + tensor.bytes
        }
    }

    private static func metadata(_ value: JSON?, path: String) throws(CheckpointError) -> [String: String] {
        guard let value, !value.isNull else { return [:] }
        var metadata: [String: String] = [:]
        guard let object = value.object else {
            throw .malformed(file: path, field: "__metadata__", offset: 8, found: value.kind, expected: "an object of strings")
        }
        for (key, value) in object.members {
            guard let text = value.string else {
                throw .malformed(file: path, field: "__metadata__ '\(key)'", offset: 8, found: value.kind, expected: "a string")
            }
            metadata[key] = text
        }
        return metadata
    }

    private static func tensor(_ value: JSON, name: String, path: String, dataStart: Int, fileSize: Int) throws(CheckpointError) -> StoredTensor {
        func malformed(_ field: String, _ found: JSON?, _ expected: String) -> CheckpointError {
            .malformed(file: path, field: "\(field) of '\(name.prefix(200))'", offset: 8, found: found.map { String($0.text().prefix(80)) } ?? "absent", expected: expected)
        }
        guard value.object != nil else { throw malformed("the entry", value, "an object") }
        guard let dtype = value["dtype"]?.string else { throw malformed("dtype", value["dtype"], "a type's name") }
        guard let type = ElementType(rawValue: dtype), ElementType.safetensors.contains(type) else {
            throw .unsupported(file: path, line: 0, key: "dtype of '\(name.prefix(200))'", found: String(dtype.prefix(80)), supported: ElementType.safetensors.map(\.rawValue))
        }
        guard let dimensions = value["shape"]?.array, dimensions.count <= 8 else { throw malformed("shape", value["shape"], "at most 8 sizes") }
        var shape: [Int] = []
        for dimension in dimensions {
            guard case let .integer(size) = dimension, size >= 0 else { throw malformed("shape", value["shape"], "sizes of 0 and more") }
            shape.append(size)
        }
        guard let count = StoredTensor.count(shape), let bytes = type.bytes(of: count) else {
            throw malformed("shape", value["shape"], "fewer elements than 2^63")
        }
        guard let offsets = value["data_offsets"]?.array, offsets.count == 2, case let .integer(begin) = offsets[0], case let .integer(end) = offsets[1],
            begin >= 0, end >= begin
        else { throw malformed("data_offsets", value["data_offsets"], "[begin, end], begin ≤ end") }
        guard end - begin == bytes else {
            throw malformed("data_offsets", value["data_offsets"], "\(bytes) bytes, as \(dtype) \(shape) takes")
        }
        guard end <= fileSize - dataStart else {
            throw .truncated(file: path, field: "tensor '\(name.prefix(200))'", offset: min(begin, Int.max - dataStart) + dataStart, needed: bytes, available: max(0, fileSize - dataStart - begin))
        }
        return StoredTensor(shape: shape, type: type, offset: dataStart + begin, bytes: bytes)
    }

    /// A key that stands twice on the header's top level: readers disagree on which counts, so neither does.
    /// The text is known to be valid JSON.
    private static func duplicate(in header: [UInt8], of object: JSONObject) -> String? {
        var depth = 0, inString = false, escaped = false, keys: [[UInt8]] = [], start = 0, last = 0..<0
        for (index, byte) in header.enumerated() {
            if inString {
                if escaped { escaped = false } else if byte == UInt8(ascii: "\\") { escaped = true } else if byte == UInt8(ascii: "\"") {
                    inString = false
                    last = start..<index
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): (inString, start) = (true, index + 1)
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: ":") where depth == 1: keys.append(Array(header[last]))
            default: break
            }
        }
        guard keys.count != object.count else { return nil }
        var seen = Set<[UInt8]>()
        let repeated = keys.first { !seen.insert($0).inserted } ?? keys.last ?? []
        return String(String(decoding: repeated, as: UTF8.self).prefix(200))
    }

    /// The tensor's shape and type; `nil` for a name the file does not hold.
    public func info(_ name: String) -> TensorInfo? {
        stored[name].map { TensorInfo(name: name, shape: $0.shape, dtype: $0.type.rawValue) }
    }

    private func tensor(_ name: String) throws(CheckpointError) -> StoredTensor {
        guard let tensor = stored[name] else { throw .missingTensor(file: path, tensor: name, shape: []) }
        return tensor
    }

    /// Reads a tensor's elements as `Float`, row-major; integers and doubles are rounded.
    /// - Parameter destination: Exactly as many floats as the tensor has elements.
    public func read(_ name: String, into destination: UnsafeMutableBufferPointer<Float>) throws(CheckpointError) {
        try tensor(name).read(from: file, name: name, into: destination)
    }

    /// A tensor's elements as `Float`, row-major.
    public func floats(_ name: String) throws(CheckpointError) -> [Float] {
        let tensor = try tensor(name)
        var values = [Float](repeating: 0, count: tensor.count)
        var fault: CheckpointError?
        values.withUnsafeMutableBufferPointer { buffer in
            do throws(CheckpointError) { try tensor.read(from: file, name: name, into: buffer) } catch { fault = error }
        }
        if let fault { throw fault }
        return values
    }

    /// The elements of a tensor of integers or Booleans (0 or 1).
    /// - Throws: `.unsupported` for a tensor of floating-point numbers.
    public func integers(_ name: String) throws(CheckpointError) -> [Int64] {
        let tensor = try tensor(name), bytes = try bytes(name)
        var values = [Int64](repeating: 0, count: tensor.count)
        let decoded = values.withUnsafeMutableBufferPointer { values in
            bytes.withUnsafeBytes { bytes in
                guard let source = bytes.baseAddress, let base = values.baseAddress else { return values.isEmpty }
                return tensor.type.decodeIntegers(source, into: base, count: values.count)
            }
        }
        guard decoded else {
            throw .unsupported(file: path, line: 0, key: "dtype of '\(name)'", found: tensor.type.rawValue, supported: ["I64", "I32", "I16", "I8", "U8", "BOOL"])
        }
        return values
    }

    /// A tensor's bytes as stored.
    public func bytes(_ name: String) throws(CheckpointError) -> [UInt8] {
        let tensor = try tensor(name)
        try file.checkUnchanged()
        return try file.bytes(at: tensor.offset, count: tensor.bytes, field: "tensor '\(name)'")
    }
}
