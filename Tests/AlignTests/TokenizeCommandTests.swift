import Foundation
import Serialization
import Testing

@Suite("align tokenize") struct TokenizeCommandTests {
    @Test("decoding reverses encoding", arguments: ["hello", "a\r\nb\n", "naïve 😀\t<s>x</s>", " ", ""]) func roundTrip(text: String) throws {
        let folder = try TinyFolder()
        let ids = try Child.run("tokenize", "--model", folder.model, input: text)
        #expect(ids.code == 0, "\(ids.err)")
        let back = try Child.run("tokenize", "--model", folder.model, "--decode", input: ids.out)
        #expect(back.code == 0 && back.out == text, "\(ids.out) became \(back.out)")
    }

    @Test("ids, special tokens and JSON") func forms() throws {
        let folder = try TinyFolder()
        #expect(try Child.run("tokenize", "--model", folder.model, "hi", "a").out == "104 105 32 97\n")
        #expect(try Child.run("tokenize", "--model", folder.model, "--special", "hi").out == "256 104 105\n")
        let json = try Child.run("tokenize", "--model", folder.model, "--json", "h é").json()[0]
        #expect(json["ids"] == [104, 32, 195, 169] && json["tokens"] == ["h", "Ġ", "Ã", "©"] && json["text"] == "h é", "\(json.text())")
        #expect(try Child.run("tokenize", "--model", folder.model, "--decode", "[104,105]").out == "hi")
        #expect(try Child.run("tokenize", "--model", folder.model, "--file", folder.write("t.txt", "hi\n")).out == "104 105 10\n")
    }

    @Test("--chat renders one user message") func chat() throws {
        let folder = try TinyFolder()
        let ids = try Child.run("tokenize", "--model", folder.model, "--chat", "hi").out
        #expect(try Child.run("tokenize", "--model", folder.model, "--decode", input: ids).out == "<s>user\nhi</s>\n<s>assistant\n")
        let bare = try TinyFolder(hasTemplate: false)
        let result = try Child.run("tokenize", "--model", bare.model, "--chat", "hi")
        #expect(result.code == 65, "exit \(result.code)")
    }

    @Test("no weights are needed") func withoutWeights() throws {
        let folder = try TinyFolder()
        for name in ["model.safetensors", "config.json"] { try FileManager.default.removeItem(atPath: folder.model + "/" + name) }
        #expect(try Child.run("tokenize", "--model", folder.model, "hi").out == "104 105\n")
        #expect(try Child.run("tokenize", "--model", folder.model + "/tokenizer.json", "hi").out == "104 105\n")
    }

    @Test("what is no id is named with its line") func badIds() throws {
        let folder = try TinyFolder()
        for (text, found) in [("1 2\r\n3 x4\n", "\"x4\""), ("1\n258", "\"258\""), ("1\n-1", "\"-1\""), ("1\n99999999999", "\"99999999999\"")] {
            let result = try Child.run("tokenize", "--model", folder.model, "--decode", input: text)
            #expect(result.code == 65 && result.err.contains("standard input:2: found \(found)"), "exit \(result.code): \(result.err)")
        }
        let broken = try folder.write("broken.json", "")
        try Data([0xff, 0xfe, 0x41]).write(to: URL(fileURLWithPath: broken))
        #expect(try Child.run("tokenize", "--model", folder.model, "--file", broken).code == 65)
        #expect(try Child.run("tokenize", "--model", folder.model, "--file", "/nowhere/text").code == 66)
    }
}
