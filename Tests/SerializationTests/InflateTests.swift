import Serialization
import Testing

@Suite("Inflate") struct InflateTests {
    /// `printf 'hello hello hello hello\n' | gzip -n`: a fixed-code block with a match.
    static let hello: [UInt8] = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x27, 0xb9, 0x00, 0x00, 0x88,
        0x59, 0x0b, 0x18, 0x00, 0x00, 0x00,
    ]
    /// A stored block of "abc", its checksum 0x352441c2.
    static let stored: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 3, 0, 0xfc, 0xff, 0x61, 0x62, 0x63, 0xc2, 0x41, 0x24, 0x35, 3, 0, 0, 0]

    @Test("a compressed block with a match") func match() throws {
        #expect(String(decoding: try Inflate.gunzip(Self.hello, limit: 100), as: UTF8.self) == "hello hello hello hello\n")
    }

    @Test("members follow each other") func members() throws {
        #expect(String(decoding: try Inflate.gunzip(Self.stored + Self.stored, limit: 100), as: UTF8.self) == "abcabc")
    }

    @Test("limits, damage and ends are told apart") func faults() {
        #expect(throws: InflateError.tooLarge(limit: 2)) { try Inflate.gunzip(Self.stored, limit: 2) }
        #expect(throws: InflateError.notGzip) { try Inflate.gunzip([1, 2, 3, 4], limit: 100) }
        #expect(throws: InflateError.truncated(byte: 20)) { try Inflate.gunzip(Array(Self.stored[..<20]), limit: 100) }
        var wrong = Self.stored
        wrong[16] ^= 1
        #expect(throws: InflateError.checksum) { try Inflate.gunzip(wrong, limit: 100) }
    }

    @Test("any change of any byte gives an error or other bytes, never a crash") func mutations() {
        for source in [Self.hello, Self.stored] {
            for i in source.indices {
                for bit in 0..<8 {
                    var bytes = source
                    bytes[i] ^= 1 << UInt8(bit)
                    do { #expect(try Inflate.gunzip(bytes, limit: 1 << 16).count <= 1 << 16) } catch { #expect(error is InflateError) }
                }
            }
        }
    }
}
