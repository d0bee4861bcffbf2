import Foundation
import Testing

@testable import Tokenizers

@Suite("Canonical composition") struct CanonicalCompositionTests {
    private func composed(_ text: String) -> String { text.precomposedStringWithCanonicalMapping }

    private func applied(_ text: String, byClusters: Bool) -> String {
        var aligned = AlignedText(Array(text.utf8), base: 0, aligned: true)
        aligned.replace(aligned.bytes.withUnsafeBufferPointer { CanonicalComposition.edits($0, byClusters: byClusters) })
        return String(decoding: aligned.bytes, as: UTF8.self)
    }

    @Test("inert scalars are composed, have class 0, and follow no scalar that they compose with") func inert() {
        // A scalar that composes with one before it appears after the first place of some decomposition.
        var seconds: Set<UInt32> = []
        for value in UInt32(0)..<0x30000 {
            guard let scalar = Unicode.Scalar(value) else { continue }
            for part in String(scalar).decomposedStringWithCanonicalMapping.unicodeScalars.dropFirst() { seconds.insert(part.value) }
        }
        #expect(seconds.contains(0x301) && seconds.contains(0x1161) && seconds.contains(0x11A8))
        var count = 0
        for value in UInt32(0)..<0x30000 where CanonicalComposition.isInert(value) {
            guard let scalar = Unicode.Scalar(value) else { continue }
            count += 1
            let isStable = same(composed(String(scalar)), String(scalar))
            let order = scalar.properties.canonicalCombiningClass.rawValue
            if !isStable || order != 0 || seconds.contains(value) { Issue.record("U+\(String(value, radix: 16)): stable \(isStable), class \(order)") }
        }
        #expect(count > 100_000)
    }

    private static let palette: [UInt32] =
        [0x61, 0x65, 0x41, 0x64, 0x69, 0x20, 0xE9, 0x1E0D, 0x1E69, 0x73, 0x3B1, 0x1F00, 0xAC00, 0xAC01, 0x1100, 0x1161, 0x11A8, 0x4E2D, 0x212B, 0x2126]
        + [0x300, 0x301, 0x302, 0x307, 0x308, 0x323, 0x327, 0x328, 0x31B, 0x345, 0x342, 0x313, 0x3099, 0x304B, 0x93C, 0x915, 0x958, 0x2019, 0x1F642]
        + [0x9C7, 0x9BE, 0x1112, 0x344, 0x340, 0x374, 0x5D0, 0x5B4, 0xFB1D, 0x2ADC, 0xF900, 0x1D15E]

    private func random(_ length: Int, _ palette: [UInt32], _ generator: inout SeededGenerator) -> String {
        var text = String.UnicodeScalarView()
        for _ in 0..<length { text.append(Unicode.Scalar(palette.randomElement(using: &generator)!)!) }
        return String(text)
    }

    @Test("text is composed as Foundation composes it") func text() {
        var generator = SeededGenerator(12)
        for _ in 0..<3000 {
            let text = random(Int.random(in: 0..<40, using: &generator), Self.palette, &generator)
            #expect(same(applied(text, byClusters: false), composed(text)), "\(text.unicodeScalars.map(\.value))")
            #expect(same(applied(text, byClusters: true), composed(text)), "\(text.unicodeScalars.map(\.value))")
        }
    }

    @Test("long runs are composed as Foundation composes them") func longRuns() {
        var generator = SeededGenerator(13)
        let marks = Self.palette.filter { !CanonicalComposition.isInert($0) }
        for length in [1, 2, 3, 5, 8, 20, 60, 200, 1000] {
            for _ in 0..<40 {
                let text = "a" + random(length, marks, &generator)
                let found = Array(text.utf8).withUnsafeBufferPointer { CanonicalComposition.composeLongRun($0) }
                #expect(found == Array(composed(text).utf8), "\(text.unicodeScalars.map(\.value))")
                #expect(same(applied(text, byClusters: true), composed(text)))
            }
        }
    }

    @Test("marks that alternate, by hand: sorted by class, one of them joins the letter") func alternating() {
        // U+0327 has class 202, U+0301 class 230. a and U+0327 do not compose, a and the first U+0301 do.
        let count = 200_000
        let text = "a" + String(repeating: "\u{301}\u{327}", count: count)
        let expected = "\u{E1}" + String(repeating: "\u{327}", count: count) + String(repeating: "\u{301}", count: count - 1)
        #expect(same(applied(text, byClusters: false), expected))
        #expect(same(applied(text, byClusters: true), expected))
    }
}
