import Checkpoints
import Foundation
import Serialization
import Testing

@Suite("align inspect") struct InspectCommandTests {
    @Test("JSON says what the checkpoint says") func json() throws {
        let folder = try TinyFolder()
        let checkpoint = try Checkpoint.open(folder.model)
        let result = try Child.run("inspect", folder.model, "--json", "--tensors")
        #expect(result.code == 0, "\(result.err)")
        let json = try JSON.parse(result.out)
        let hash = try checkpoint.contentHash()
        #expect(json["parameters"]?.int == checkpoint.config.parameterCount && json["content_hash"]?.string == hash)
        #expect(json["architecture"] == "LlamaForCausalLM" && json["context_length"] == 256 && json["rope"]?["theta"]?.double == 10_000)
        #expect(json["dtypes"]?["F32"]?["parameters"]?.int == checkpoint.config.parameterCount)
        #expect(json["tensors"]?.array?.count == checkpoint.tensors.count)
        #expect(json["tensors"]?[0] == ["name": "model.embed_tokens.weight", "shape": [258, 32], "dtype": "F32"])
        #expect(json["special_tokens"]?["eos"] == ["token": "</s>", "id": 257] && json["chat_template"]?["usable"] == true)
        let bytes = try FileManager.default.attributesOfItem(atPath: folder.model + "/model.safetensors")[.size] as? Int
        #expect(json["bytes"]?.int == bytes)
        // Weights, gradients and two moments, four bytes each, are the least that training takes.
        #expect(json["memory"]?["training"]?.int ?? 0 >= 16 * checkpoint.config.parameterCount)
    }

    @Test("as text, with and without a template") func text() throws {
        let folder = try TinyFolder(hasTemplate: false)
        let plain = try Child.run("inspect", folder.model, "--no-hash")
        #expect(plain.code == 0 && plain.out.contains("absent") && !plain.out.contains("hash"), "\(plain.out)")
        _ = try folder.write("model/chat_template.jinja", "{% for %}")
        let broken = try Child.run("inspect", "--model", folder.model, "--tensors")
        #expect(broken.code == 0 && broken.out.contains("cannot be used") && broken.out.contains("model.layers.1.mlp.down_proj.weight"), "\(broken.out)")
    }

    @Test("what is no checkpoint: exit 65, what is not there: 66") func refusals() throws {
        let folder = try TinyFolder()
        #expect(try Child.run("inspect", folder.path).code == 65)
        #expect(try Child.run("inspect", folder.path + "/none").code == 66)
        try FileHandle(forWritingTo: URL(fileURLWithPath: folder.model + "/model.safetensors")).truncate(atOffset: 1000)
        #expect(try Child.run("inspect", folder.model).code == 65)
    }
}
