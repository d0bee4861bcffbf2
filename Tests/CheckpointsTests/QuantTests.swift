import Testing

@testable import Checkpoints

@Suite("Number formats") struct QuantTests {
    func encode(_ type: ElementType, _ values: [Float]) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: type.bytes(of: values.count)!)
        out.withUnsafeMutableBytes { #expect(type.encode(values, into: $0.baseAddress!, count: values.count)) }
        return out
    }
    func decode(_ type: ElementType, _ bytes: [UInt8], count: Int) -> [Float] {
        var out = [Float](repeating: .nan, count: count)
        bytes.withUnsafeBytes { type.decode($0.baseAddress!, into: &out, count: count) }
        return out
    }

    @Test("all 65536 halves agree with the hardware's Float16, both ways") func halves() {
        let all = (0...UInt16.max).map { $0 }
        let floats = decode(.f16, all.flatMap { little($0) }, count: 65536)
        for (bits, float) in zip(all, floats) {
            let expected = Float(Float16(bitPattern: bits))
            #expect(float.bitPattern == expected.bitPattern || (float.isNaN && expected.isNaN), "0x\(String(bits, radix: 16)): \(float), expected \(expected)")
        }
        var generator = TestGenerator(1)
        var values = floats.filter { !$0.isNaN } + [65519.996, 65520, 1e-8, 2.98e-8, 2.9802322e-8, 2.9802326e-8, .infinity, -1e30]
        for _ in 0..<100_000 { values.append(Float(bitPattern: UInt32(truncatingIfNeeded: generator.next()))) }
        for float in floats.prefix(31744) { values += [float.nextUp, float.nextDown, (float + float.nextUp) / 2, float * 1.00048828125] }
        let encoded = encode(.f16, values)
        for (index, value) in values.enumerated() {
            let found = UInt16(encoded[2 * index]) | UInt16(encoded[2 * index + 1]) << 8, expected = Float16(value).bitPattern
            #expect(found == expected || value.isNaN && found & 0x7FFF > 0x7C00, "\(value): \(found), expected \(expected)")
        }
    }

    @Test("bfloat16 rounds to nearest, ties to even, and keeps NaN") func bfloat() {
        // 1 + 2^-8 lies half-way between 1 and 1 + 2^-7; 1 + 3·2^-8 half-way between 1 + 2^-7 and 1 + 2^-6.
        let values: [Float] = [1 + 0x1p-8, 1 + 3 * 0x1p-8, 1 + 0x1.8p-8, -1.5, .greatestFiniteMagnitude, Float(bitPattern: 0x7F80_0001)]
        let found = decode(.bf16, encode(.bf16, values), count: values.count)
        #expect(Array(found.prefix(5)) == [1, 1 + 0x1p-6, 1 + 0x1p-7, -1.5, .infinity] && found[5].isNaN, "\(found)")
    }

    @Test("block sizes are ggml's") func sizes() {
        let sizes = GGUFFile.types.map { [$0.blockElements, $0.blockBytes] }
        #expect(sizes == [[1, 4], [1, 2], [1, 2], [32, 34], [32, 18], [32, 20], [32, 22], [32, 24], [256, 144], [256, 176], [256, 210]])
        #expect(ElementType.q8_0.bytes(of: 33) == nil && ElementType.f64.bytes(of: Int.max / 2) == nil && ElementType.q4_K.bytes(of: 512) == 288)
    }

    @Test("Q8_0 is off by half a step at most; zeros stay zeros", arguments: [ElementType.q8_0, .q4_0, .q4_1, .q5_0, .q5_1])
    func roundTrip(type: ElementType) {
        var generator = TestGenerator(2)
        let values = (0..<320).map { _ in Float(generator.below(2_000_001) - 1_000_000) / 1e6 }
        let found = decode(type, encode(type, values), count: 320)
        // Steps over [-1, 1]: 1/127, 2/15, 2/31 …; the symmetric 4- and 5-bit types lose up to a whole step at one end.
        let step: [ElementType: Float] = [.q8_0: 0.5 / 127, .q4_0: 1.0 / 8, .q4_1: 1.0 / 15, .q5_0: 1.0 / 16, .q5_1: 1.0 / 31]
        for (a, b) in zip(values, found) { #expect(abs(a - b) <= step[type]! * 1.01 + 1e-3, "\(type): \(a) became \(b)") }
        #expect(decode(type, encode(type, [Float](repeating: 0, count: 32)), count: 32) == [Float](repeating: 0, count: 32))
    }

    @Test("a block by hand: Q4_1 with d = 0.5, m = -1") func byHand() {
        // low nibbles are elements 0…15, high nibbles 16…31: 0x31 → 0.5·1 − 1 = −0.5 and 0.5·3 − 1 = 0.5
        let block = little(UInt16(0x3800)) + little(UInt16(0xBC00)) + [UInt8](repeating: 0x31, count: 16)
        #expect(decode(.q4_1, block, count: 32) == [Float](repeating: -0.5, count: 16) + [Float](repeating: 0.5, count: 16))
    }
}
