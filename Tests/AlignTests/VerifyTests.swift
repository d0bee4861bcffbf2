import Checkpoints
import Foundation
import Serialization
import Testing

@testable import align

/// Numbers of one golden file that `verify` compares.
struct GoldenTarget: Sendable, CustomTestStringConvertible {
    var part: String
    /// What the case needs, below `fixtures/`; the golden file last.
    var files: [String]
    /// Whether a number is compared; by its way in the file, and the verdicts on the unchanged file.
    var isCompared: @Sendable (JSON.Path, [VerifyCase]) -> Bool = { _, _ in true }
    /// Smaller numbers are left alone: a digit of theirs may lie within an absolute tolerance.
    var minimum = 0.0
    var samples = 12

    var golden: String { files[files.count - 1] }
    var testDescription: String { golden }

    static let json: [GoldenTarget] = [
        GoldenTarget(
            part: "models", files: ["models/llama", "models/llama/golden.json"],
            isCompared: { path, _ in
                ["loss", "num_loss_tokens", "sequence_logprob", "grad_norm", "grad_norm_total", "greedy", "last_token_top5", "input_ids", "position_ids"]
                    .contains(path[0])
            }, minimum: 0.1),
        GoldenTarget(
            part: "gguf", files: ["gguf/llama-rope3-f16.gguf", "gguf/llama-rope3-f16.golden.safetensors", "gguf/files.json"],
            isCompared: { path, _ in path.contains("llama-rope3-f16.gguf") && path.last != "max_abs_logit_difference_to_checkpoint" }, minimum: 0.01),
        GoldenTarget(
            part: "gguf", files: ["gguf/quant.safetensors", "gguf/quant.json"],
            isCompared: { path, cases in path.count == 3 && cases.contains { $0.verdict == .passed && $0.name.hasSuffix(" " + path[1]) } }),
        GoldenTarget(
            part: "rope", files: ["rope/rope.json"], isCompared: { path, _ in path.contains("inv_freq") || path.contains("attention_factor") }),
        GoldenTarget(
            part: "losses", files: ["losses/dpo.json"],
            isCompared: { path, cases in path[0] == "cases" && !path.contains("params") && verdict(path, cases) == .passed }, minimum: 1e-4, samples: 30),
        losses("kto", ["loss", "per_example_loss", "rewards", "grad", "z0"]),
        losses("reference_free", ["loss", "per_example_loss", "rewards_chosen", "rewards_rejected", "grad_chosen", "grad_rejected"]),
        losses("grpo", ["loss", "grad", "mean_kl_k3", "clip_fraction"]),
        losses("rloo", ["loss", "grad", "advantages", "sequence_kl", "rewards_with_kl", "baselines", "per_example_loss"]),
        losses("ppo", [
            "loss", "policy_loss", "value_loss", "token_rewards_before_whitening", "token_rewards", "advantages", "returns", "advantages_whitened", "clipfrac",
            "value_clipfrac", "approx_kl", "grad_policy_logps", "grad_values",
        ]),
        losses("distillation", ["loss", "grad_student_logits"]),
        GoldenTarget(
            part: "losses", files: ["losses/kl.json"],
            isCompared: { path, _ in ["k1", "k2", "k3", "loss_gradients"].contains(path[0]) || path.contains("kl") || path.contains("entropy_policy") },
            minimum: 1e-4, samples: 20),
        GoldenTarget(
            part: "optim", files: ["optim/optimizers.json"],
            isCompared: { path, cases in
                path.contains("clipped") || path.contains("total_norm")
                    || path[0] == "cases" && !path.contains("params") && verdict(path, cases) == .passed
            }, samples: 24),
        GoldenTarget(part: "optim", files: ["optim/schedules.json"], isCompared: { path, _ in path.contains("lr") }, samples: 24),
        GoldenTarget(
            part: "tokenizers", files: ["tokenizers/bytelevel-llama3", "tokenizers/bytelevel-llama3/golden.json"],
            isCompared: { path, _ in path[0] != "decode" }),
        GoldenTarget(
            part: "tokenizers", files: ["tokenizers/smollm2", "tokenizers/smollm2/golden.json"], isCompared: { path, _ in path[0] != "decode" },
            samples: 4),
        GoldenTarget(
            part: "templates", files: ["templates/llama3_training.jinja", "templates/llama3_training.golden.json"],
            isCompared: { path, _ in path.contains("generation_spans") }),
    ]

