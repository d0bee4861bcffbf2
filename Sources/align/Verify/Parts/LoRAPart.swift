import Checkpoints
import Foundation
import Models
import Serialization
import Tensors

/// `lora/NAME/`: adapters as PEFT saves them, with the reference's logits, gradients and merged weights, in fp32.
struct LoRAPart: VerifyPart {
    static let folder = "lora"

    func run(_ folder: String, _ context: VerifyContext) {
        let goldenPath = "\(folder)/golden.json"
        guard fileExists(goldenPath) else { return context.report(.missing("lora", goldenPath)) }
        context.guarded("lora") {
            let file = try GoldenFile(goldenPath)
            for (name, golden) in try file.root.member("adapters").members() {
                context.guarded("lora/\(name)") {
                    let path = "\(folder)/\(name)"
                    guard fileExists("\(path)/\(AdapterFile.configName)") else { return context.report(.missing("lora/\(name)", "\(path)/\(AdapterFile.configName)")) }
                    try AdapterGolden(name: "lora/\(name)", path: path, golden: golden, root: file.root, compute: context.compute).run(context)
                }
            }
            context.remember(uncompared: file.uncompared(), of: "lora")
        }
    }
}

/// One adapter's goldens. Tolerances are the golden file's, else those of the part's README.
private struct AdapterGolden {
    let name: String
    let golden: GoldenNode
    let tensors: GoldenTensors
    let merged: Checkpoint
    let adapter: AdapterFile
    let model: Transformer
    let compute: Compute
    let rows: [(tokens: [Int32], places: [Int])]
    let width: Int
    let logitTolerance: Tolerance, gradientTolerance: Tolerance, mergedTolerance: Tolerance

    init(name: String, path: String, golden: GoldenNode, root: GoldenNode, compute: Compute) throws {
        (self.name, self.golden, self.compute) = (name, golden, compute)
        tensors = try GoldenTensors("\(path)/golden.safetensors")
        merged = try Checkpoint.open(path)
        guard let base = merged.base, let adapter = merged.adapter else {
            throw GoldenError.unreadable(file: path, reason: "it is no adapter")
        }
        self.adapter = adapter
        let config = try adapter.config(for: base.config)
        model = try Transformer(frozen: base, adapter: config, initial: adapter, seed: 0, compute: compute, precision: .fp32)
        let inputs = try GoldenTensors("\(base.path)/golden.safetensors")
        let shape = try inputs.shape("input_ids")
        let (ids, mask) = (try inputs.integers("input_ids"), try inputs.integers("attention_mask", shape: shape))
        guard shape.count == 2, shape[1] > 1 else {
            throw GoldenError.wrongKind(file: inputs.file.path, path: "input_ids", found: "of shape \(shape)", expected: "rows of tokens")
        }
        width = shape[1]
        rows = (0..<shape[0]).map { row in
            let places = (0..<shape[1]).filter { mask[row * shape[1] + $0] == 1 }
            return (places.map { Int32(clamping: ids[row * shape[1] + $0]) }, places)
        }
        let tolerances = root.optional("tolerance")
        logitTolerance = .absolute(tolerances?.tolerance("logits", default: 1e-4) ?? 1e-4)
        gradientTolerance = .absolute(tolerances?.tolerance("grad_relative", default: 1e-3) ?? 1e-3)
        mergedTolerance = .absolute(tolerances?.tolerance("merged", default: 1e-6) ?? 1e-6)
    }

