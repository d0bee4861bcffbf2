import Checkpoints
import Foundation
import Models
import Serialization
import Synchronization
import Tensors
import Testing
import Training

@testable import align

/// Training with adapters from the command line, and what is made of its result.
@Suite("Adapter stages") struct AdapterStageTests {
    let place: KilledFolder
    init() throws { place = try KilledFolder() }

    static let knobs: [[String]] = [
        ["--lora-rank", "4", "--lora-dropout", "0.2"], ["--lora", "--lora-alpha", "8", "--rslora", "--lora-target", "q_proj,v_proj,down_proj"],
        ["--lora-r", "3", "--use-dora", "--lora_target_modules", ".*layers\\.1\\..*"],
    ]

    /// - Parameter end: The checkpoint after which the run is told to stop.
    private func train(_ run: String, threads: Int = 2, _ more: [String], end: Int? = nil) async throws {
        let invocation = try DPOCommand.parse(place.words(run, more)).invocation
        var context = invocation.context(on: try Compute(threads: threads), model: place.folder.model)
        let stops = Stop()
        context.isCancelled = { stops.isSet.withLock { $0 } }
        context.report = { if case let .checkpoint(step, _) = $0, step == end { stops.isSet.withLock { $0 = true } } }
        let outcome = try await PreferenceOptimization(invocation.settings).run(in: context)
        #expect(outcome.status == (end == nil ? .finished : .interrupted))
    }

    private final class Stop: Sendable { let isSet = Mutex(false) }

    private func text(_ path: String) throws -> String { try String(contentsOfFile: place.path + "/" + path, encoding: .utf8) }

    @Test("a resumed run ends with the bits of an uninterrupted one", arguments: knobs) func resumed(knobs: [String]) async throws {
        try await train("whole", knobs)
        try await train("cut", knobs, end: 4)
        try await train("cut", knobs + ["--resume"])
        let differences = try place.differences("whole", "cut")
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
    }

    @Test("two threads do what one does, bit for bit", arguments: knobs) func threads(knobs: [String]) async throws {
        for threads in [1, 2] { try await train("\(threads)", threads: threads, knobs) }
        let differences = try place.differences("1", "2")
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
    }

    @Test("one micro-batch of eight and eight of one take the same steps, dropout and all") func accumulation() async throws {
        let more = ["--precision", "fp32", "--adam-epsilon", "1e-2", "--epochs", "6", "--lora-rank", "4", "--lora-dropout", "0.3"]
        for (batch, accumulation) in [(8, 1), (1, 8)] {
            try await train("\(batch)x\(accumulation)", more + ["--batch-size", "\(batch)", "--gradient-accumulation-steps", "\(accumulation)"])
        }
        for (one, other) in zip(try place.metrics("8x1"), try place.metrics("1x8")) {
            for key in ["loss", "grad_norm", "eval_loss"] {
                let (a, b) = (one[key]?.double ?? 0, other[key]?.double ?? 0)
                #expect(abs(a - b) <= 1e-5 * max(1, abs(a)), "\(key): \(a) and \(b)")
            }
        }
    }

    @Test("the reference is the base: the first loss is log 2, also from an adapter that says something, and also after a resume") func reference() async throws {
        try await train("first", ["--lora-rank", "4"])
        #expect(abs((try place.metrics("first").first { $0["loss"] != nil }?["loss"]?.double ?? 0) - 0.6931471805599453) < 1e-6)
        let started = ["--lora-init", "\(place.path)/first/model", "--learning-rate", "0"]
        try await train("second", started)
        let (last, again) = (try place.metrics("first").last, try place.metrics("second").first)
        let (a, b) = (last?["eval_rewards/margins"]?.double ?? 0, again?["eval_rewards/margins"]?.double ?? 1)
        #expect(a != 0 && abs(a - b) < 1e-6, "held-out margin at the end \(a), of a run that starts there \(b)")
        // An empty store: the reference is computed again by the resumed process.
        try await train("cut", started, end: 4)
        try? FileManager.default.removeItem(atPath: "\(place.path)/cut.sqlite")
        try await train("cut", started + ["--resume"])
        #expect(try place.differences("second", "cut").filter { $0.hasPrefix("metrics") }.isEmpty)
    }

    @Test("checkpoints and model/ are PEFT folders that name their base; they hold the adapter alone") func layout() async throws {
        try await train("run", ["--lora-rank", "4", "--dora"])
        for folder in ["run/model", "run/checkpoints/step-8"] {
            let config = try JSON.parse(try text(folder + "/adapter_config.json"))
            #expect(config["peft_type"]?.string == "LORA" && config["r"]?.int == 4 && config["lora_alpha"]?.int == 8 && config["use_dora"]?.bool == true, "\(config.text())")
            #expect(config["base_model_name_or_path"]?.string.map { URL(fileURLWithPath: $0).standardized.path.hasSuffix("/model") } == true, "\(config.text())")
            let file = try SafetensorsFile(path: place.path + "/" + folder + "/adapter_model.safetensors")
            #expect(file.names.count == 2 * 7 * 3 && file.info("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight")?.shape == [4, 48], "\(file.names)")
            #expect(file.info("base_model.model.model.layers.0.self_attn.k_proj.lora_magnitude_vector")?.shape == [16], "\(file.names)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: place.path + "/" + folder).allSatisfy { $0 != "model.safetensors" })
        }
    }

