import Checkpoints
import Foundation
import Models
import Serialization
import Tensors

/// `models/NAME/`: tiny checkpoints with logits, log-probs, gradients, greedy and cached decoding of a reference in fp32.
struct ModelsPart: VerifyPart {
    static let folder = "models"
    /// Architectures this build runs; others are "not yet".
    static let modelTypes = ["llama", "mistral"]

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where isFolder("\(folder)/\(name)") {
            let path = "\(folder)/\(name)"
            context.guarded("models/\(name)") {
                if let lacking = missing(in: path) { return context.report(.missing("models/\(name)", lacking)) }
                let config = try GoldenFile("\(path)/config.json").json
                let type = config["model_type"]?.string ?? "unknown"
                let architecture = config["architectures"]?[0]?.string ?? ""
                guard Self.modelTypes.contains(type) else {
                    // Its golden is read all the same: a damaged one is no reason to be quiet.
                    if fileExists("\(path)/golden.json") { _ = try GoldenFile("\(path)/golden.json") }
                    return context.report(.notYet("models/\(name)", "\(type), \(architecture)"))
                }
                let golden = try ModelGolden(name: "models/\(name)", path: path, compute: context.compute)
                if golden.checkpoint.config.scoresSequences { try golden.runReward(context) } else { try golden.run(context) }
            }
        }
    }
}

extension ModelsPart {
    /// What a model's folder lacks for anything to be compared; one of two golden files is not that: it is a damaged golden.
    private func missing(in path: String) -> String? {
        let goldens = ["golden.json", "golden.safetensors"]
        if !goldens.contains(where: { fileExists("\(path)/\($0)") }) { return "\(path)/\(goldens[0])" }
        if !fileExists("\(path)/config.json") { return "\(path)/config.json" }
        let weights = ["model.safetensors", "model.safetensors.index.json"]
        return weights.contains { fileExists("\(path)/\($0)") } ? nil : "\(path)/\(weights[0])"
    }
}

/// One model's goldens. Tolerances are those of the part's README.
struct ModelGolden {
    static let logitTolerance = Tolerance.absolute(1e-4)
    static let lossTolerance = Tolerance.absolute(1e-5)
    static let gradientTolerance = 1e-3
    /// Of one element of a gradient, as a share of the whole gradient's norm: the README bounds the whole only, and a wrong
    /// element of a large matrix would hide in it.
    static let elementTolerance = 2e-5
    static let normTolerance = Tolerance.relative(1e-3)

    let name: String
    let file: GoldenFile
    let tensors: GoldenTensors
    let checkpoint: Checkpoint
    let model: Transformer
    /// Token ids of each row, padding left out, and where they stand in it.
    let rows: [(tokens: [Int32], places: [Int])]
    /// Length of a padded row.
    let width: Int

    init(name: String, path: String, compute: Compute) throws {
        self.name = name
        file = try GoldenFile("\(path)/golden.json")
        tensors = try GoldenTensors("\(path)/golden.safetensors")
        checkpoint = try Checkpoint.open(path)
        model = try Transformer(checkpoint, compute: compute, precision: .fp32)
        let ids = try file.root.member("input_ids").integerRows()
        let mask = try file.root.member("attention_mask").integerRows()
        let width = ids.first?.count ?? 0
        let file = file
        guard !ids.isEmpty, width > 1, ids.allSatisfy({ $0.count == width }), mask.map(\.count) == ids.map(\.count),
            mask.joined().allSatisfy({ $0 == 0 || $0 == 1 })
        else {
            throw GoldenError.wrongKind(
                file: file.path, path: "/input_ids", found: "rows of other lengths than /attention_mask", expected: "equal rows, a mask of 0 and 1")
        }
        rows = try zip(ids, mask).map { ids, mask in
            let places = mask.indices.filter { mask[$0] == 1 }
            guard !places.isEmpty else {
                throw GoldenError.wrongKind(file: file.path, path: "/attention_mask", found: "a row of padding", expected: "tokens")
            }
            return (places.map { Int32(clamping: ids[$0]) }, places)
        }
        self.width = width
    }

