import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// fp32 memory: zero at first, aligned to a cache line, in huge pages where it is large; freed with its last owner.
///
/// Sharing it between threads is safe as far as they write disjoint ranges, which the operations of this module see to.
public final class FloatBuffer: @unchecked Sendable {
    public let count: Int
    public let base: UnsafeMutablePointer<Float>
    private let mappedBytes: Int

    public init(count: Int) {
        precondition(count >= 0 && count < 1 << 42, "\(count) floats")
        self.count = count
        let bytes = max(count, 16) * MemoryLayout<Float>.stride
        let page = 1 << 21
        if bytes >= 2 * page {
            // Rounded up and cut to a huge page's bounds.
            let reserved = bytes + page
            let flags = MAP_PRIVATE | MAP_ANONYMOUS
            guard let raw = mmap(nil, reserved, PROT_READ | PROT_WRITE, Int32(flags), -1, 0), raw != MAP_FAILED else {
                preconditionFailure("the system has no \(bytes) bytes left; use a smaller batch, --recompute or a smaller model")
            }
            let start = UInt(bitPattern: raw)
            let aligned = (start + UInt(page) - 1) / UInt(page) * UInt(page)
            if aligned > start { munmap(raw, Int(aligned - start)) }
            let end = (aligned + UInt(bytes) + 4095) / 4096 * 4096
            if end < start + UInt(reserved) { munmap(UnsafeMutableRawPointer(bitPattern: end), Int(start + UInt(reserved) - end)) }
            let memory = UnsafeMutableRawPointer(bitPattern: aligned)!
            #if os(Linux)
            madvise(memory, bytes, MADV_HUGEPAGE)
            #endif
            mappedBytes = Int(end - aligned)
            base = memory.bindMemory(to: Float.self, capacity: max(count, 16))
        } else {
            mappedBytes = 0
            let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
            memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
            base = memory.bindMemory(to: Float.self, capacity: max(count, 16))
        }
    }

    deinit {
        if mappedBytes > 0 { munmap(base, mappedBytes) } else { UnsafeMutableRawPointer(base).deallocate() }
    }

    public func zero(_ range: Range<Int>? = nil) {
        let range = range ?? 0..<count
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count)")
        memset(base + range.lowerBound, 0, range.count * MemoryLayout<Float>.stride)
    }
}

/// A row-major fp32 view of a buffer, which it keeps alive; rows may lie further apart than they are long.
public struct Matrix: Sendable {
    public let buffer: FloatBuffer
    public let offset: Int
    public let rows: Int
    public let columns: Int
    /// Floats from one row's start to the next's.
    public let stride: Int

    /// Zeroed memory of its own.
    public init(rows: Int, columns: Int) {
        self.init(buffer: FloatBuffer(count: rows * columns), offset: 0, rows: rows, columns: columns, stride: columns)
    }

    public init(buffer: FloatBuffer, offset: Int, rows: Int, columns: Int, stride: Int) {
        precondition(offset >= 0 && rows >= 0 && columns >= 0 && stride >= columns, "offset \(offset), [\(rows), \(columns)], stride \(stride)")
        precondition(rows == 0 || offset + (rows - 1) * stride + columns <= buffer.count, "offset \(offset), [\(rows), \(columns)], stride \(stride) in \(buffer.count) floats")
        self.buffer = buffer
        self.offset = offset
        self.rows = rows
        self.columns = columns
        self.stride = stride
    }

    public func rows(_ range: Range<Int>) -> Matrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        return Matrix(buffer: buffer, offset: offset + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
    }

    public func columns(_ range: Range<Int>) -> Matrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(columns)")
        return Matrix(buffer: buffer, offset: offset + range.lowerBound, rows: rows, columns: range.count, stride: stride)
    }

    public var pointer: UnsafeMutablePointer<Float> { buffer.base + offset }

    /// The values, row by row.
    public var array: [Float] {
        (0..<rows).flatMap { Array(UnsafeBufferPointer(start: pointer + $0 * stride, count: columns)) }
    }

    /// Overwrites the values, row by row.
    public func copy(from values: [Float]) {
        precondition(values.count == rows * columns, "\(values.count) values for [\(rows), \(columns)]")
        values.withUnsafeBufferPointer { values in
            for i in 0..<rows { (pointer + i * stride).update(from: values.baseAddress! + i * columns, count: columns) }
        }
    }

    public func zero() {
        for i in 0..<rows { memset(pointer + i * stride, 0, columns * MemoryLayout<Float>.stride) }
    }
}
