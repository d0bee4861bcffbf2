import CAlign
import Glibc
import Serialization

/// A tensor for a GGUF file: values are asked for a few rows at a time, in order.
public struct GGUFTensor {
    public var name: String
    /// Outermost dimension first; rows are whole blocks of the type.
    public var shape: [Int]
    public var type: ElementType
    /// Fills the buffer with the elements of a range (row-major).
    public var fill: (Range<Int>, UnsafeMutableBufferPointer<Float>) throws(CheckpointError) -> Void

    public init(
        name: String, shape: [Int], type: ElementType, fill: @escaping (Range<Int>, UnsafeMutableBufferPointer<Float>) throws(CheckpointError) -> Void
    ) {
        (self.name, self.shape, self.type, self.fill) = (name, shape, type, fill)
    }
}

/// Writes GGUF files (version 3), which llama.cpp and this program read.
public enum GGUFWriter {
    private static let alignment = 32

    /// Writes a file so that readers see it whole or not at all.
    /// - Parameter metadata: In the order of the file; `general.architecture` first, as readers expect.
    /// - Throws: `.alreadyExists`, `.system`; `.notRepresentable` for a value beyond the range of F16.
    public static func write(_ path: String, metadata: [(String, GGUFValue)], tensors: [GGUFTensor]) throws(CheckpointError) {
        guard !Files.exists(path) else { throw .alreadyExists(path: path) }
        var head = Array("GGUF".utf8)
        put(UInt32(3), &head)
        put(UInt64(tensors.count), &head)
        put(UInt64(metadata.count), &head)
        for (key, value) in metadata {
            put(key, &head)
            put(value, &head)
        }
        var offset = 0
        for tensor in tensors {
            guard let bytes = tensor.type.bytes(of: tensor.shape.reduce(1, *)), (tensor.shape.last ?? 0) % tensor.type.blockElements == 0 else {
                preconditionFailure("rows of \(tensor.shape) in whole blocks of \(tensor.type.rawValue)")
            }
            put(tensor.name, &head)
            put(UInt32(tensor.shape.count), &head)
            for size in tensor.shape.reversed() { put(UInt64(size), &head) }
            put(UInt32(tensor.type.ggml ?? 0), &head)
            put(UInt64(offset), &head)
            offset += (bytes + alignment - 1) / alignment * alignment
        }
        head += padding(after: head.count)
        try AtomicFolder.writeFile(path) { (file) throws(CheckpointError) in
            try file.append(head)
            for tensor in tensors { try write(tensor, to: file) }
        }
    }

    private static func padding(after count: Int) -> [UInt8] { [UInt8](repeating: 0, count: (alignment - count % alignment) % alignment) }

    private static func write(_ tensor: GGUFTensor, to file: OutputFile) throws(CheckpointError) {
        let count = tensor.shape.reduce(1, *), row = tensor.shape.last ?? 1
        let step = max(1, (1 << 18) / max(1, row)) * row
        let values = UnsafeMutableBufferPointer<Float>.allocate(capacity: min(step, max(1, count)))
        let encoded = UnsafeMutableRawBufferPointer.allocate(byteCount: values.count * 4, alignment: 64)
        defer {
            values.deallocate()
            encoded.deallocate()
        }
        var written = 0
        for start in stride(from: 0, to: count, by: step) {
            let piece = UnsafeMutableBufferPointer(rebasing: values[0..<min(step, count - start)])
            try tensor.fill(start..<start + piece.count, piece)
            if tensor.type == .f16 {
                let bad = align_first_beyond_half(piece.baseAddress, piece.count)
                if bad < piece.count { throw .notRepresentable(tensor: tensor.name, index: start + bad, value: piece[bad], dtype: "F16") }
            }
            guard tensor.type.encode(UnsafePointer(values.baseAddress!), into: encoded.baseAddress!, count: piece.count), let bytes = tensor.type.bytes(of: piece.count) else {
                preconditionFailure("\(tensor.type.rawValue) is only read")
            }
            try file.append(UnsafeRawBufferPointer(rebasing: encoded[0..<bytes]))
            written += bytes
        }
        try file.append(padding(after: written))
    }

    // MARK: Values

    private static func put<Value: FixedWidthInteger>(_ value: Value, _ bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }

    private static func put(_ text: String, _ bytes: inout [UInt8]) {
        put(UInt64(text.utf8.count), &bytes)
        bytes += text.utf8
    }

    private static func put(_ value: GGUFValue, _ bytes: inout [UInt8]) {
        put(number(of: value), &bytes)
        switch value {
        case .arrays, .strings, .integers, .floats, .bools:
            put(elements(of: value), &bytes)
        default: break
        }
        payload(value, &bytes)
    }

    /// The format's number of a value's type; whole numbers take the narrowest that llama.cpp expects, 32 bits.
    private static func number(of value: GGUFValue) -> UInt32 {
        switch value {
        case let .unsigned(value): value <= UInt64(UInt32.max) ? 4 : 10
        case let .signed(value): Int32(exactly: value) != nil ? 5 : 11
        case .float: 6
        case .bool: 7
        case .string: 8
        default: 9
        }
    }

    private static func elements(of value: GGUFValue) -> UInt32 {
        switch value {
        case .strings: 8
        case .floats: 6
        case .bools: 7
        case let .integers(values): values.allSatisfy { Int32(exactly: $0) != nil } ? 5 : 11
        default: 9
        }
    }

    private static func payload(_ value: GGUFValue, _ bytes: inout [UInt8]) {
        switch value {
        case let .unsigned(value): if let short = UInt32(exactly: value) { put(short, &bytes) } else { put(value, &bytes) }
        case let .signed(value): if let short = Int32(exactly: value) { put(short, &bytes) } else { put(value, &bytes) }
        case let .float(value): put(Float(value).bitPattern, &bytes)
        case let .bool(value): bytes.append(value ? 1 : 0)
        case let .string(value): put(value, &bytes)
        case let .strings(values):
            put(UInt64(values.count), &bytes)
            for value in values { put(value, &bytes) }
        case let .floats(values):
            put(UInt64(values.count), &bytes)
            for value in values { put(Float(value).bitPattern, &bytes) }
        case let .bools(values):
            put(UInt64(values.count), &bytes)
            bytes += values.map { $0 ? 1 : 0 }
        case let .integers(values):
            put(UInt64(values.count), &bytes)
            let isShort = elements(of: value) == 5
            for value in values { if isShort { put(Int32(truncatingIfNeeded: value), &bytes) } else { put(value, &bytes) } }
        case let .arrays(values):
            put(UInt64(values.count), &bytes)
            for value in values {
                put(elements(of: value), &bytes)
                payload(value, &bytes)
            }
        }
    }
}
