import Foundation
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

    /// A dynamic block with words of up to 11 bits, behind a header with every optional field, written by zlib 1.3
    /// (level 9, Huffman only). Its text: 97 + trailing zeros of a linear congruential generator's high bits, 4000 times.
    static let skewed = Data(
        base64Encoded: """
            H4sIHgECAwQAAwUAZXh0cmFuYW1lAGNvbW1lbnQAci0FwcGBBMcRBDFbEVk9e6To/1tAVkra1zKUt8+nqRrrNOqWizS4xEygnKuTzOerTOtfMNegazMVWliCkKmE3KfBqGiuf8zHVWKHTE3Do1yDAj
            ASLYsfl39q9hLjGYnEx02AAtPkptNXgQAkTxzy5h8IiGaFv2/fBsCswhAI+2AsVldu+R8If6951XUBwcYMGelMoEwzA0uFUvFY8zt36GzIQuM3Vorro4cIWLnDnDSI9dkw0BoS4OQZzGymwwGrGnEl
            jTSn3g+GYGPpEycMPFYh3J2QUB7xGcpCu93/PAAy8sS5OrVzKxrxcVitWFJBBRHFo8rpBFERBW2dW9rN4B75M6EGBKh732AXyAtdnfVaSdbckvDpZdxwKU9//5EnYRhO7tSfHfpXYHkDc1MPANyT09
            E7d7c3OnHDGFmx+d7aQi2xzPMdYa0nL5JbuChQ7nR0x4p+19DiObnEvhxRQv4oB0S6HDI60jPXQ/laX+NBM5ezqBIN2IZo1z3YLKHRUN5X9ztOWTZSANZIEU/y3ChWXudCJwJCSds2kuW3AdP4EGWa
            1zEK8pc88a6rt/YSRPSJsqCQw7NEh+Ilj3I5CavdZtmmCav0Qy3r8oAlPeMg6A2gyq11EVnGIBhxAxVXUZkNC4vANkyixZtPSXtTLoD3hzYoyhq8W70XA79QUR8sfso+N817PYNZmvWN4jUfDspz+V
            FjjVW+tHLxjcCVfxcWQkC576SYT/smp7jCa+9e7E3W5GYu4TWVNJrWm7iwP7rnF9QfxP5jrvU763y0tevBjgElzIvYmrS1+ouDcB2YJ6BuALMlrqi3asSYE4auKocA3OTphPzz2+fwF/y9BSZ55QlT
            g357etAzSX5isstgBP34FIEGvi9rRSMueOXSYin0e8UE53Jm2WD8B3cayxO/ttawTaV09NHzrSCl8Gz6pMbplLV6tK06AKoH9qnQ0fbP2ivR8ALNo72piQTlh6KyiDQvW/5bhmUJ9+UHun4rDOsSxs
            JPkdK4+dejt4adAo2s2NTfgFKUrx8VuJT9jfLx8NzGFTob88LmqBzzsE9h3nreJhLTBmmT8JzQyaW+MZAif7G5XdUyrggUfqPBh5hhQt55zCG0kJClDHdV5Zk2CXtLlTrE4/UeGVGWXtgcZgItYi/Z
            Ba6UQQFOuLl+d9kN3ZzlZDqbZTD0vJev2623aK3RVqsU3O3A/TNzjy7Z9KGQU2dBHjJEb8icUluFFHg9mKyBOrqy2toOEOwwEgVtdgoROWsmdg96RM68re8xZKH6qgPA4Q5R6l0cJJ4IOmTksApoi7
            lgw2jTj4MrKvU6Blu7nbQSCGJ8BkWwe36V3Ig2TCX5Px8n1bCgDwAA
            """, options: .ignoreUnknownCharacters
    ).map { Array($0) } ?? []

    static let skewedText: [UInt8] = {
        var x: UInt64 = 1
        return (0..<4000).map { _ in
            x = x &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return 97 + UInt8((x >> 33 | 1 << 20).trailingZeroBitCount)
        }
    }()

    @Test("a compressed block with a match") func match() throws {
        #expect(String(decoding: try Inflate.gunzip(Self.hello, limit: 100), as: UTF8.self) == "hello hello hello hello\n")
    }

    @Test("members follow each other") func members() throws {
        #expect(String(decoding: try Inflate.gunzip(Self.stored + Self.stored, limit: 100), as: UTF8.self) == "abcabc")
    }

    @Test("long words, and a header with all its fields") func longWords() throws {
        let text = try Inflate.gunzip(Self.skewed, limit: 4000)
        #expect(text == Self.skewedText, "\(text.count) bytes, expected \(Self.skewedText.count)")
        #expect(throws: InflateError.tooLarge(limit: 3999)) { try Inflate.gunzip(Self.skewed, limit: 3999) }
    }

    @Test("zeros after the last member are padding, other bytes are not") func padding() throws {
        #expect(try Inflate.gunzip(Self.stored + [UInt8](repeating: 0, count: 511), limit: 100) == Array("abc".utf8))
        #expect(throws: InflateError.notGzip) { try Inflate.gunzip(Self.stored + [0, 0, 7, 0], limit: 100) }
    }

    @Test("header fields are checked") func header() {
        var wrong = Self.skewed
        wrong[5] ^= 1  // the time
        #expect(throws: InflateError.invalid(byte: 32, what: "the header's checksum")) { try Inflate.gunzip(wrong, limit: 4000) }
        wrong[3] |= 0x80
        #expect(throws: InflateError.invalid(byte: 3, what: "flags that gzip does not define")) { try Inflate.gunzip(wrong, limit: 4000) }
    }

    @Test("a copy cut anywhere is never taken for whole") func cuts() {
        for source in [Self.hello, Self.stored, Self.skewed] {
            for length in 0..<source.count {
                #expect(throws: InflateError.self, "\(length) of \(source.count) bytes") { try Inflate.gunzip(Array(source[..<length]), limit: 1 << 16) }
            }
        }
    }

    @Test("3,000 damaged files give an error or bounded output") func damage() {
        var random = Generator(state: 11)
        for round in 0..<3000 {
            var bytes = [Self.hello, Self.stored, Self.skewed, Self.skewed + Self.hello][Int(random.next() % 4)]
            for _ in 0...(random.next() % 4) {
                let place = Int(random.next() % UInt64(bytes.count))
                switch random.next() % 4 {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.remove(at: place)
                case 2: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
                default: bytes.replaceSubrange(place..<min(place + 8, bytes.count), with: [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: 5))
                }
                if bytes.isEmpty { bytes = [0x1f] }
            }
            do {
                let count = try Inflate.gunzip(bytes, limit: 5000).count  // it throws nothing but InflateError
                #expect(count <= 5000, "round \(round): \(count) bytes")
            } catch {}
        }
    }

    /// SplitMix64.
    struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
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
                    do { #expect(try Inflate.gunzip(bytes, limit: 1 << 16).count <= 1 << 16) } catch {}  // typed: nothing but InflateError
                }
            }
        }
    }
}
