import Foundation
import Serialization
import Testing

@testable import Tokenizers

@Suite("Tokenizers, golden") struct TokenizerGoldenTests {
    static let names = [
        "smollm2", "bytelevel-gpt2", "bytelevel-neox", "bytelevel-llama3", "bytelevel-qwen2", "bytelevel-o200k", "spm-bpe-llama2", "spm-bpe-gemma",
    ]

    /// Checks one golden file, and says how much of it agrees.
    static func check(_ tokenizer: Tokenizer, _ golden: JSON, _ name: String) {
        func ids(_ value: JSON?) -> [Int32] { value?.array?.compactMap { $0.int.map(Int32.init) } ?? [] }
        var (passed, total) = (0, 0)
        func expect(_ holds: Bool, _ note: @autoclosure () -> String) {
            total += 1
            if holds { passed += 1 } else { Issue.record("\(name): \(note())") }
        }
        for item in golden["encode"]?.array ?? [] {
            let (text, expected) = (item["text"]?.string ?? "", ids(item["ids"]))
            let found = tokenizer.encode(text)
            expect(found == expected, "\(text.debugDescription): \(found) instead of \(expected)")
            let special = item["ids_with_special"].map(ids) ?? expected
            let withSpecial = tokenizer.encode(text, addSpecialTokens: true)
            expect(withSpecial == special, "\(text.debugDescription): \(withSpecial) instead of \(special)")
            expect(tokenizer.encodeWithOffsets(text).map(\.id) == expected, "\(text.debugDescription): other ids with offsets")
            let decoded = item["decoded"]?.string ?? text
            let back = tokenizer.decode(expected)
            expect(same(back, decoded), "\(expected): \(back.debugDescription) instead of \(decoded.debugDescription)")
            let skipped = tokenizer.decode(expected, skipSpecialTokens: true)
            expect(same(skipped, item["decoded_skip_special"]?.string ?? decoded), "\(expected): \(skipped.debugDescription) without special tokens")
        }
        for item in golden["decode"]?.array ?? [] {
            let tokens = ids(item["ids"])
            let (all, skipped) = (tokenizer.decode(tokens), tokenizer.decode(tokens, skipSpecialTokens: true))
            expect(same(all, item["decoded"]?.string ?? ""), "\(tokens): \(all.debugDescription) instead of \(item["decoded"]?.text() ?? "")")
            expect(same(skipped, item["decoded_skip_special"]?.string ?? ""), "\(tokens): \(skipped.debugDescription) without special tokens")
        }
        for item in golden["pieces"]?.array ?? [] {
            let text = item["text"]?.string ?? ""
            let found = tokenizer.encodeWithOffsets(text).map { tokenizer.token($0.id) ?? "?" }
            expect(found == item["tokens"]?.array?.compactMap(\.string), "\(text.debugDescription): \(found)")
        }
        print("\(name): \(passed) of \(total)")
    }

    @Test("fixtures", arguments: names) func fixture(name: String) throws {
        let folder = "fixtures/tokenizers/\(name)/"
        guard let json = try SharedFiles.json(folder + "tokenizer.json"), let golden = try SharedFiles.json(folder + "golden.json") else { return }
        Self.check(try Tokenizer(json: json, config: nil, file: name), golden, name)
    }

    @Test("byte-level offsets are Hugging Face's, once widened to whole characters", arguments: ["smollm2", "bytelevel-qwen2", "bytelevel-o200k"])
    func offsets(name: String) throws {
        let folder = "fixtures/tokenizers/\(name)/"
        guard let json = try SharedFiles.json(folder + "tokenizer.json"), let golden = try SharedFiles.json(folder + "golden.json") else { return }
        let tokenizer = try Tokenizer(json: json, config: nil, file: name)
        for item in golden["pieces"]?.array ?? [] {
            let text = item["text"]?.string ?? ""
            let bytes = Array(text.utf8)
            func isInside(_ i: Int) -> Bool { i > 0 && i < bytes.count && bytes[i] & 0xC0 == 0x80 }
            func scalars(_ i: Int) -> Int { bytes[..<i].reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) } }
            let found = tokenizer.encodeWithOffsets(text).map { token -> [Int] in
                var (start, end) = (token.range.lowerBound, token.range.upperBound)
                while isInside(start) { start -= 1 }
                while isInside(end) { end += 1 }
                return [scalars(start), scalars(end)]
            }
            let expected = item["offsets"]?.array?.map { $0.array?.compactMap(\.int) ?? [] }
            #expect(found == expected, "\(text.debugDescription): \(found) instead of \(expected ?? [])")
        }
    }

    @Test("real vocabularies", arguments: ["gpt2", "gpt_neox", "mistral03"]) func real(name: String) throws {
        guard let root = SharedFiles.root, let golden = try SharedFiles.json("fixtures/tokenizers/data--\(name).golden.json") else { return }
        let path = root + "/data/tokenizers/\(name)/tokenizer.json.gz"
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/gzip")
        process.arguments = ["-dc", path]
        let pipe = Pipe()
        process.standardOutput = pipe
        guard (try? process.run()) != nil else {
            print("skipped: \(path) needs gzip")
            return
        }
        let bytes = [UInt8](pipe.fileHandleForReading.readDataToEndOfFile())
        Self.check(try Tokenizer(json: try JSON.parse(bytes), config: nil, file: name), golden, "data--\(name)")
    }

    @Test("SmolLM2 from GGUF metadata") func fromGGUF() throws {
        let folder = "fixtures/tokenizers/smollm2/"
        guard let json = try SharedFiles.json(folder + "tokenizer.json"), let golden = try SharedFiles.json(folder + "golden.json") else { return }
        let source = try Tokenizer(json: json, config: nil, file: "smollm2")
        let merges = json["model"]?["merges"]?.array ?? []
        let vocabulary = GGUFVocabulary(
            model: "gpt2", pre: "smollm", tokens: (0..<source.vocabularySize).map { source.token(Int32($0)) ?? "" },
            types: (0..<source.vocabularySize).map { source.isSpecial(Int32($0)) ? 3 : 1 },
            merges: merges.map { $0.string ?? ($0.array ?? []).compactMap(\.string).joined(separator: " ") }, bos: 1, eos: 2)
        let tokenizer = try Tokenizer(vocabulary: vocabulary, file: "smollm2.gguf")
        Self.check(tokenizer, golden, "smollm2 (GGUF)")
        let saved = try Tokenizer(json: tokenizer.json(), config: tokenizer.configJSON(chatTemplate: nil), file: "saved")
        Self.check(saved, golden, "smollm2 (saved)")
    }
}
