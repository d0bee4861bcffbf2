import Foundation
import Testing

@testable import Tokenizers

@Suite("Encoding equals its definition") struct EncodingEqualityTests {
    private static let patterns: [SplitPattern] = [
        .gpt2, .llama3(digits: 3, marksAreLetters: false), .llama3(digits: 1, marksAreLetters: false), .llama3(digits: 1, marksAreLetters: true),
        .o200k(digits: 3, contractions: true), .o200k(digits: 1, contractions: false),
    ]

    private func words(_ pattern: SplitPattern, _ text: String) -> [String] {
        let bytes = Array(text.utf8)
        var words: [String] = []
        bytes.withUnsafeBufferPointer { buffer in
            pattern.forEachWord(buffer, 0..<bytes.count) { words.append(String(decoding: bytes[$0..<$1], as: UTF8.self)) }
        }
        return words
    }

    @Test("scanners cut as the regular expressions do", arguments: patterns) func scanners(pattern: SplitPattern) throws {
        var generator = SeededGenerator(11)
        for _ in 0..<600 {
            let text = RandomText.make(Int.random(in: 0..<120, using: &generator), &generator)
            let (found, expected) = (words(pattern, text), try ReferenceEncoding.words(pattern, text))
            #expect(found.elementsEqual(expected, by: same), "\(text.debugDescription): \(found) instead of \(expected)")
        }
    }

    @Test("both ways of merging join what the definition joins") func merging() {
        var generator = SeededGenerator(5)
        for round in 0..<400 {
            let alphabet = Int32.random(in: 1...6, using: &generator)
            var (pairs, ids, ranked): ([(left: Int32, right: Int32)], [Int32], [[Int32]: (rank: Int, id: Int32)]) = ([], [], [:])
            for rank in 0..<Int.random(in: 1..<60, using: &generator) {
                let limit = alphabet + Int32(rank)  // a merge may use those before it; several may give the same token
                let pair = (left: Int32.random(in: 0..<limit, using: &generator), right: Int32.random(in: 0..<limit, using: &generator))
                let id = Int32.random(in: 0..<4, using: &generator) == 0 ? limit - 1 : limit
                pairs.append(pair)
                ids.append(id)
                ranked[[pair.left, pair.right]] = (rank, id)
            }
            let table = MergeTable(pairs, ids: ids)
            let word = (0..<Int.random(in: 2..<150, using: &generator)).map { _ in Int32.random(in: 0..<alphabet, using: &generator) }
            let expected = ReferenceEncoding.merge(word, ranked)
            for usesHeap in [false, true] {
                var scratch = MergeScratch()
                for id in word { scratch.symbols.append(Symbol(id: id, bytes: 2, skipped: 1)) }
                if usesHeap { scratch.mergeByHeap(table) } else { scratch.mergeByScanning(table) }
                let found = (0..<scratch.symbols.count).map { scratch.symbols[$0] }
                #expect(found.map(\.id) == expected, "round \(round): \(word), with a heap: \(usesHeap)")
                #expect(found.reduce(0) { $0 + $1.bytes + $1.skipped } == UInt32(3 * word.count))
            }
        }
    }

    @Test("random text with a small vocabulary, new words and known ones, with offsets and without") func small() throws {
        let tokenizer = try TinyTokenizer.make()
        var generator = SeededGenerator(3)
        for _ in 0..<150 {
            let text = RandomText.make(Int.random(in: 1..<400, using: &generator), &generator)
            let expected = try ReferenceEncoding.encode(text, tokenizer, .gpt2)
            #expect(tokenizer.encode(text) == expected, "\(text.debugDescription)")
            let offsets = tokenizer.encodeWithOffsets(text)
            #expect(offsets.map(\.id) == expected)
            #expect(offsets.map { tokenizer.pieces.bytes($0.id).count } == offsets.map(\.range.count))
            #expect(offsets.first?.range.lowerBound == 0 && offsets.last?.range.upperBound == text.utf8.count)
        }
    }