    func run(_ context: VerifyContext) throws {
        let logits = try rows.map { try model.logits(of: $0.tokens) }
        context.test("\(name) inputs") { try inputs(&$0) }
        context.test("\(name) logits") { try compareLogits(logits, &$0) }
        try gradients(context)
        context.test("\(name) greedy") { try greedy(context.compute, &$0) }
        context.test("\(name) decoding") { try decoding(&$0) }
        context.test("\(name) top5") { try topFive(logits, &$0) }
        context.test("\(name) observed") { try observed(&$0) }
        context.remember(uncompared: file.uncompared() + tensors.uncompared(), of: name)
    }

    // MARK: What was put in

    func inputs(_ recorder: inout CaseRecorder) throws {
        let root = file.root
        let shape = [rows.count, width]
        for (key, values) in [("input_ids", try root.member("input_ids").integerRows()), ("attention_mask", try root.member("attention_mask").integerRows())] {
            recorder.equal("\(key) of golden.json and golden.safetensors", try tensors.integers(key, shape: shape), golden: values.flatMap { $0 })
        }
        // Positions count real tokens; padding repeats the last position before it.
        let mask = try root.member("attention_mask").integerRows()
        let positions = mask.map { row in
            var count = 0
            return row.map { count += $0; return max(0, count - 1) }
        }
        recorder.equal("position_ids of golden.json", positions, golden: try root.member("position_ids").integerRows())
        recorder.equal("position_ids of golden.safetensors", positions.flatMap { $0 }, golden: try tensors.integers("position_ids", shape: shape))
        if let side = try root.optional("padding_side")?.text() {
            for row in mask where row.contains(0) { recorder.equal("padding_side", row[0] == 0 ? "left" : "right", golden: side) }
        }
        let padding = checkpoint.config.padID ?? 0
        for (ids, mask) in zip(try root.member("input_ids").integerRows(), mask) {
            for i in ids.indices where mask[i] == 0 { recorder.equal("padding's id", ids[i], golden: padding) }
        }
        if let architecture = try root.optional("architecture")?.text() { recorder.equal("architecture", checkpoint.config.architecture, golden: architecture) }
    }

    // MARK: Logits

    private func compareLogits(_ logits: [Matrix], _ recorder: inout CaseRecorder) throws {
        let vocabulary = checkpoint.config.vocabularySize
        let golden = try tensors.floats("logits", shape: [rows.count, width, vocabulary])
        for r in rows.indices {
            let real = Set(rows[r].places)
            for t in 0..<width where !real.contains(t) {
                let place = (r * width + t) * vocabulary
                if let value = golden[place..<place + vocabulary].first(where: { $0 != 0 }) {
                    recorder.equal("logits[\(r), \(t)] at padding", 0, golden: value)
                }
            }
            for (i, t) in rows[r].places.enumerated() {
                let row = logits[r].pointer + i * logits[r].stride
                for v in 0..<vocabulary {
                    recorder.compare("logits[\(r), \(t), \(v)]", Double(row[v]), golden: Double(golden[(r * width + t) * vocabulary + v]), Self.logitTolerance)
                }
            }
        }
    }

    // MARK: Loss and gradients

    /// Mean cross-entropy of both rows, forward and backward, through the two methods that training uses.
    private func gradients(_ context: VerifyContext) throws {
        var batch = SegmentTree()
        for row in rows { batch.addRow(segment: batch.append(row.tokens)) }
        let scores = try model.logProbs(of: batch).logProbs
        let count = scores.values.count
        let loss = -scores.values.reduce(0, +) / Double(max(1, count))
        try model.backward([Double](repeating: -1 / Double(max(1, count)), count: count))

        context.test("\(name) log-probs") { recorder in
            recorder.equal("num_loss_tokens", count, golden: try file.root.member("num_loss_tokens").integer())
            let golden = try tensors.floats("logprobs", shape: [rows.count, width - 1])
            let mask = try tensors.floats("logprob_mask", shape: [rows.count, width - 1])
            var found = [Double](repeating: 0, count: golden.count)
            var scored = [Float](repeating: 0, count: golden.count)
            for r in rows.indices {
                // log p of the token at place t stands at t − 1.
                for (i, t) in rows[r].places.dropFirst().enumerated() {
                    found[r * (width - 1) + t - 1] = scores[r][scores.range(r).lowerBound + i]
                    scored[r * (width - 1) + t - 1] = 1
                }
            }
            recorder.equal("logprob_mask", scored, golden: mask)
            for i in golden.indices {
                let tolerance = scored[i] == 1 ? Self.logitTolerance : .absolute(0)
                recorder.compare("logprobs[\(i / (width - 1)), \(i % (width - 1))]", found[i], golden: Double(golden[i]), tolerance)
            }
            let sums = try file.root.member("sequence_logprob").numbers()
            recorder.equal("rows of sequence_logprob", rows.count, golden: sums.count)
            for (r, golden) in sums.enumerated() where r < rows.count {
                // The golden is a float32, whose last place grows with the sum.
                let tolerance = Tolerance.absolute(Self.logitTolerance.value + 2e-7 * abs(golden))
                recorder.compare("sequence_logprob[\(r)]", scores.sum(r), golden: golden, tolerance)
            }
        }
        context.test("\(name) loss") { $0.compare("loss", loss, golden: try file.root.member("loss").number(), Self.lossTolerance) }
        context.test("\(name) gradients") { try compareGradients(&$0) }
        context.test("\(name) gradient norms") { try compareNorms(&$0) }
    }

