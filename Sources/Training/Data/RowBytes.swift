/// A row's parts as bytes, one after the other; read by the process that wrote them, so in its own byte order.
struct RowBytes {
    private(set) var bytes: [UInt8] = []

    private mutating func add(raw value: some Any) { withUnsafeBytes(of: value) { bytes += $0 } }
    mutating func add(_ value: Int) { add(raw: value) }
    mutating func add(_ value: Double) { add(raw: value.bitPattern) }
    mutating func add(_ value: Bool) { bytes.append(value ? 1 : 0) }

    mutating func add(_ values: [Int32]) {
        add(values.count)
        values.withUnsafeBytes { bytes += $0 }
    }

    mutating func add(_ text: String) {
        add(text.utf8.count)
        bytes += text.utf8
    }

    mutating func add<Element>(_ values: [Element], _ each: (inout RowBytes, Element) -> Void) {
        add(values.count)
        for value in values { each(&self, value) }
    }

    mutating func add<Value>(_ value: Value?, _ some: (inout RowBytes, Value) -> Void) {
        add(value != nil)
        if let value { some(&self, value) }
    }

    mutating func add(mask: [Bool]?) { add(mask) { $0.add($1) { $0.add($1) } } }
}

/// Reads what `RowBytes` wrote, part by part.
struct RowParts {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The bytes are not those of a row.
    struct Damaged: Error {}

    private mutating func take(_ count: Int) throws(Damaged) -> ArraySlice<UInt8> {
        guard count >= 0, count <= bytes.count - position else { throw Damaged() }
        defer { position += count }
        return bytes[position..<position + count]
    }

    private mutating func raw<Value: BitwiseCopyable>(_: Value.Type) throws(Damaged) -> Value {
        try take(MemoryLayout<Value>.size).withUnsafeBytes { $0.loadUnaligned(as: Value.self) }
    }

    mutating func integer() throws(Damaged) -> Int { try raw(Int.self) }
    mutating func number() throws(Damaged) -> Double { Double(bitPattern: try raw(UInt64.self)) }
    mutating func flag() throws(Damaged) -> Bool { try raw(UInt8.self) != 0 }

    /// - Parameter size: Least bytes that one of so many has, so that no memory is taken for what is not there.
    private mutating func count(ofSize size: Int) throws(Damaged) -> Int {
        let count = try integer()
        guard count >= 0, count <= (bytes.count - position) / size else { throw Damaged() }
        return count
    }

    mutating func tokens() throws(Damaged) -> [Int32] {
        let count = try count(ofSize: 4)
        let part = try take(4 * count)
        return [Int32](unsafeUninitializedCapacity: count) { buffer, filled in
            part.withUnsafeBytes { UnsafeMutableRawBufferPointer(buffer).copyMemory(from: $0) }
            filled = count
        }
    }

    mutating func text() throws(Damaged) -> String { String(decoding: try take(count(ofSize: 1)), as: UTF8.self) }

    mutating func list<Element>(_ each: (inout RowParts) throws(Damaged) -> Element) throws(Damaged) -> [Element] {
        var values: [Element] = []
        for _ in 0..<(try count(ofSize: 1)) { values.append(try each(&self)) }
        return values
    }

    mutating func optional<Value>(_ some: (inout RowParts) throws(Damaged) -> Value) throws(Damaged) -> Value? { try flag() ? try some(&self) : nil }

    mutating func mask() throws(Damaged) -> [Bool]? {
        try optional { parts throws(Damaged) in try parts.list { parts throws(Damaged) in try parts.flag() } }
    }
}