    @Test("random text with a real vocabulary") func real() throws {
        guard let json = try SharedFiles.json("fixtures/tokenizers/bytelevel-gpt2/tokenizer.json") else { return }
        let tokenizer = try Tokenizer(json: json, config: nil, file: "gpt2")
        var generator = SeededGenerator(4)
        for _ in 0..<40 {
            let text = RandomText.make(Int.random(in: 1..<300, using: &generator), &generator)
            let expected = try ReferenceEncoding.encode(text, tokenizer, .gpt2)
            #expect(tokenizer.encode(text) == expected, "\(text.debugDescription)")
            #expect(tokenizer.encode(text) == expected, "the second time: \(text.debugDescription)")
        }
    }

    @Test("words that share places of the cache do not share tokens") func cache() throws {
        let tokenizer = try TinyTokenizer.make()
        var generator = SeededGenerator(9)
        let letters = Array("helowx1_".utf8)
        let words = (0..<100_000).map { _ in
            String(decoding: (0..<Int.random(in: 1...17, using: &generator)).map { _ in letters.randomElement(using: &generator)! }, as: UTF8.self)
        }
        let text = words.joined(separator: " ")
        let first = tokenizer.encode(text)
        #expect(tokenizer.encode(text) == first)
        #expect(tokenizer.encodeWithOffsets(text).map(\.id) == first)
        #expect(same(tokenizer.decode(first), text))
        var sink = TokenSink()
        let bytes = Array(text.utf8)
        bytes.withUnsafeBufferPointer { bytes in
            SplitPattern.gpt2.forEachWord(bytes, 0..<bytes.count) { start, end in
                tokenizer.pipeline.model.encodeUncached(UnsafeBufferPointer(rebasing: bytes[start..<end]), into: &sink)
            }
        }
        #expect(sink.ids.array() == first)
    }

    @Test("SentencePiece text that is cut at spaces gives the tokens of the whole", arguments: ["spm-bpe-llama2", "spm-bpe-gemma"])
    func spaces(name: String) throws {
        guard let json = try SharedFiles.json("fixtures/tokenizers/\(name)/tokenizer.json") else { return }
        let tokenizer = try Tokenizer(json: json, config: nil, file: name)
        let model = tokenizer.pipeline.model
        #expect(model.cutsAtSpaces)
        var generator = SeededGenerator(7)
        for _ in 0..<200 {
            let text = RandomText.make(Int.random(in: 1..<300, using: &generator), &generator).replacingOccurrences(of: " ", with: "▁")
            var whole = TokenSink()
            var parts = TokenSink()
            whole.wantsRanges = true
            parts.wantsRanges = true
            var cached: [Int32] = []
            let bytes = Array(text.utf8)
            bytes.withUnsafeBufferPointer { bytes in
                model.encodeUncached(bytes, into: &whole)
                BytePairEncoding.forEachPart(bytes, 0, bytes.count) { start, end in
                    parts.position = start
                    model.encode(bytes, start, end, into: &parts)
                }
                for _ in 0..<2 {
                    var sink = TokenSink()
                    BytePairEncoding.forEachPart(bytes, 0, bytes.count) { model.encode(bytes, $0, $1, into: &sink) }
                    cached = sink.ids.array()
                }
            }
            #expect(whole.ids.array() == parts.ids.array(), "\(text.debugDescription)")
            #expect(whole.ranges.array().map { [$0.start, $0.end] } == parts.ranges.array().map { [$0.start, $0.end] })
            #expect(cached == whole.ids.array())
        }
    }