    private func gradient(_ name: String) throws -> (values: UnsafeBufferPointer<Float>, shape: [Int]) {
        guard let parameter = model.parameters.first(where: { $0.name == name }) else { throw GoldenError.missing(file: file.path, path: "parameter \(name)") }
        return (UnsafeBufferPointer(start: model.gradients.base + parameter.offset, count: parameter.count), parameter.shape)
    }

    private func norm(_ values: some Sequence<Float>) -> Double { values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() }

    func compareGradients(_ recorder: inout CaseRecorder) throws {
        let names = try file.root.member("full_gradients").texts()
        let stored = tensors.file.names.filter { $0.hasPrefix("grad.") }.map { String($0.dropFirst(5)) }
        recorder.equal("full_gradients", stored.sorted(), golden: names.sorted())
        for name in names {
            let (found, shape) = try gradient(name)
            let golden = try tensors.floats("grad.\(name)", shape: shape)
            let length = norm(golden)
            let distance = norm(zip(found, golden).lazy.map { $0 - $1 })
            recorder.compare("|g − g'| / |g| of \(name)", length == 0 ? distance : distance / length, golden: 0, .absolute(Self.gradientTolerance))
            for i in golden.indices {
                recorder.compare("grad.\(name)[\(i)]", Double(found[i]), golden: Double(golden[i]), .absolute(Self.elementTolerance * max(length, 1e-30)))
            }
            if let stated = try file.root.member("grad_norm").optional(name)?.number() {
                recorder.compare("norm of the golden gradient of \(name)", length, golden: stated, .relative(1e-5))
            }
        }
    }

    func compareNorms(_ recorder: inout CaseRecorder) throws {
        let golden = try file.root.member("grad_norm").members()
        recorder.equal("names in grad_norm", model.parameters.map(\.name).sorted(), golden: golden.map(\.key).sorted())
        var squares = 0.0
        for (name, value) in golden {
            let stated = try value.number()
            recorder.compare("grad_norm of \(name)", norm(try gradient(name).values), golden: stated, Self.normTolerance)
            squares += stated * stated
        }
        let total = try file.root.member("grad_norm_total").number()
        let all = UnsafeBufferPointer(start: model.gradients.base, count: model.gradients.count)
        recorder.compare("grad_norm_total", norm(all), golden: total, Self.normTolerance)
        recorder.compare("grad_norm_total of the golden norms", squares.squareRoot(), golden: total, .relative(1e-5))
    }

    // MARK: Decoding

    private func goldenGreedy() throws -> [[Int32]] {
        try file.root.member("greedy").elements().map { try $0.ids() }
    }

    private func greedy(_ compute: Compute, _ recorder: inout CaseRecorder) throws {
        let golden = try goldenGreedy()
        recorder.equal("rows of greedy", rows.count, golden: golden.count)
        for (row, expected) in zip(rows, golden) {
            var sampling = Sampling()
            sampling.temperature = 0
            sampling.maxNewTokens = expected.count
            let completion = try Generator(model: model).generate(prompts: [row.tokens], sampling: sampling)
            recorder.equal("greedy", completion[0].tokens, golden: expected)
        }
    }

