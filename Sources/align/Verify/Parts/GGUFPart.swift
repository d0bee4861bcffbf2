import CAlign
import Checkpoints
import Foundation
import Models
import Serialization
import Tensors

/// `gguf/`: complete tiny files, block formats, and a real model's numbers for whoever has its file.
struct GGUFPart: VerifyPart {
    static let folder = "gguf"

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".json") {
            context.guarded("gguf/\(name)") {
                let file = try GoldenFile("\(folder)/\(name)")
                if file.json["files"] != nil {
                    try files(file, folder, context)
                } else if file.json["types"] != nil {
                    try QuantGolden(file: file, tensors: GoldenTensors("\(folder)/\(name.dropLast(5)).safetensors")).run(context)
                } else if file.json["prompts"] != nil {
                    try RealModelGolden(name: "gguf/\(name.dropLast(5))", file: file).run(context)
                } else {
                    context.report(.notYet("gguf/\(name)"))
                }
                context.remember(uncompared: file.uncompared(), of: "gguf/\(name)")
            }
        }
    }

    // MARK: Tiny files

    private func files(_ file: GoldenFile, _ folder: String, _ context: VerifyContext) throws {
        let tolerance = Tolerance.absolute(file.root.tolerance(default: 1e-4))
        let listed = try file.root.member("files").members()
        for (name, node) in listed {
            context.guarded("gguf/\(name)") {
                let path = "\(folder)/\(name)"
                guard fileExists(path) else {
                    node.markRead()
                    return context.report(.missing("gguf/\(name)", path))
                }
                let gguf = try GGUFFile(path: path)
                guard let architecture = gguf.metadata["general.architecture"]?.string else {
                    throw GoldenError.missing(file: path, path: "general.architecture")
                }
                guard architecture == "llama" else {
                    node.markRead()
                    context.report(.notYet("gguf/\(name)", architecture))
                    return
                }
                context.test("gguf/\(name)") { try compare(node, path, gguf, tolerance, context.compute, &$0) }
            }
        }
        for name in entries(of: folder) where name.hasSuffix(".gguf") && !listed.contains(where: { $0.key == name }) {
            context.report(.notYet("gguf/\(name)", "not in \(file.path)"))
        }
    }

    private func compare(
        _ node: GoldenNode, _ path: String, _ gguf: GGUFFile, _ tolerance: Tolerance, _ compute: Compute, _ recorder: inout CaseRecorder
    ) throws {
        let folder = (path as NSString).deletingLastPathComponent
        let checkpoint = try Checkpoint.open(path)
        let model = try Transformer(checkpoint, compute: compute, precision: .fp32, trains: false)
        let ids = try node.member("input_ids").ids()
        let golden = try GoldenTensors("\(path.dropLast(5)).golden.safetensors").floats("logits", shape: [ids.count, checkpoint.config.vocabularySize])
        let logits = try model.logits(of: ids)
        recorder.compare("logits", flattened(logits), golden: golden.map { Double($0) }, tolerance)
        recorder.equal("tensors", gguf.names.count, golden: try node.member("tensors").integer())
        let types = Set(gguf.names.compactMap { gguf.info($0)?.dtype })
        if let weights = try node.optional("weights")?.text() { recorder.equal("weights of type \(weights)", types.contains(weights), golden: true) }

        // The goldens of the checkpoint it was made of: its first row is the same text.
        let source = folder + "/" + (try node.member("checkpoint").text())
        if fileExists(source + "/golden.safetensors") {
            let tensors = try GoldenTensors(source + "/golden.safetensors")
            let shape = try tensors.shape("logits")
            guard shape.count == 3 else {
                throw GoldenError.wrongKind(file: tensors.file.path, path: "logits", found: "of shape \(shape)", expected: "three dimensions")
            }
            let row = try tensors.integers("input_ids", shape: Array(shape.prefix(2))).prefix(shape[1])
            recorder.equal("input_ids", ids.map { Int($0) }, golden: Array(row.prefix(ids.count)))
            let other = try tensors.floats("logits")
            let difference = zip(golden, other).map { abs(Double($0) - Double($1)) }.max() ?? 0
            let key = "max_abs_logit_difference_to_checkpoint"
            recorder.compare(key, difference, golden: try node.member(key).number(), .either(1e-5))
        }
        // transformers' own reader leaves the rotary divisors out.
        if let noted = try node.optional("transformers_gguf_reader_vs_golden")?.number() {
            var config = checkpoint.config
            if case .divisors = config.ropeScaling { config.ropeScaling = .none }
            let plain = try Transformer(checkpoint, config: config, compute: compute, precision: .fp32).logits(of: ids)
            let difference = zip(flattened(plain), golden).map { abs($0 - Double($1)) }.max() ?? 0
            recorder.compare("transformers_gguf_reader_vs_golden", difference, golden: noted, tolerance)
        }
    }
}

