import Checkpoints
import Foundation
import Models

/// Writes models that are made of others.
struct MergeCommand: Command {
    static let usage = Usage(
        "merge", "Write a model with its adapter merged into the weights: W + s·B·A (DoRA: rescaled to its magnitudes).",
        [
            .required("adapter", "DIR", "PEFT adapter: adapter_config.json and adapter_model.safetensors"),
            .required("out", "DIR", "folder to write, Hugging Face layout", aliases: ["output_dir"]),
            .optional("base", "PATH", "the adapter's base", default: "as the adapter's config names it", aliases: ["model", "model_name_or_path"]),
            .optional("save-dtype", "F32|BF16|F16", "type of the weights", default: "F32"),
        ], example: "align merge --adapter runs/dpo-1/model --out merged")

    let adapter: String, out: String
    let base: String?
    let type: WeightType

    init(_ arguments: Arguments) throws(UsageError) {
        adapter = try arguments.text("adapter")
        out = try arguments.text("out")
        base = arguments.optionalText("base")
        type = try arguments.choice("save-dtype", default: .f32)
    }

    func run() async throws {
        let checkpoint = try AdapterChoice.open(adapter, base: base)
        try CheckpointWriter.save(CheckpointWriter.Model(checkpoint), tensors: checkpoint.tensorSources, dtype: type, to: out)
        try Output.write("\(out): \(checkpoint.base?.path ?? "") with \(adapter), \(type.rawValue)\n")
    }
}

/// An adapter that a command works with.
enum AdapterChoice {
    /// The adapter's folder with its base, which may lie elsewhere than its config says.
    static func open(_ path: String, base: String?) throws -> Checkpoint {
        guard fileExists(path) else { throw CommandError.missingFile(path: path, what: "an adapter's folder") }
        guard AdapterFile.exists(at: path) else {
            throw CommandError.badData(path: path, reason: "found no \(AdapterFile.configName), expected the folder of a PEFT adapter")
        }
        guard let base else { return try Checkpoint.open(path) }
        guard fileExists(base) else { throw CommandError.missingFile(path: base, what: "the adapter's base") }
        return try Checkpoint(base: try Checkpoint.open(base), adapter: AdapterFile(folder: path))
    }
}
