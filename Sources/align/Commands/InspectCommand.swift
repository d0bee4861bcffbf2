import Checkpoints
import Models
import Serialization
import Tensors

/// Says what a checkpoint is, without reading its weights into memory.
struct InspectCommand: Command {
    static let usage = Usage(
        "inspect", "Show what a checkpoint is: architecture, sizes, tokenizer, template, memory for training.",
        [
            .optional("model", "PATH", "the same as MODEL", aliases: ["model_name_or_path"]),
            .switched("tensors", "list every tensor: name, shape, type"),
            .switched("no-hash", "leave out the content hash, for which weights are read once"),
            .switched("json", "print one JSON object"),
        ],
        positionals: [Positional(placeholder: "MODEL", help: "a Hugging Face folder, a .safetensors or a .gguf file", count: .optional)],
        example: "align inspect SmolLM2/ --tensors",
        notes: "Without MODEL it is the cached SmolLM2-135M-Instruct.")

    let path: String?
    let listsTensors: Bool
    let hashes: Bool
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        let named = arguments.optionalText("model")
        if named != nil, let first = arguments.positionals.first {
            throw .extraArgument(command: Self.usage.name, found: first, accepts: "MODEL or --model, not both")
        }
        path = arguments.positionals.first ?? named
        listsTensors = arguments.isOn("tensors")
        hashes = !arguments.isOn("no-hash")
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        let checkpoint = try Checkpoint.open(try ModelChoice.resolve(path))
        let summary = ModelSummary(checkpoint, contentHash: hashes ? try checkpoint.contentHash() : nil, precision: try Compute(threads: 1).defaultPrecision)
        try Output.write(isJSON ? summary.json(tensors: listsTensors).text(pretty: true) + "\n" : summary.text(tensors: listsTensors))
    }
}
