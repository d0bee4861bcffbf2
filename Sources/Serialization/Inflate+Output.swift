/// Bytes that grow as they come, up to a limit.
struct GrowingBytes: ~Copyable {
    private(set) var count = 0
    private let limit: Int
    private var capacity: Int
    /// `capacity` and `slack` bytes: copies in words of eight may write past the end of what counts.
    private var base: UnsafeMutablePointer<UInt8>
    private static let slack = 8

    init(limit: Int, expected: Int) {
        self.limit = max(limit, 0)
        capacity = min(self.limit, max(expected, 1 << 12))
        base = .allocate(capacity: capacity + Self.slack)
    }

    deinit { base.deallocate() }

    var array: [UInt8] { Array(UnsafeBufferPointer(start: base, count: count)) }
    func bytes(from start: Int) -> UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: base + start, count: count - start) }

    private mutating func makeRoom(for more: Int) throws(InflateError) {
        guard more <= limit - count else { throw .tooLarge(limit: limit) }
        let larger = min(limit, max(2 * capacity, count + more))
        let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: larger + Self.slack)
        moved.update(from: base, count: count)
        base.deallocate()
        (base, capacity) = (moved, larger)
    }

    @inline(__always)
    mutating func append(_ byte: UInt8) throws(InflateError) {
        if count == capacity { try makeRoom(for: 1) }
        base[count] = byte
        count += 1
    }

    mutating func append(_ bytes: UnsafeBufferPointer<UInt8>) throws(InflateError) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        if bytes.count > capacity - count { try makeRoom(for: bytes.count) }
        (base + count).update(from: source, count: bytes.count)
        count += bytes.count
    }

    /// Repeats what stands `distance` bytes back; the copy may run into itself.
    @inline(__always)
    mutating func copy(_ length: Int, from distance: Int) throws(InflateError) {
        if length > capacity - count { try makeRoom(for: length) }
        let target = UnsafeMutableRawPointer(base + count)
        if distance >= 8 {
            for i in stride(from: 0, to: length, by: 8) {
                target.storeBytes(of: UnsafeRawPointer(target - distance).loadUnaligned(fromByteOffset: i, as: UInt64.self), toByteOffset: i, as: UInt64.self)
            }
        } else {
            for i in 0..<length { base[count + i] = base[count + i - distance] }
        }
        count += length
    }
}

/// The checksum of gzip, PNG and others (ISO 3309), eight bytes at a time.
enum CRC32 {
    /// Entry 256·k + b: what byte b does k bytes further on.
    private static let table: [UInt32] = {
        var table: [UInt32] = []
        for byte in 0..<256 {
            var crc = UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? 0xEDB8_8320 ^ (crc >> 1) : crc >> 1 }
            table.append(crc)
        }
        for i in 256..<2048 {
            let before = table[i - 256]
            table.append(table[Int(before & 0xFF)] ^ (before >> 8))
        }
        return table
    }()

    static func of(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt32 {
        var crc = ~UInt32(0)
        table.withUnsafeBufferPointer { table in
            var i = 0
            if let base = bytes.baseAddress.map({ UnsafeRawPointer($0) }) {
                while i + 8 <= bytes.count {
                    let word = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: i, as: UInt64.self)) ^ UInt64(crc)
                    crc = 0
                    for k in 0..<8 {
                        let byte = Int(truncatingIfNeeded: (word &>> UInt64(8 * k)) & 0xFF)
                        crc ^= table[256 * (7 - k) + byte]
                    }
                    i += 8
                }
            }
            while i < bytes.count {
                crc = table[Int((crc ^ UInt32(bytes[i])) & 0xFF)] ^ (crc >> 8)
                i += 1
            }
        }
        return ~crc
    }
}