    /// A file of losses, and which numbers of its cases are compared.
    private static func losses(_ name: String, _ keys: [String]) -> GoldenTarget {
        GoldenTarget(
            part: "losses", files: ["losses/\(name).json"], isCompared: { path, _ in path.count > 2 && path[0] == "cases" && keys.contains(path[2]) },
            minimum: 1e-4, samples: 20)
    }

    static let tensors: [GoldenTarget] = [
        GoldenTarget(part: "models", files: ["models/llama-f16", "models/llama-f16/golden.safetensors"], samples: 8),
        GoldenTarget(part: "models", files: ["models/mistral", "models/mistral/golden.safetensors"], samples: 16),
        GoldenTarget(part: "gguf", files: ["gguf/files.json", "gguf/llama-q8_0.gguf", "gguf/llama-q8_0.golden.safetensors"], samples: 6),
        GoldenTarget(part: "gguf", files: ["gguf/quant.json", "gguf/quant.safetensors"]),
    ]

    /// What was said of the case that a number of `cases` belongs to.
    private static func verdict(_ path: JSON.Path, _ cases: [VerifyCase]) -> VerifyCase.Verdict? {
        guard path.count > 1, let index = Int(path[1]), cases.indices.contains(index) else { return nil }
        return cases[index].verdict
    }

    /// A copy of the files, with what `verify` says of them; nil without the shared folder.
    func copy() throws -> (folder: GoldenFolder, cases: [VerifyCase])? {
        guard let shared = GoldenFolder.shared else { return nil }
        // The golden lies in a copied folder, or is copied itself.
        let inside = files.dropLast().contains { golden.hasPrefix($0 + "/") }
        let folder = try GoldenFolder(copying: inside ? files.dropLast() : files, of: shared)
        return (folder, try folder.verify(only: part))
    }
}

@Suite("align verify") struct VerifyTests {
    @Test("one changed digit is noticed", arguments: GoldenTarget.json) func changedDigit(target: GoldenTarget) throws {
        guard let (folder, cases) = try target.copy() else { return }
        defer { folder.remove() }
        #expect(cases.contains { $0.verdict == .passed } && !cases.contains { $0.verdict == .failed }, "\(cases)")
        let golden = try folder.json(target.golden)
        let numbers = golden.numbers().filter { number in
            abs(number.value.double ?? 0) > target.minimum && target.isCompared(number.path, cases)
        }
        try #require(numbers.count > target.samples)
        // Long lists must not crowd the single numbers out: first a kind is chosen, then a number of it.
        let kinds = Dictionary(grouping: numbers) { $0.path.last { Int($0) == nil } ?? "" }.sorted { $0.key < $1.key }.map(\.value)
        var random = SeededNumbers(seed: 17)
        var changes = 0
        while changes < target.samples {
            guard let number = kinds[changes % kinds.count].randomElement(using: &random) else { break }
            guard let changed = number.value.changed(place: Int.random(in: 0...1, using: &random)) ?? number.value.changed(place: 0) else { continue }
            changes += 1
            try folder.write(golden.replacing(number.path, by: changed), target.golden)
            #expect(try folder.fails(target.part), "\(number.path.joined(separator: "/")): \(number.value.text()) became \(changed.text())")
        }
    }