/// A matrix's elements, row by row.
func flattened(_ matrix: Matrix) -> [Double] {
    (0..<matrix.rows).flatMap { row in (0..<matrix.columns).map { Double(matrix.pointer[row * matrix.stride + $0]) } }
}

/// quant.json and quant.safetensors: blocks of every type with the floats they stand for.
struct QuantGolden {
    let file: GoldenFile
    let tensors: GoldenTensors
    /// ggml's numbers of the types read here.
    private static let types: [String: Int] = [
        "F16": ALIGN_F16, "BF16": ALIGN_BF16, "Q8_0": ALIGN_Q8_0, "Q4_0": ALIGN_Q4_0, "Q4_1": ALIGN_Q4_1, "Q5_0": ALIGN_Q5_0,
        "Q5_1": ALIGN_Q5_1, "Q4_K": ALIGN_Q4_K, "Q5_K": ALIGN_Q5_K, "Q6_K": ALIGN_Q6_K,
    ].mapValues { Int($0) }

    func run(_ context: VerifyContext) throws {
        for (type, node) in try file.root.member("types").members() {
            let name = "gguf/dequantise \(type)"
            guard let number = Self.types[type], let element = ElementType(rawValue: type) else {
                node.markRead()
                context.report(.notYet(name))
                continue
            }
            context.test(name) { recorder in
                recorder.equal("block", element.blockElements, golden: try node.member("block").integer())
                recorder.equal("block_bytes", element.blockBytes, golden: try node.member("block_bytes").integer())
                let bytes = try tensors.bytes("\(type).bytes")
                let expected = try tensors.floats("\(type).expected")
                var found = [Float](repeating: 0, count: expected.count)
                guard bytes.count == expected.count / element.blockElements * element.blockBytes else {
                    return recorder.fail("bytes", found: "\(bytes.count) bytes", golden: "\(expected.count) elements")
                }
                recorder.equal("known type", align_dequantize(Int32(number), bytes, &found, found.count), golden: 0)
                for i in found.indices {
                    // In units of the last place.
                    let ulps = found[i] == expected[i] ? 0 : Double(abs(found[i] - expected[i]) / max(expected[i].ulp, .leastNormalMagnitude))
                    recorder.compare("\(type)[\(i)] in ulps: found \(found[i]), golden \(expected[i])", ulps, golden: 0, .absolute(1))
                }
                guard try node.member("quantised_from_source").bool() else { return }
                let source = try tensors.floats("source", shape: try tensors.shape("\(type).expected"))
                var encoded = [UInt8](repeating: 0, count: bytes.count)
                recorder.equal("quantisable type", align_quantize(Int32(number), source, &encoded, source.count), golden: 0)
                for i in bytes.indices { recorder.equal("byte \(i) of \(type)", encoded[i], golden: bytes[i]) }
                let error = zip(source, expected).map { abs(Double($0) - Double($1)) }.max() ?? 0
                recorder.compare("max_abs_error_to_source", error, golden: try node.member("max_abs_error_to_source").number(), .relative(1e-6))
            }
        }
    }
}

/// A real file's prompts: token ids, top logits, log-probs of a completion, greedy tokens.
struct RealModelGolden {
    static let completionTolerance = Tolerance.absolute(1e-2)
    let name: String
    let file: GoldenFile
    let logitTolerance: Tolerance

    init(name: String, file: GoldenFile) {
        (self.name, self.file) = (name, file)
        logitTolerance = .absolute(file.root.tolerance(default: 1e-3))
    }

