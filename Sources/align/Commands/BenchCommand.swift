import Checkpoints
import Foundation
import Models
import Serialization
import Tensors

/// Measures what this machine does: products and memory first, as the floor, then a model's training step and decoding against it.
struct BenchCommand: Command {
    static let usage = Usage(
        "bench", "Measure products, memory, a training step and decoding on this machine.",
        ModelChoice.flags + [
            .optional("rounds", "N", "measurements of each figure; the median counts, the spread is shown", default: "5"),
            .optional("pairs", "N", "preference pairs of one training step", default: "4"),
            .optional("prompt-tokens", "N", "tokens of a pair's prompt", default: "200"),
            .optional("completion-tokens", "N", "tokens of either completion", default: "150"),
            .list("only", "PART", "only this part: products, memory, step or decode"),
            .switched("json", "print one JSON object"),
        ],
        example: "align bench --precision bf16 --rounds 7",
        notes: """
            A training step is a DPO step on random tokens: forward, backward, clipping, AdamW and packing. Its tokens are those \
            that an implementation without shared prompts would process. "of products" relates its arithmetic to the fastest \
            product measured in the same run: machines differ and are shared, so compare ratios.
            """)
    static let parts = ["products", "memory", "step", "decode"]

    let choice: ModelChoice
    let rounds, pairs, promptTokens, completionTokens: Int
    let only: [String]
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        choice = try ModelChoice(arguments)
        rounds = try arguments.integer("rounds", in: 1...1000, default: 5, expected: "a number of measurements, such as 5")
        pairs = try arguments.integer("pairs", in: 1...4096, default: 4, expected: "a number of pairs, such as 4")
        promptTokens = try arguments.integer("prompt-tokens", in: 1...100_000, default: 200, expected: "a number of tokens, such as 200")
        completionTokens = try arguments.integer("completion-tokens", in: 1...100_000, default: 150, expected: "a number of tokens, such as 150")
        only = arguments.list("only")
        if let unknown = only.first(where: { !Self.parts.contains($0) }) {
            throw .badValue(command: "bench", flag: "only", found: unknown, expected: "one of " + Self.parts.joined(separator: ", "))
        }
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        let compute = try choice.compute()
        let precision = choice.precision(on: compute)
        var figures: [Figure] = []
        func tell(_ figure: Figure) throws {
            figures.append(figure)
            if !isJSON { try Output.line(figure.line) }
        }
        func wants(_ part: String) -> Bool { only.isEmpty || only.contains(part) }
        if !isJSON { try Output.line("\(Machine.processor); \(compute.threads) threads, \(compute.identity(precision)) kernels, \(precision.rawValue)") }
        var peak = 0.0
        if wants("products") || wants("step") {
            for shape in MachineBench.shapes {
                let figure = MachineBench.product(shape, precision: precision, rounds: rounds, on: compute)
                peak = max(peak, figure.median)
                try tell(figure)
            }
        }
        if wants("memory") { try tell(MachineBench.memory(rounds: rounds, on: compute)) }
        if wants("step") || wants("decode") {
            let checkpoint = try Checkpoint.open(try choice.resolve())
            let model = try ModelBench(checkpoint, precision: precision, on: compute)
            if wants("step") {
                let shape = (pairs: pairs, prompt: promptTokens, completion: completionTokens)
                for figure in try model.step(shape, rounds: rounds, peak: peak) { try tell(figure) }
            }
            if wants("decode") {
                for figure in try model.decode(rounds: rounds, stored: false) { try tell(figure) }
                if checkpoint.isQuantized { for figure in try model.decode(rounds: rounds, stored: true) { try tell(figure) } }
            }
        }
        if let bytes = Machine.peakMemory { try tell(Figure("peak memory", [Double(bytes) / 1e9], "GB")) }
        if isJSON {
            let head: [(String, JSON)] = [
                ("processor", .string(Machine.processor)), ("threads", .integer(compute.threads)), ("kernels", .string(compute.identity(precision))),
                ("precision", .string(precision.rawValue)),
            ]
            try Output.line(JSON.object(JSONObject(head + [("figures", .array(figures.map(\.json)))])).text(pretty: true))
        }
    }
}
