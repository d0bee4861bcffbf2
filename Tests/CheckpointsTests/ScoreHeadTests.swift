import Foundation
import Serialization
import Testing

@testable import Checkpoints

@Suite("Score heads on disk") struct ScoreHeadTests {
    private let folder = FileManager.default.temporaryDirectory.path + "/align-head-\(UUID().uuidString)"

    /// Saves a tiny reward model whose head has another name, or other tensors beside it.
    private func save(_ change: (JSONObject) -> JSONObject = { $0 }, head: String = "score.weight", outputs: Int = 1, extra: [String: [Int]] = [:]) throws -> String {
        let object = try #require(try JSON.parse(TinyLlama.configText).object)
        var base = try ModelConfig(json: .object(object), file: "config.json").scoring(outputs: outputs)
        let written = try #require(base.json(dtype: "F32").object)
        base.raw = .object(written)
        var tensors = base.requiredTensors().map { ($0.name == "score.weight" ? head : $0.name, $0.shape) }
        tensors += extra.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        let target = try AtomicFolder(folder, replaces: true)
        try target.write("config.json", .object(change(written)))
        let sources = tensors.enumerated().map { index, tensor in
            TensorSource(name: tensor.0, shape: tensor.1) { range, buffer throws(CheckpointError) in
                for (i, element) in range.enumerated() { buffer[i] = Float(index) + Float(element) / 1000 }
            }
        }
        try SafetensorsWriter.write(sources, dtype: .f32, to: target, name: "model.safetensors")
        try target.commit()
        return folder
    }

    private func head(_ checkpoint: Checkpoint) throws -> [Float] {
        var values = [Float](repeating: .nan, count: checkpoint.config.scoreOutputs * checkpoint.config.hiddenSize)
        try values.withUnsafeMutableBufferPointer { try checkpoint.read("score.weight", into: $0) }
        return values
    }

    @Test("labels are counted as transformers counts them") func labels() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        func labels(_ change: (JSONObject) -> JSONObject, outputs: Int) throws -> Int { try Checkpoint.open(save(change, outputs: outputs)).config.scoreOutputs }
        func without(_ object: JSONObject, _ keys: [String]) -> JSONObject { JSONObject(object.members.filter { !keys.contains($0.key) }.map { ($0.key, $0.value) }) }
        #expect(try labels({ $0 }, outputs: 3) == 3)
        #expect(try labels({ without($0, ["num_labels"]) }, outputs: 3) == 3)
        #expect(try labels({ without($0, ["id2label", "label2id"]) }, outputs: 3) == 3)
        #expect(try labels({ without($0, ["num_labels", "id2label", "label2id"]) }, outputs: 2) == 2)
    }

    @Test("OpenRLHF's names are read: its classes, and value_head.weight") func otherNames() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let own = try head(Checkpoint.open(save()))
        let other = try Checkpoint.open(save({ object in
            var object = object
            (object["architectures"], object["num_labels"], object["id2label"]) = (["RewardModel"], nil, nil)
            return object
        }, head: "value_head.weight"))
        #expect(try head(other) == own && other.config.scoreOutputs == 1, "\(own.prefix(3))")
    }

    @Test("heads that are not read are named") func refused() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        func error(_ open: () throws -> Checkpoint) -> String { do { _ = try open(); return "none" } catch { return "\(error)" } }
        let trl = error { try Checkpoint.open(save(head: "v_head.summary.weight")) }
        #expect(trl.contains("v_head.summary.weight"), "\(trl)")
        let bias = error { try Checkpoint.open(save(extra: ["score.bias": [1]])) }
        #expect(bias.contains("score.bias"), "\(bias)")
        let none = error { try Checkpoint.open(save(head: "other.weight")) }
        #expect(none.contains("score.weight"), "\(none)")
        let normalised = error { try Checkpoint.open(save { var object = $0; object["normalize_reward"] = true; return object }) }
        #expect(normalised.contains("normalize_reward"), "\(normalised)")
    }
}
