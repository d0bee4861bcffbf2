import Foundation
import Testing

@testable import Tokenizers

@Suite("Long texts and words") struct LongTextTests {
    static let size = 1 << 20

    @Test("the heap gives out at most three items a symbol, whatever the word") func work() {
        var generator = SeededGenerator(1)
        // 256 symbols; all pairs of the first 16 merge, and of symbol 15 then (aa aa), (aaaa aaaa), …
        var (pairs, ids): ([(left: Int32, right: Int32)], [Int32]) = ([], [])
        for left in Int32(0)..<16 { for right in Int32(0)..<16 { pairs.append((left, right)); ids.append(256 + Int32(ids.count)) } }
        for _ in 0..<20 { pairs.append((ids.last!, ids.last!)); ids.append(256 + Int32(ids.count)) }
        let table = MergeTable(pairs, ids: ids)
        let words: [(String, () -> Int32)] = [
            ("one letter", { 15 }), ("no merges", { 200 }), ("random letters", { Int32.random(in: 0..<16, using: &generator) }),
            ("random bytes", { Int32.random(in: 0..<256, using: &generator) }),
        ]
        var scratch = MergeScratch()
        for (name, symbol) in words {
            scratch.symbols.removeAll()
            for _ in 0..<LongTextTests.size { scratch.symbols.append(Symbol(id: symbol(), bytes: 1, skipped: 0)) }
            let before = scratch.popped
            scratch.merge(by: table)
            #expect(scratch.popped - before <= 3 * LongTextTests.size, "\(name): \(scratch.popped - before) items")
            let bytes = (0..<scratch.symbols.count).reduce(0) { $0 + Int(scratch.symbols[$1].bytes) }
            #expect(bytes == LongTextTests.size, "\(name): \(bytes) bytes are left")
        }
    }

    /// Texts of one unit over and over that give a pattern something to look back or ahead for, and how many words they are.
    @Test(
        "a megabyte of one thing is cut in one pass",
        arguments: ["a", " ", "\n", " \n", "'", "A", "Aa", "\u{301}", "中", "🙂", "1", "!", "ʰA", "\u{3000}", "'S", "/\n", "a ", "\u{A0}a"])
    func cuts(unit: String) {
        for pattern in [SplitPattern.gpt2, .llama3(digits: 3, marksAreLetters: false), .llama3(digits: 1, marksAreLetters: true), .o200k(digits: 3, contractions: true)] {
            func cut(_ text: String) -> [Int] {
                let bytes = Array(text.utf8)
                var ends: [Int] = []
                bytes.withUnsafeBufferPointer { buffer in pattern.forEachWord(buffer, 0..<bytes.count) { ends.append($1) } }
                return ends
            }
            // A long text is cut as a short one is: the same words, or one word that is longer, at either end.
            let (few, many) = (60, LongTextTests.size / unit.utf8.count / 60 * 60)
            let (short, long) = (cut(String(repeating: unit, count: few)), cut(String(repeating: unit, count: many)))
            #expect(long.last == many * unit.utf8.count)
            let edge = min(10, short.count)
            if short.count > 10 {
                #expect(Array(long.prefix(edge)) == Array(short.prefix(edge)), "\(unit.debugDescription)")
                #expect(long.count * few == short.count * many || abs(long.count * few / many - short.count) <= 2, "\(unit.debugDescription)")
            } else {
                #expect(long.count == short.count, "\(unit.debugDescription): \(long.count) words")
            }
        }
    }

    @Test("a megabyte without spaces: letters, spaces, bytes, Han, emoji") func texts() throws {
        let tokenizer = try TinyTokenizer.make()
        var generator = SeededGenerator(6)
        let size = LongTextTests.size
        func scalars(_ range: ClosedRange<UInt32>, _ count: Int) -> String {
            var text = String.UnicodeScalarView()
            for _ in 0..<count { text.append(Unicode.Scalar(UInt32.random(in: range, using: &generator))!) }
            return String(text)
        }
        let texts = [
            String(repeating: "a", count: size), String(repeating: " ", count: size), scalars(0x4E00...0x9FFF, size / 3),
            scalars(0x1F300...0x1F5FF, size / 4), scalars(97...122, size), String(repeating: "hello", count: size / 5),
            String(decoding: (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }, as: UTF8.self),
        ]
        for text in texts {
            let ids = tokenizer.encode(text)
            #expect(same(tokenizer.decode(ids), text))
        }
        // No merge of this vocabulary joins an a or two spaces.
        #expect(tokenizer.encode(texts[0]) == [Int32](repeating: 97, count: size))
        #expect(tokenizer.encode(texts[5]) == [Int32](repeating: 259, count: size / 5))
    }

    @Test("a sink that grew with one text is not kept, and the next text is encoded as ever") func memory() throws {
        let tokenizer = try TinyTokenizer.make()
        #expect(tokenizer.encode(String(repeating: "a", count: 3 << 20)).count == 3 << 20)
        #expect(tokenizer.encode("hello") == [259])
    }
}