    private func decoding(_ recorder: inout CaseRecorder) throws {
        let vocabulary = checkpoint.config.vocabularySize
        for (r, continuation) in try goldenGreedy().enumerated() where r < rows.count {
            let golden = try tensors.floats("decode_logits_\(r)", shape: [continuation.count, vocabulary])
            let cached = try model.decodingLogits(prompt: rows[r].tokens, continuation: continuation)
            let full = try model.logits(of: rows[r].tokens + continuation.dropLast())
            for i in continuation.indices {
                let cachedRow = cached.pointer + i * cached.stride
                let fullRow = full.pointer + (rows[r].tokens.count - 1 + i) * full.stride
                let goldenRow = golden[i * vocabulary..<(i + 1) * vocabulary]
                for v in 0..<vocabulary {
                    let (found, place) = (Double(cachedRow[v]), "[\(i), \(v)]")
                    recorder.compare("decode_logits_\(r)\(place)", found, golden: Double(golden[i * vocabulary + v]), Self.logitTolerance)
                    recorder.compare("cached and full logits of row \(r)\(place)", found, golden: Double(fullRow[v]), Self.logitTolerance)
                }
                let best = (goldenRow.indices.max { goldenRow[$0] < goldenRow[$1] } ?? 0) - i * vocabulary
                recorder.equal("token \(i) of greedy, row \(r)", Int(continuation[i]), golden: best)
            }
        }
    }

    private func topFive(_ logits: [Matrix], _ recorder: inout CaseRecorder) throws {
        for (r, row) in try file.root.member("last_token_top5").elements().enumerated() {
            let golden = try row.rows()
            guard r < rows.count, golden.allSatisfy({ $0.count == 2 }) else {
                throw GoldenError.wrongKind(file: file.path, path: row.path, found: "another shape", expected: "[id, logit] of \(rows.count) rows")
            }
            let last = UnsafeBufferPointer(start: logits[r].pointer + (rows[r].tokens.count - 1) * logits[r].stride, count: logits[r].columns)
            let best = last.indices.sorted { last[$0] > last[$1] }.prefix(golden.count)
            recorder.equal("ids of last_token_top5, row \(r)", best.map { Double($0) }, golden: golden.map { $0[0] })
            recorder.compare("last_token_top5 of row \(r)", best.map { Double(last[$0]) }, golden: golden.map { $0[1] }, Self.logitTolerance)
        }
    }

    // MARK: What the reference noted about itself

    private func observed(_ recorder: inout CaseRecorder) throws {
        let observed = try file.root.member("observed")
        let vocabulary = checkpoint.config.vocabularySize
        let logits = try tensors.floats("logits", shape: [rows.count, width, vocabulary])
        var values: [Double] = []
        for r in rows.indices {
            for t in rows[r].places { values += logits[(r * width + t) * vocabulary..<(r * width + t + 1) * vocabulary].map { Double($0) } }
        }
        let mean = values.reduce(0, +) / Double(values.count)
        let deviation = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(1, values.count - 1))).squareRoot()
        let greedy = try goldenGreedy()
        var margin = Double.infinity
        for (r, continuation) in greedy.enumerated() where tensors.has("decode_logits_\(r)") {
            let decoded = try tensors.floats("decode_logits_\(r)", shape: [continuation.count, vocabulary])
            for i in continuation.indices {
                let row = decoded[i * vocabulary..<(i + 1) * vocabulary].sorted(by: >)
                margin = min(margin, Double(row[0]) - Double(row.count > 1 ? row[1] : -.infinity))
            }
        }
        for (key, node) in try observed.members() {
            switch key {
            case "logit_std": recorder.compare(key, deviation, golden: try node.number(), .relative(1e-5))
            case "logit_abs_max": recorder.compare(key, values.map(abs).max() ?? 0, golden: try node.number(), .relative(1e-6))
            case "greedy_min_margin": recorder.compare(key, margin, golden: try node.number(), .absolute(1e-5))
            case "greedy_distinct": recorder.equal(key, Set(greedy.joined()).count, golden: try node.integer())
            // The reference's own noise: its goldens are no better than this, so it must lie within what is asked of us.
            case "fp32_vs_fp64_grad_rel": recorder.compare(key, 0, golden: try node.number(), .absolute(Self.gradientTolerance))
            case "fp32_vs_fp64_logits", "padded_vs_unpadded_logits", "kv_cache_vs_full", "token_by_token_vs_full":
                recorder.compare(key, 0, golden: try node.number(), Self.logitTolerance)
            default: break
            }
        }
    }
}
