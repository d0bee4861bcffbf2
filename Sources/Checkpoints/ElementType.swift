import CAlign

/// How one number, or one block of numbers, is stored.
///
/// Names are those of safetensors and ggml. Block types hold `blockElements` numbers in `blockBytes` bytes.
public enum ElementType: String, Sendable, CaseIterable {
    case f64 = "F64", f32 = "F32", f16 = "F16", bf16 = "BF16"
    case i64 = "I64", i32 = "I32", i16 = "I16", i8 = "I8", u8 = "U8", bool = "BOOL"
    case q8_0 = "Q8_0", q4_0 = "Q4_0", q4_1 = "Q4_1", q5_0 = "Q5_0", q5_1 = "Q5_1"
    case q4_K = "Q4_K", q5_K = "Q5_K", q6_K = "Q6_K"

    /// Numbers in a block; 1 for plain types.
    public var blockElements: Int {
        switch self {
        case .q8_0, .q4_0, .q4_1, .q5_0, .q5_1: 32
        case .q4_K, .q5_K, .q6_K: 256
        default: 1
        }
    }

    /// Bytes of a block, or of one number.
    public var blockBytes: Int {
        switch self {
        case .f64, .i64: 8
        case .f32, .i32: 4
        case .f16, .bf16, .i16: 2
        case .i8, .u8, .bool: 1
        case .q8_0: 34
        case .q4_0: 18
        case .q4_1: 20
        case .q5_0: 22
        case .q5_1: 24
        case .q4_K: 144
        case .q5_K: 176
        case .q6_K: 210
        }
    }

    static let safetensors: [ElementType] = [.f64, .f32, .f16, .bf16, .i64, .i32, .i16, .i8, .u8, .bool]

    /// ggml's number of the type; `nil` for those only safetensors has here.
    public var ggml: Int? {
        switch self {
        case .f32: 0
        case .f16: 1
        case .q4_0: 2
        case .q4_1: 3
        case .q5_0: 6
        case .q5_1: 7
        case .q8_0: 8
        case .q4_K: 12
        case .q5_K: 13
        case .q6_K: 14
        case .bf16: 30
        default: nil
        }
    }

    /// The bytes of `count` elements, or `nil` if they are not whole blocks or too many to count.
    func bytes(of count: Int) -> Int? {
        guard count >= 0, count % blockElements == 0 else { return nil }
        let (bytes, overflow) = (count / blockElements).multipliedReportingOverflow(by: blockBytes)
        return overflow ? nil : bytes
    }

    /// Converts `count` elements to `Float`, rounding what a `Float` cannot hold.
    func decode(_ source: UnsafeRawPointer, into destination: UnsafeMutablePointer<Float>, count: Int) {
        if let ggml {
            _ = align_dequantize(Int32(ggml), source, destination, count)  // every type with a number is known to the C side
            return
        }
        func each<Stored>(_: Stored.Type, _ convert: (Stored) -> Float) {
            for i in 0..<count {
                destination[i] = convert(source.loadUnaligned(fromByteOffset: i * MemoryLayout<Stored>.stride, as: Stored.self))
            }
        }
        switch self {
        case .f64: each(Double.self) { Float($0) }
        case .i64: each(Int64.self) { Float($0) }
        case .i32: each(Int32.self) { Float($0) }
        case .i16: each(Int16.self) { Float($0) }
        case .i8: each(Int8.self) { Float($0) }
        case .bool: each(UInt8.self) { $0 == 0 ? 0 : 1 }
        default: each(UInt8.self) { Float($0) }
        }
    }

    /// Converts floats to this type as ggml's reference does, whole blocks; false for a type that is only read.
    public func encode(_ source: UnsafePointer<Float>, into destination: UnsafeMutableRawPointer, count: Int) -> Bool {
        precondition(count % blockElements == 0, "\(count) elements are not whole blocks of \(blockElements)")
        guard let ggml else { return false }
        return align_quantize(Int32(ggml), source, destination, count) == 0
    }

    /// Converts `count` elements of an integer type to `Int64`; false for other types.
    func decodeIntegers(_ source: UnsafeRawPointer, into destination: UnsafeMutablePointer<Int64>, count: Int) -> Bool {
        func each<Stored: BinaryInteger>(_: Stored.Type) -> Bool {
            for i in 0..<count {
                destination[i] = Int64(source.loadUnaligned(fromByteOffset: i * MemoryLayout<Stored>.stride, as: Stored.self))
            }
            return true
        }
        switch self {
        case .i64: return each(Int64.self)
        case .i32: return each(Int32.self)
        case .i16: return each(Int16.self)
        case .i8: return each(Int8.self)
        case .u8, .bool: return each(UInt8.self)
        default: return false
        }
    }
}

/// A tensor's name, shape (outermost dimension first) and stored type.
public struct TensorInfo: Sendable, Equatable {
    public var name: String
    public var shape: [Int]
    public var dtype: String

    public init(name: String, shape: [Int], dtype: String) {
        self.name = name
        self.shape = shape
        self.dtype = dtype
    }

    /// The number of elements; the product of no dimensions is 1.
    public var count: Int { shape.reduce(1, *) }
}

/// Where a tensor's elements lie: whole blocks of one type, without gaps.
struct StoredTensor: Sendable {
    var shape: [Int]
    var type: ElementType
    var offset: Int  // from the start of the file
    var bytes: Int
    var count: Int { shape.reduce(1, *) }

    /// Elements, if their number and their bytes can be counted, for a shape out of a file.
    static func count(_ shape: [Int]) -> Int? {
        var count = 1
        for size in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            if overflow || size < 0 { return nil }
            count = product
        }
        return count
    }

    /// Calls `body` with consecutive runs of whole rows of `rowElements` elements (or of about 256 KB where rows are not asked for),
    /// as stored: the bytes and the index of the run's first row.
    func forEachRun(of file: InputFile, name: String, rowElements: Int, _ body: (UnsafeRawPointer, _ firstRow: Int, _ rows: Int) -> Void) throws(CheckpointError) {
        try file.checkUnchanged()
        let rows = rowElements == 0 ? 0 : count / rowElements
        guard rows > 0, let rowBytes = type.bytes(of: rowElements) else { return }
        let rowsAtOnce = max(1, min(rows, (1 << 18) / max(1, rowBytes)))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: rowsAtOnce * rowBytes, alignment: 64)
        defer { buffer.deallocate() }
        var row = 0
        while row < rows {
            let taken = min(rowsAtOnce, rows - row)
            try file.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<(taken * rowBytes)]), at: offset + row * rowBytes, field: "tensor '\(name)'")
            body(UnsafeRawPointer(buffer.baseAddress!), row, taken)
            row += taken
        }
    }

    /// Reads everything as `Float`, in order.
    func read(from file: InputFile, name: String, into destination: UnsafeMutableBufferPointer<Float>) throws(CheckpointError) {
        precondition(destination.count == count, "destination holds \(destination.count) floats, tensor '\(name)' has \(count)")
        guard let base = destination.baseAddress, count > 0 else { return }
        if type == .f32 {
            try file.checkUnchanged()
            try file.read(into: UnsafeMutableRawBufferPointer(destination), at: offset, field: "tensor '\(name)'")
            return
        }
        let type = type, unit = type.blockElements
        try forEachRun(of: file, name: name, rowElements: unit) { source, first, blocks in
            type.decode(source, into: base + first * unit, count: blocks * unit)
        }
    }
}