    @Test("text is not cut at spaces that a merge joins to what is before") func joiningSpaces() throws {
        func model(_ tokens: [String]) throws -> BytePairEncoding {
            let scores = tokens.indices.map { -Float($0) }
            let types = [2] + [Int32](repeating: 1, count: tokens.count - 1)
            let vocabulary = GGUFVocabulary(model: "llama", pre: "default", tokens: tokens, types: types, scores: scores)
            return try Tokenizer(vocabulary: vocabulary, file: "m.gguf").pipeline.model
        }
        #expect(try model(["<unk>", "▁", "a", "▁▁", "▁a"]).cutsAtSpaces)
        #expect(try !model(["<unk>", "▁", "a", "▁a", "a▁"]).cutsAtSpaces)
        #expect(try !model(["<unk>", "▁", "a", "a▁", "▁a", "▁a▁"]).cutsAtSpaces)
        #expect(try !model(["<unk>", "a", "b", "ab"]).cutsAtSpaces)  // no token for a space
        var parts: [String] = []
        let text = Array("▁▁a▁b▁▁▁cd▁".utf8)
        text.withUnsafeBufferPointer { bytes in
            BytePairEncoding.forEachPart(bytes, 0, bytes.count) { parts.append(String(decoding: bytes[$0..<$1], as: UTF8.self)) }
        }
        #expect(parts == ["▁▁a", "▁b", "▁▁▁cd", "▁"])
    }

    @Test("a word's key holds its bytes and nothing after them") func keys() {
        let bytes = (0..<40).map { UInt8($0 * 7 % 251) }
        for count in 1...WordCache.longest {
            for start in 0...(40 - count) {
                let inside = bytes.withUnsafeBufferPointer { WordCache.Key($0.baseAddress!, start, count: count, limit: 40) }
                let word = Array(bytes[start..<(start + count)])
                let alone = word.withUnsafeBufferPointer { WordCache.Key($0.baseAddress!, 0, count: count, limit: count) }
                #expect(inside == alone, "\(count) bytes at \(start)")
                let other = (word + [0]).withUnsafeBufferPointer { WordCache.Key($0.baseAddress!, 0, count: min(count + 1, 15), limit: count + 1) }
                #expect(count == 15 || other != alone, "\(count) bytes and a zero")
            }
        }
    }

    @Test("texts on many threads give what they give on one") func threads() async throws {
        guard let json = try SharedFiles.json("fixtures/tokenizers/smollm2/tokenizer.json") else { return }
        var generator = SeededGenerator(8)
        var texts: [String] = []
        for _ in 0..<300 { texts.append(RandomText.make(Int.random(in: 0..<3000, using: &generator), &generator)) }
        let alone = try Tokenizer(json: json, config: nil, file: "smollm2")
        let expected = texts.map { alone.encode($0) }
        let fresh = try Tokenizer(json: json, config: nil, file: "smollm2")
        let all = texts
        let results = await withTaskGroup(of: (Int, [[Int32]]).self) { group in
            for task in 0..<8 { group.addTask { (task, all.map { fresh.encode($0) }) } }
            return await group.reduce(into: [[[Int32]]?](repeating: nil, count: 8)) { $0[$1.0] = $1.1 }
        }
        for result in results { #expect(result == expected) }
    }

    @Test("added tokens: leftmost, then longest") func addedTokens() {
        var generator = SeededGenerator(2)
        func string(_ length: ClosedRange<Int>) -> [UInt8] {
            (0..<Int.random(in: length, using: &generator)).map { _ in UInt8.random(in: 97...99, using: &generator) }
        }
        for _ in 0..<300 {
            let contents = (0..<Int.random(in: 1..<6, using: &generator)).map { _ in string(1...4) }
            let matcher = AddedTokenMatcher(contents.enumerated().map { AddedToken(id: Int32($0), content: $1) }, contents: contents)
            let text = string(0...40)
            var expected: [[UInt8]] = []
            var i = 0
            while i < text.count {
                if let found = contents.filter({ text[i...].starts(with: $0) }).max(by: { $0.count < $1.count }) {
                    expected.append(found)
                    i += found.count
                } else {
                    i += 1
                }
            }
            var found: [[UInt8]] = []
            var covered = 0
            text.withUnsafeBufferPointer { text in
                matcher.split(text, 0..<text.count) { range, token in
                    #expect(range.lowerBound == covered)
                    covered = range.upperBound
                    if token != nil { found.append(Array(text[range])) }
                }
            }
            #expect(found == expected && covered == text.count, "\(contents) in \(text)")
        }
    }
}
