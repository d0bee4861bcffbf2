import CAlign
import Serialization
import Testing

@Suite("SHA-256") struct SHA256Tests {
    @Test("the standard's examples") func examples() {
        #expect(SHA256.hex(of: Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(SHA256.hex(of: []) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            SHA256.hex(of: Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8))
                == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        #expect(SHA256.hex(of: [UInt8](repeating: 0x61, count: 1_000_000)) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test("pieces give what the whole gives") func pieces() {
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        for step in [1, 3, 63, 64, 65, 200] {
            var hasher = SHA256Hasher()
            for start in stride(from: 0, to: bytes.count, by: step) { hasher.update(Array(bytes[start..<min(start + step, bytes.count)])) }
            #expect(hasher.hex == SHA256.hex(of: bytes), "step \(step)")
        }
    }

    @Test("the processor's own instructions and plain C agree") func paths() {
        let bytes = (0..<64 * 33).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) }
        for blocks in [1, 2, 33] {
            var (fast, plain) = ((1...8).map { UInt32($0) }, (1...8).map { UInt32($0) })
            align_sha256_blocks(&fast, bytes, blocks)
            align_sha256_blocks_portable(&plain, bytes, blocks)
            #expect(fast == plain, "\(blocks) blocks: \(fast), plain C \(plain)")
        }
    }
}
