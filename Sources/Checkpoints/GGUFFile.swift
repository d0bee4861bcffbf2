/// A GGUF file (version 2 or 3, little-endian), opened and validated: metadata, and tensors by their names in the file.
///
/// Everything the head says is bounded before memory is set aside; tensors must lie in the file, aligned, and apart from each other.
/// Reading is safe from several threads. Format: gguf.md of the ggml project.
public struct GGUFFile: Sendable {
    public let path: String
    public let version: Int
    public let metadata: [String: GGUFValue]
    /// In the order of the file.
    public let names: [String]
    let file: InputFile
    let stored: [String: StoredTensor]

    static let types: [ElementType] = [.f32, .f16, .bf16, .q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .q4_K, .q5_K, .q6_K]
    /// Names of types that are not read, for messages.
    static let otherTypes: [UInt32: String] = [
        9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
        22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
    ]

    /// - Throws: `.system`, `.truncated`, `.malformed`, `.unsupported` (version, byte order, a tensor's type).
    public init(path: String) throws(CheckpointError) {
        let file = try InputFile(path)
        var reader = GGUFReader(file)
        let magic = try reader.fixed(UInt32.self, "the magic number")
        guard magic == 0x4655_4747 else {
            throw .malformed(file: path, field: "the magic number", offset: 0, found: "0x" + String(magic, radix: 16), expected: "\"GGUF\"")
        }
        let version = try reader.fixed(UInt32.self, "the version")
        guard version == 2 || version == 3 else {
            let isSwapped = version.byteSwapped < 0x10000
            throw .unsupported(
                file: path, line: 0, key: "version", found: isSwapped ? "\(version.byteSwapped), big-endian" : "\(version)",
                supported: ["2", "3", "both little-endian"])
        }
        let tensorCount = try reader.count("the number of tensors", limit: 100_000)
        let valueCount = try reader.count("the number of metadata values", limit: 100_000)
        var metadata: [String: GGUFValue] = [:]
        for index in 0..<valueCount {
            let start = reader.position
            let key = try reader.string("metadata key \(index)", limit: 65535)
            let value = try reader.value(key)
            if metadata.updateValue(value, forKey: key) != nil {
                throw .malformed(file: path, field: "metadata", offset: start, found: "'\(key)' twice", expected: "every key once")
            }
        }

        let alignment = metadata["general.alignment"]?.int ?? 32
        guard alignment >= 1, alignment <= 1 << 20, alignment & (alignment - 1) == 0, metadata["general.alignment"].map({ $0.int != nil }) ?? true else {
            throw .invalidValue(file: path, line: 0, key: "general.alignment", found: metadata["general.alignment"]?.kind ?? "absent", expected: "a power of two up to 1048576")
        }
        var names: [String] = [], stored: [String: StoredTensor] = [:], places: [Int] = []
        for index in 0..<tensorCount {
            let start = reader.position
            let name = try reader.string("the name of tensor \(index)", limit: 1024)
            var tensor = try Self.tensor(&reader, name: name, path: path)
            if tensor.offset % alignment != 0 {
                throw .malformed(file: path, field: "the offset of '\(name)'", offset: start, found: "\(tensor.offset)", expected: "a multiple of \(alignment)")
            }
            places.append(start)
            names.append(name)
            tensor.bytes = tensor.type.bytes(of: tensor.count) ?? 0
            if stored.updateValue(tensor, forKey: name) != nil {
                throw .malformed(file: path, field: "the tensors", offset: start, found: "'\(name)' twice", expected: "every name once")
            }
        }

        let dataStart = (reader.position + alignment - 1) / alignment * alignment
        for name in names {
            let offset = stored[name]!.offset, bytes = stored[name]!.bytes
            guard dataStart <= file.size, offset <= file.size - dataStart, bytes <= file.size - dataStart - offset else {
                throw .truncated(file: path, field: "tensor '\(name)'", offset: dataStart, needed: bytes, available: max(0, file.size - dataStart - min(offset, max(0, file.size - dataStart))))
            }
            stored[name]!.offset = dataStart + offset
        }
        var end = dataStart
        for name in names.sorted(by: { (stored[$0]!.offset, $0) < (stored[$1]!.offset, $1) }) where stored[name]!.bytes > 0 {
            guard stored[name]!.offset >= end else {
                throw .malformed(file: path, field: "the data of '\(name)'", offset: stored[name]!.offset, found: "overlapping another tensor", expected: "data from byte \(end) on")
            }
            end = stored[name]!.offset + stored[name]!.bytes
        }
        self.path = path
        self.file = file
        self.version = Int(version)
        self.metadata = metadata
        self.names = names
        self.stored = stored
    }

