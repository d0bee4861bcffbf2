import CAlign
import Serialization

/// The types weights are saved in.
public enum WeightType: String, CaseIterable, Sendable {
    case f32 = "F32", bf16 = "BF16", f16 = "F16"

    var bytes: Int { self == .f32 ? 4 : 2 }
    fileprivate var element: ElementType {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        }
    }
}

/// A tensor to be saved: its values are asked for piece by piece, in order.
public struct TensorSource {
    public var name: String
    public var shape: [Int]
    /// Fills the buffer with the elements of a range (row-major); the buffer has the range's size.
    public var fill: (Range<Int>, UnsafeMutableBufferPointer<Float>) throws(CheckpointError) -> Void

    public init(
        name: String, shape: [Int], fill: @escaping (Range<Int>, UnsafeMutableBufferPointer<Float>) throws(CheckpointError) -> Void
    ) {
        self.name = name
        self.shape = shape
        self.fill = fill
    }

    /// A tensor that lies in memory, row-major, until the save is over.
    public init(name: String, shape: [Int], values: UnsafePointer<Float>) {
        self.init(name: name, shape: shape) { (range, buffer) throws(CheckpointError) in
            buffer.baseAddress?.update(from: values + range.lowerBound, count: range.count)
        }
    }

    /// The number of elements.
    public var count: Int { shape.reduce(1, *) }
}

/// Writes safetensors files.
public enum SafetensorsWriter {
    private static let chunk = 1 << 18

    /// Writes tensors in the given order, rounding to nearest, ties to even; the header is padded so that data start at a multiple of 8.
    /// - Parameter metadata: The header's `__metadata__`; transformers wants `format`.
    /// - Throws: `.notRepresentable` for a finite value beyond the range of `F16`; `.system`.
    public static func write(
        _ tensors: [TensorSource], dtype: WeightType, metadata: [String: String] = ["format": "pt"], to folder: AtomicFolder, name: String
    ) throws(CheckpointError) {
        var header = JSONObject(), offset = 0
        if !metadata.isEmpty {
            header["__metadata__"] = .object(JSONObject(metadata.keys.sorted().map { ($0, .string(metadata[$0] ?? "")) }))
        }
        for tensor in tensors {
            precondition(header[tensor.name] == nil, "tensor '\(tensor.name)' is given twice")
            let end = offset + tensor.count * dtype.bytes
            header[tensor.name] = [
                "dtype": .string(dtype.rawValue), "shape": .array(tensor.shape.map { .integer($0) }),
                "data_offsets": [.integer(offset), .integer(end)],
            ]
            offset = end
        }
        var text = Array(JSON.object(header).text().utf8)
        text += [UInt8](repeating: 0x20, count: (8 - text.count % 8) % 8)
        let file = try folder.create(name)
        try file.append((0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) })
        try file.append(text)

        let values = UnsafeMutableBufferPointer<Float>.allocate(capacity: chunk)
        let encoded = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk * dtype.bytes, alignment: 64)
        defer {
            values.deallocate()
            encoded.deallocate()
        }
        for tensor in tensors {
            var start = 0
            while start < tensor.count {
                let count = min(chunk, tensor.count - start)
                let piece = UnsafeMutableBufferPointer(rebasing: values[0..<count])
                try tensor.fill(start..<(start + count), piece)
                if dtype == .f16 {
                    let bad = align_first_beyond_half(piece.baseAddress, count)
                    if bad < count { throw .notRepresentable(tensor: tensor.name, index: start + bad, value: piece[bad], dtype: "F16") }
                }
                _ = dtype.element.encode(UnsafePointer(values.baseAddress!), into: encoded.baseAddress!, count: count)
                try file.append(UnsafeRawBufferPointer(rebasing: encoded[0..<(count * dtype.bytes)]))
                start += count
            }
        }
        try file.finish()
    }
}