    @Test("a base of other content is refused by name") func otherBase() async throws {
        try await train("run", ["--lora-rank", "2"])
        let file = URL(fileURLWithPath: place.folder.model + "/model.safetensors")
        var data = try Data(contentsOf: file)
        data[data.count - 2] ^= 0x40
        try data.write(to: file)
        #expect { try Checkpoint.open(place.path + "/run/model") } throws: { error in
            guard case let CheckpointError.incomplete(path, found, _) = error else { return false }
            return path.hasSuffix("/model") && found.contains("run/model")
        }
    }

    @Test("adapter settings without an adapter, and twice, are refused", arguments: [
        ["--lora-alpha", "3"], ["--dora"], ["--base-precision", "bf16"], ["--lora-init", "x", "--lora-rank", "3"],
    ])
    func conflicts(words: [String]) throws {
        #expect(throws: UsageError.self) { _ = try DPOCommand.parse(place.words("run", words)) }
    }

    @Test("names that no layer has are an error that says which there are") func nothingToAdapt() async throws {
        let invocation = try DPOCommand.parse(place.words("run", ["--lora", "--lora-target", "query"])).invocation
        let context = invocation.context(on: try Compute(threads: 1), model: place.folder.model)
        await #expect(throws: AdapterError.nothingToAdapt(targets: .modules(["query"]))) { _ = try await PreferenceOptimization(invocation.settings).run(in: context) }
    }

    // MARK: merge and convert

    private func run(_ words: [String]) throws -> String {
        let result = try Child(words).wait()
        #expect(result.code == 0, "align \(words.joined(separator: " ")): exit \(result.code), \(result.err)")
        return result.out
    }

    private func logProbs(_ model: String) throws -> [Double] {
        try run(["score", "--pairs", place.pairs, "--model", model, "--precision", "fp32", "--threads", "2"]).split(separator: "\n").flatMap { line in
            let row = try JSON.parse(String(line))
            return ["chosen", "rejected"].compactMap { row[$0]?["logprob"]?.double }
        }
    }

    @Test("merge writes what the adapter computes; a GGUF file and back, and a GGUF adapter and back, keep every bit") func conversions() async throws {
        try await train("run", ["--lora-rank", "4", "--learning-rate", "1e-2"])
        let adapter = place.path + "/run/model"
        let (base, adapted) = (try logProbs(place.folder.model), try logProbs(adapter))
        #expect(zip(base, adapted).contains { abs($0 - $1) > 1e-2 }, "the adapter says nothing")
        _ = try run(["merge", "--adapter", adapter, "--out", place.path + "/merged"])
        let merged = try logProbs(place.path + "/merged")
        #expect(zip(adapted, merged).allSatisfy { abs($0 - $1) < 1e-5 }, "adapter \(adapted[0]), merged \(merged[0])")

        _ = try run(["convert", place.path + "/merged", "--out", place.path + "/merged.gguf", "--type", "F32"])
        #expect(try logProbs(place.path + "/merged.gguf") == merged)
        _ = try run(["convert", place.path + "/merged.gguf", "--out", place.path + "/back"])
        let (a, b) = (try Checkpoint.open(place.path + "/merged"), try Checkpoint.open(place.path + "/back"))
        for (name, shape) in a.config.requiredTensors() {
            var (x, y) = ([Float](repeating: 0, count: shape.reduce(1, *)), [Float](repeating: 1, count: shape.reduce(1, *)))
            try x.withUnsafeMutableBufferPointer { try a.read(name, into: $0) }
            try y.withUnsafeMutableBufferPointer { try b.read(name, into: $0) }
            #expect(x == y, "\(name) differs")
        }
        #expect(b.tokenizer?.encode("why <s>is</s> it?") == a.tokenizer?.encode("why <s>is</s> it?"))

        _ = try run(["convert", adapter, "--out", place.path + "/adapter.gguf"])
        _ = try run(["convert", place.path + "/adapter.gguf", "--base", place.folder.model, "--out", place.path + "/adapter"])
        #expect(try logProbs(place.path + "/adapter") == adapted)
    }

    @Test("convert --check says what is left of the margin, and warns where too little is") func check() async throws {
        try await train("run", ["--lora-rank", "4", "--learning-rate", "1e-2", "--no-shuffle"])
        let exact = try run(["convert", place.path + "/run/model", "--out", place.path + "/a.gguf", "--check", "--pairs", place.pairs])
        #expect(exact.contains("100.0 %"), "\(exact)")
        // Four bits lose something of weights this small.
        let rough = try Child(["convert", place.path + "/run/model", "--merge", "--type", "Q4_0", "--out", place.path + "/b.gguf", "--check", "--pairs", place.pairs]).wait()
        #expect(rough.code == 0 && rough.out.contains("share of the margin that survives:") && !rough.out.contains("100.0 %"), "\(rough.out)\(rough.err)")
        let without = try Child(["convert", place.folder.model, "--out", place.path + "/c.gguf", "--check"]).wait()
        #expect(without.code == 64 && without.err.contains("--pairs"), "exit \(without.code): \(without.err)")
    }
}