    /// One entry of the tensor table; `offset` is still relative to the data.
    private static func tensor(_ reader: inout GGUFReader, name: String, path: String) throws(CheckpointError) -> StoredTensor {
        let start = reader.position
        let dimensions = try reader.fixed(UInt32.self, "the dimensions of '\(name)'")
        guard dimensions >= 1, dimensions <= 4 else {
            throw .malformed(file: path, field: "the dimensions of '\(name)'", offset: start, found: "\(dimensions)", expected: "1 to 4")
        }
        var shape: [Int] = []  // the file lists the fastest dimension first
        for _ in 0..<dimensions { shape.insert(try reader.count("a size of '\(name)'", limit: 1 << 40), at: 0) }
        let number = try reader.fixed(UInt32.self, "the type of '\(name)'")
        let offset = try reader.count("the offset of '\(name)'", limit: Int.max / 2)
        guard let type = types.first(where: { $0.ggml == Int(number) }) else {
            throw .unsupported(
                file: path, line: 0, key: "type of tensor '\(name)'", found: otherTypes[number] ?? "\(number)", supported: types.map(\.rawValue))
        }
        guard let count = StoredTensor.count(shape), shape.last! % type.blockElements == 0, type.bytes(of: count) != nil else {
            throw .malformed(
                file: path, field: "the shape of '\(name)'", offset: start, found: "\(shape)", expected: "rows of whole blocks of \(type.blockElements)")
        }
        return StoredTensor(shape: shape, type: type, offset: offset, bytes: 0)
    }

    /// The tensor's shape (outermost dimension first) and type; `nil` for a name the file does not hold.
    public func info(_ name: String) -> TensorInfo? {
        stored[name].map { TensorInfo(name: name, shape: $0.shape, dtype: $0.type.rawValue) }
    }

    /// Reads a tensor as `Float`, row-major, rows in the file's order.
    /// - Parameter destination: Exactly as many floats as the tensor has elements.
    public func read(_ name: String, into destination: UnsafeMutableBufferPointer<Float>) throws(CheckpointError) {
        guard let tensor = stored[name] else { throw .missingTensor(file: path, tensor: name, shape: []) }
        try tensor.read(from: file, name: name, into: destination)
    }

    /// Reads a tensor whose rows are q or k projections of `heads` heads in the interleaved order of arch `llama`, into the order of the
    /// Hugging Face layout: of each head's `d` rows, row `2i + j` goes to row `j·d/2 + i`. A bias counts as rows of one element.
    func readPermuted(_ name: String, heads: Int, into destination: UnsafeMutableBufferPointer<Float>) throws(CheckpointError) {
        guard let tensor = stored[name] else { throw .missingTensor(file: path, tensor: name, shape: []) }
        let rows = tensor.shape[0], columns = tensor.count / max(1, rows), d = rows / heads
        precondition(destination.count == tensor.count, "destination holds \(destination.count) floats, tensor '\(name)' has \(tensor.count)")
        precondition(rows % heads == 0 && d % 2 == 0, "\(rows) rows cannot be permuted over \(heads) heads")
        guard tensor.type.bytes(of: columns) != nil else {
            throw .unsupported(file: path, line: 0, key: "type of tensor '\(name)'", found: tensor.type.rawValue, supported: ["F32", "F16", "BF16"])
        }
        guard let base = destination.baseAddress, columns > 0 else { return }
        let type = tensor.type, bytes = type.bytes(of: columns) ?? 0
        try tensor.forEachRun(of: file, name: name, rowElements: columns) { source, first, count in
            for r in 0..<count {
                let row = (first + r) % d
                let target = first + r - row + row % 2 * (d / 2) + row / 2
                type.decode(source + r * bytes, into: base + target * columns, count: columns)
            }
        }
    }
}