    @Test("one changed digit of a tensor is noticed", arguments: GoldenTarget.tensors) func changedTensor(target: GoldenTarget) throws {
        guard let (folder, cases) = try target.copy() else { return }
        defer { folder.remove() }
        let passed = cases.filter { $0.verdict == .passed }
        #expect(!passed.isEmpty)
        let original = try TensorBytes(folder.bytes(target.golden))
        let failed = cases.filter { $0.verdict == .failed }.map(\.name)
        // Of the block formats only those that this build reads are compared.
        let names = original.tensors.map(\.name).filter { name in
            !name.hasSuffix(".bytes") && (!name.hasSuffix(".expected") || passed.contains { name.hasPrefix(String($0.name.split(separator: " ")[1]) + ".") })
        }
        var random = SeededNumbers(seed: 23)
        for sample in 0..<target.samples {
            var tensors = original
            let name = names[sample % names.count]
            guard let change = tensors.change(name, &random) else { continue }
            try folder.write(tensors.bytes, target.golden)
            let now = try folder.verify(only: target.part).filter { $0.verdict == .failed }.map(\.name)
            #expect(now.count > failed.count, "\(change)")
        }
    }

    @Test("the real model's numbers are compared, where its file is there") func realModel() throws {
        let name = "gguf/smollm2-135m-instruct-q4_1.json"
        guard let shared = GoldenFolder.shared else { return }
        let folder = try GoldenFolder(copying: [name], of: shared)
        defer { folder.remove() }
        let whole = try folder.json(name)
        guard let file = whole["file"]?.string, let model = Checkpoint.defaultModel(), (model as NSString).lastPathComponent == file,
            FileManager.default.fileExists(atPath: model)
        else { return print("skipped: the model of \(name) is not in the cache") }
        // One prompt is enough here.
        let golden = whole.replacing(["prompts"], by: .array((whole["prompts"]?.array ?? []).prefix(1).map { $0 }))
        try folder.write(golden, name)
        let cases = try folder.verify(only: "gguf")
        #expect(cases.count == 4 && cases.allSatisfy { $0.verdict == .passed && $0.tolerance != nil }, "\(cases)")
        for path in [["top10", "4", "1"], ["completion_token_logprobs", "2"], ["completion_logprob"], ["logsumexp"], ["greedy_12", "11"]] {
            guard let number = golden.numbers().first(where: { $0.path == ["prompts", "0"] + path }), let changed = number.value.changed(place: 1)
            else {
                Issue.record("there is no \(path)")
                continue
            }
            try folder.write(golden.replacing(number.path, by: changed), name)
            #expect(try folder.fails("gguf"), "\(path): \(number.value.text()) became \(changed.text())")
        }
    }

    @Test("one changed letter of a rendered template is noticed") func changedLetter() throws {
        let name = "templates/data--meta-llama-Llama-3.2-3B-Instruct"
        let target = GoldenTarget(part: "templates", files: [name + ".jinja", name + ".golden.json"])
        guard let (folder, cases) = try target.copy() else { return }
        defer { folder.remove() }
        #expect(cases.map(\.verdict) == [.passed])
        let golden = try folder.json(target.golden)
        let count = golden["cases"]?.array?.count ?? 0
        var random = SeededNumbers(seed: 5)
        for index in 0..<count {
            guard let text = golden["cases"]?[index]?["rendered"]?.string, !text.isEmpty else { continue }
            var scalars = Array(text.unicodeScalars)
            let place = Int.random(in: scalars.indices, using: &random)
            scalars[place] = scalars[place] == "7" ? "8" : "7"
            let changed = String(String.UnicodeScalarView(scalars))
            try folder.write(golden.replacing(["cases", String(index), "rendered"], by: .string(changed)), target.golden)
            #expect(try folder.fails("templates"), "letter \(place) of case \(index)")
        }
        // The date is the golden's own.
        try folder.write(golden.replacing(["now"], by: "2027-01-15T09:05:00"), target.golden)
        #expect(try folder.fails("templates"))
    }
}