    func run(_ context: VerifyContext) throws {
        let logits = try rows.map { try model.logits(of: $0.tokens) }
        context.test("\(name) scaling") { recorder in
            let scaling = try golden.member("scaling").number()
            for module in adapter.modules { recorder.compare("scale of \(module.name)", module.scale, golden: scaling, .relative(1e-12)) }
        }
        context.test("\(name) logits") { try compareLogits(logits, "logits", &$0) }
        context.test("\(name) gradients") { try compareGradients(&$0) }
        context.test("\(name) merged weights") { try compareWeights(&$0) }
        context.test("\(name) merged logits") { recorder in
            let whole = try Transformer(merged, compute: compute, precision: .fp32, trains: false)
            let found = try rows.map { try whole.logits(of: $0.tokens) }
            try compareLogits(found, "logits of the merged model", &recorder)
            recorder.compare("merged and unmerged, of the reference", 0, golden: try golden.member("merged_vs_adapter_logits").number(), logitTolerance)
        }
        context.test("\(name) distance to the base") { recorder in
            guard let base = merged.base else { return }
            let plain = try Transformer(base, compute: compute, precision: .fp32, trains: false)
            var largest = 0.0
            for (row, found) in zip(rows, logits) {
                let other = try plain.logits(of: row.tokens)
                for (a, b) in zip(found.array, other.array) { largest = max(largest, Double(abs(a - b))) }
            }
            recorder.compare("largest distance of logits", largest, golden: try golden.member("distance_to_base_logits").number(), .relative(1e-4))
        }
        context.remember(uncompared: tensors.uncompared(), of: name)
    }

    private func compareLogits(_ logits: [Matrix], _ what: String, _ recorder: inout CaseRecorder) throws {
        let vocabulary = merged.config.vocabularySize
        let golden = try tensors.floats("logits", shape: [rows.count, width, vocabulary])
        for (r, row) in rows.enumerated() {
            for (i, t) in row.places.enumerated() {
                for v in 0..<vocabulary {
                    recorder.compare(
                        "\(what)[\(r), \(t), \(v)]", Double(logits[r].pointer[i * logits[r].stride + v]), golden: Double(golden[(r * width + t) * vocabulary + v]), logitTolerance)
                }
            }
        }
    }

    /// Mean cross-entropy of all rows, and its gradient with respect to every A and B.
    private func compareGradients(_ recorder: inout CaseRecorder) throws {
        var batch = SegmentTree()
        for row in rows { batch.addRow(segment: batch.append(row.tokens)) }
        let scores = try model.logProbs(of: batch).logProbs.values
        let count = Double(max(1, scores.count))
        recorder.compare("loss", -scores.reduce(0, +) / count, golden: try golden.member("loss").number(), .absolute(1e-5))
        try model.backward([Double](repeating: -1 / count, count: scores.count))
        func norm(_ values: some Sequence<Float>) -> Double { values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() }
        let norms = try golden.member("grad_norm").members()
        recorder.equal("names in grad_norm", model.parameters.map(\.name).sorted(), golden: norms.map(\.key).sorted())
        for (name, value) in norms {
            guard let parameter = model.parameters.first(where: { $0.name == name }) else { continue }
            let found = UnsafeBufferPointer(start: model.gradients.base + parameter.offset, count: parameter.count)
            recorder.compare("grad_norm of \(name)", norm(found), golden: try value.number(), .relative(gradientTolerance.value))
            let expected = try tensors.floats("grad.\(name)", shape: parameter.shape)
            recorder.compare(
                "|g − g'| / |g| of \(name)", norm(zip(found, expected).map { $0 - $1 }) / max(norm(expected), 1e-30), golden: 0, gradientTolerance)
        }
    }

    private func compareWeights(_ recorder: inout CaseRecorder) throws {
        for name in tensors.file.names where name.hasPrefix("merged.") {
            let golden = try tensors.floats(name)
            var found = [Float](repeating: 0, count: golden.count)
            let own = String(name.dropFirst("merged.".count))
            recorder.equal("shape of \(own)", merged.tensors[own]?.shape ?? [], golden: try tensors.shape(name))
            guard merged.tensors[own]?.count == golden.count else { continue }
            try found.withUnsafeMutableBufferPointer { try merged.read(own, into: $0) }
            for i in golden.indices { recorder.compare("\(name)[\(i)]", Double(found[i]), golden: Double(golden[i]), mergedTolerance) }
        }
    }
}