    func run(_ context: VerifyContext) throws {
        let wanted = try file.root.member("file").text()
        let cached = Checkpoint.defaultModel().flatMap { ($0 as NSString).lastPathComponent == wanted ? $0 : nil }
        guard let path = context.model ?? cached, fileExists(path) else {
            for node in try file.root.member("prompts").elements() { node.markRead() }
            for key in ["bytes", "rope_theta", "max_abs_logit_difference_to_transformers_gguf_reader"] { file.root.optional(key)?.markRead() }
            context.report(.missing(name, wanted, remedy: "fetch it with .ci/model or name it with --model"))
            return
        }
        if !isFolder(path) { context.test("\(name) file") { try compareFile(path, &$0) } }
        let checkpoint = try Checkpoint.open(path)
        guard let tokenizer = checkpoint.tokenizer else { throw CheckpointError.tokenizer(file: path, reason: "it has none") }
        context.test("\(name) config") { recorder in
            recorder.compare("rope_theta", checkpoint.config.ropeTheta, golden: try file.root.member("rope_theta").number(), .relative(1e-9))
            if let noise = try file.root.optional("max_abs_logit_difference_to_transformers_gguf_reader")?.number() {
                recorder.compare("max_abs_logit_difference_to_transformers_gguf_reader", 0, golden: noise, logitTolerance)
            }
        }
        let model = try Transformer(checkpoint, compute: context.compute, precision: .fp32, trains: false)
        for (index, node) in try file.root.member("prompts").elements().enumerated() {
            context.test("\(name) tokens \(index)") { recorder in
                for (text, ids) in [("prompt", "prompt_ids"), ("completion", "completion_ids")] {
                    recorder.equal(ids, tokenizer.encode(try node.member(text).text()), golden: try node.member(ids).ids())
                }
                recorder.equal("greedy_text", tokenizer.decode(try greedy(node).ids()), golden: try node.member("greedy_text").text())
            }
            context.test("\(name) prompt \(index)") { try prompt(node, model, &$0) }
        }
    }

    private func compareFile(_ path: String, _ recorder: inout CaseRecorder) throws {
        let size = (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? -1
        recorder.equal("bytes", size, golden: try file.root.member("bytes").integer())
        recorder.equal("sha256", try sha256(ofFile: path), golden: try file.root.member("sha256").text())
    }

    /// `greedy_12`, or another number of tokens.
    private func greedy(_ node: GoldenNode) throws -> GoldenNode {
        let found = try node.members().first { $0.key.hasPrefix("greedy_") && $0.value.json.array != nil }
        guard let found else { throw GoldenError.missing(file: file.path, path: node.path + "/greedy_12") }
        return found.value
    }

    private func prompt(_ node: GoldenNode, _ model: Transformer, _ recorder: inout CaseRecorder) throws {
        let prompt = try node.member("prompt_ids").ids()
        let completion = try node.member("completion_ids").ids()
        let logits = try model.decodingLogits(prompt: prompt, continuation: [0])
        let last = flattened(logits)
        let golden = try node.member("top10").rows()
        guard golden.allSatisfy({ $0.count == 2 }) else {
            throw GoldenError.wrongKind(file: file.path, path: node.path, found: "another shape", expected: "[id, logit]")
        }
        let best = last.indices.sorted { last[$0] > last[$1] }.prefix(golden.count)
        recorder.equal("ids of top10", best.map { Double($0) }, golden: golden.map { $0[0] })
        recorder.compare("top10", best.map { last[$0] }, golden: golden.map { $0[1] }, logitTolerance)
        let top = last.max() ?? 0
        recorder.compare("logsumexp", top + log(last.reduce(0) { $0 + exp($1 - top) }), golden: try node.member("logsumexp").number(), logitTolerance)

        var batch = SegmentTree()
        let root = batch.append(prompt)
        batch.addRow(segment: batch.append(completion, parent: root))
        let scores = try model.scores(of: batch).logProbs
        recorder.compare("completion_token_logprobs", scores.values, golden: try node.member("completion_token_logprobs").numbers(), logitTolerance)
        recorder.compare("completion_logprob", scores.sum(0), golden: try node.member("completion_logprob").number(), Self.completionTolerance)

        let greedy = try greedy(node).ids()
        var sampling = Sampling()
        sampling.temperature = 0
        sampling.maxNewTokens = greedy.count
        recorder.equal("greedy tokens", try Generator(model: model).generate(prompts: [prompt], sampling: sampling)[0].tokens, golden: greedy)
    }
}
