import Foundation
import Models
import Serialization
import Synchronization
import Tensors

@testable import Training

/// A language model that is a table: logits of the next token given the last one, θ [V, V]. Loss and gradient are exact.
final class TablePolicy: TrainablePolicy, DistributionPolicy {
    let V: Int
    /// Rows of a score head that reads the table's row of a token; 0 for none.
    let outputs: Int
    let parameters: [ParameterInfo]
    let weights: FloatBuffer, gradients: FloatBuffer
    /// Called with each forward pass.
    var onForward: (TablePolicy) -> Void = { _ in }
    private(set) var forwardPasses = 0
    private var pending: [(previous: Int, target: Int)] = []
    private var points: [Int] = []
    /// What `beginDistributions` was given: the row of the table that predicts each scored token.
    private var spread: [Int] = []

    init(vocabulary V: Int, outputs: Int = 0, seed: UInt64) {
        (self.V, self.outputs) = (V, outputs)
        var parameters = [ParameterInfo(name: "table.weight", shape: [V, V], offset: 0, count: V * V, decays: true)]
        if outputs > 0 { parameters.append(ParameterInfo(name: "score.weight", shape: [outputs, V], offset: V * V, count: outputs * V, decays: true)) }
        self.parameters = parameters
        weights = FloatBuffer(count: V * (V + outputs))
        gradients = FloatBuffer(count: V * (V + outputs))
        var stream = RandomStream(seed: seed, stream: 99, index: 0)
        for i in 0..<weights.count { weights.base[i] = Float(Double(stream.next() >> 11) / Double(1 << 53) * 2 - 1) }
    }

    private func logits(_ previous: Int) -> [Double] { (0..<V).map { Double(weights.base[previous * V + $0]) } }

    func logSoftmax(_ previous: Int) -> [Double] {
        let z = logits(previous)
        let top = z.max() ?? 0
        let sum = top + log(z.map { exp($0 - top) }.reduce(0, +))
        return z.map { $0 - sum }
    }

    func logProbs(of batch: SegmentTree) throws -> TokenScores {
        points = batch.readoutPoints.map { Int(batch.tokens[Int($0)]) }
        pending = zip(batch.predictors, batch.targets).map { (Int(batch.tokens[Int($0)]), Int($1)) }
        return try scores(of: batch)
    }

    func scores(of batch: SegmentTree) throws -> TokenScores {
        forwardPasses += 1
        onForward(self)
        var scores = TokenScores(logProbs: Ragged(), entropies: [], isArgmax: [])
        var values: [Double] = []
        for (predictor, target) in zip(batch.predictors, batch.targets) {
            let all = logSoftmax(Int(batch.tokens[Int(predictor)]))
            values.append(all[Int(target)])
            scores.entropies.append(-all.reduce(0) { $0 + exp($1) * $1 })
            scores.isArgmax.append(all.max() == all[Int(target)])
            scores.logSumSquares.append(log(all.reduce(0) { $0 + exp(2 * $1) }))
            scores.meanLogits.append(logits(Int(batch.tokens[Int(predictor)])).reduce(0, +) / Double(V))
        }
        scores.logProbs = Ragged(values: values, offsets: batch.rowOffsets)
        for point in batch.readoutPoints {
            let row = Int(batch.tokens[Int(point)]) * V
            for k in 0..<outputs { scores.readouts.append((0..<V).reduce(0.0) { $0 + Double(weights.base[row + $1]) * Double(weights.base[(V + k) * V + $1]) }) }
        }
        return scores
    }

    func backward(_ gradient: ScoreGradient) throws {
        precondition(gradient.logProbs.count == pending.count, "\(gradient.logProbs.count) gradients for \(pending.count) log-probs")
        precondition(gradient.readouts.count == points.count * outputs, "\(gradient.readouts.count) gradients for \(points.count) points")
        for (p, token) in points.enumerated() {
            for k in 0..<outputs {
                let g = Float(gradient.readouts[p * outputs + k])
                for j in 0..<V {
                    gradients.base[token * V + j] += g * weights.base[(V + k) * V + j]
                    gradients.base[(V + k) * V + j] += g * weights.base[token * V + j]
                }
            }
        }
        for (g, (previous, target)) in zip(gradient.logProbs, pending) {
            for (j, logProb) in logSoftmax(previous).enumerated() {
                gradients.base[previous * V + j] += Float(g * ((j == target ? 1 : 0) - exp(logProb)))
            }
        }
    }

    // MARK: Distributions

    var vocabularySize: Int { V }
    func beginDistributions(of batch: SegmentTree, keeps: Bool) throws {
        onForward(self)
        spread = batch.predictors.map { Int(batch.tokens[Int($0)]) }
    }
    func logits(of rows: Range<Int>) throws -> Matrix {
        let matrix = Matrix(rows: rows.count, columns: V)
        for (i, row) in rows.enumerated() { for j in 0..<V { matrix.pointer[i * matrix.stride + j] = weights.base[spread[row] * V + j] } }
        return matrix
    }
    func addGradient(_ gradient: Matrix, of rows: Range<Int>) throws {
        for (i, row) in rows.enumerated() { for j in 0..<V { gradients.base[spread[row] * V + j] += gradient.pointer[i * gradient.stride + j] } }
    }
    func endDistributions() throws {}

    func weightsChanged() {}
    var array: [Float] { (0..<weights.count).map { weights.base[$0] } }
}

/// Models of tables in a folder, and how often each was asked for.
final class TableModels: Sendable {
    struct Counts: Equatable { var loads: [String] = [], forwardPasses = 0 }
    let counts = Mutex(Counts())
    let V: Int
    /// Called with each forward pass of any policy, and in the middle of each save.
    let onForward: @Sendable (TablePolicy) -> Void, onSave: @Sendable () -> Void
    init(vocabulary: Int = 11, onForward: @escaping @Sendable (TablePolicy) -> Void = { _ in }, onSave: @escaping @Sendable () -> Void = {}) {
        (V, self.onForward, self.onSave) = (vocabulary, onForward, onSave)
    }

    /// `seed:N` is a fresh table; anything else a folder that was saved.
    /// - Parameter outputs: Of a score head; of a saved table, the rows that the file has beyond the table.
    func source(_ path: String, outputs: Int = 0) -> ModelSource {
        let V = V
        var source = ModelSource(
            path: path, tokenizer: nil, template: nil, vocabularySize: V, maxPositions: nil, precision: "fp32", kernels: "table",
            numericsVersion: 1, contentHash: { path },
            load: { [self] _ in
                let saved = path.hasPrefix("seed:") ? outputs : try TableModels.bytes(path).count / 4 / V - V
                let policy = TablePolicy(vocabulary: V, outputs: saved, seed: UInt64(path.dropFirst(5)) ?? 0)
                if !path.hasPrefix("seed:") { try TableModels.read(policy, path) }
                counts.withLock { $0.loads.append(URL(fileURLWithPath: path).lastPathComponent) }
                policy.onForward = { [self] policy in
                    counts.withLock { $0.forwardPasses += 1 }
                    onForward(policy)
                }
                return policy
            },
            save: { [self] policy, dtype, folder in
                try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
                onSave()
                try Data(bytes: policy.weights.base, count: 4 * policy.weights.count).write(to: URL(fileURLWithPath: folder + "/table.bin"))
                try Data(dtype.utf8).write(to: URL(fileURLWithPath: folder + "/dtype"))
            },
            restore: { policy, folder in try TableModels.read(policy, folder) }
        )
        source.scoring = { [self] head in self.source(path, outputs: head.outputs + head.gradingOutputs) }
        return source
    }

    static func read(_ policy: any TrainablePolicy, _ folder: String) throws {
        let data = try Data(contentsOf: URL(fileURLWithPath: folder + "/table.bin"))
        data.withUnsafeBytes { bytes in
            for i in 0..<policy.weights.count { policy.weights.base[i] = bytes.loadUnaligned(fromByteOffset: 4 * i, as: Float.self) }
        }
    }

    static func bytes(_ folder: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: folder + "/table.bin")) }
}

/// Reference log-probs in memory.
final class MemoryCache: ReferenceCache {
    private let values = Mutex<[String: [Double]]>([:])
    var count: Int { values.withLock { $0.count } }
    private func key(_ identity: ReferenceIdentity, _ hash: String) -> String { "\(identity)\(hash)" }
    func logProbs(of identity: ReferenceIdentity, tokenHashes: [String]) throws -> [String: [Double]] {
        values.withLock { values in
            tokenHashes.reduce(into: [:]) { result, hash in result[hash] = values[key(identity, hash)] }
        }
    }
    func save(_ logProbs: [(hash: String, values: [Double])], of identity: ReferenceIdentity) throws {
        values.withLock { values in for entry in logProbs { values[key(identity, entry.hash)] = entry.values } }
    }
}

/// A folder that is removed with its owner, and runs in it.
final class Workshop: Sendable {
    let path: String
    init() throws {
        path = NSTemporaryDirectory() + "align-training-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ lines: [JSON]) throws -> String {
        try Data(lines.map { $0.text() + "\n" }.joined().utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        return path + "/" + name
    }

    /// `count` pairs of drawn tokens, each of another prompt.
    func pairs(_ count: Int, seed: UInt64 = 5, vocabulary: Int = 11) throws -> String {
        var stream = RandomStream(seed: seed, stream: 7, index: 0)
        func ids(_ range: ClosedRange<Int>) -> JSON {
            let count = range.lowerBound + Int(stream.next() % UInt64(range.count))
            return .array((0..<count).map { _ in .integer(Int(stream.next() % UInt64(vocabulary))) })
        }
        return try write("pairs-\(count)-\(seed).jsonl", (0..<count).map { _ in
            let (prompt, chosen) = (ids(1...4), ids(1...6))
            var rejected = ids(1...6)
            while rejected == chosen { rejected = ids(1...6) }
            return ["prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected]
        })
    }

    func context(_ models: TableModels, run: String, resumes: Bool = false, cache: MemoryCache? = nil) throws -> StageContext {
        var context = StageContext(runPath: path + "/" + run, resumes: resumes, compute: try Compute(), openModel: { path, _ in models.source(path) })
        context.referenceCache = cache
        return context
    }

    /// metrics.jsonl of a run without its timing fields.
    func metrics(_ run: String) throws -> [JSONObject] {
        try String(contentsOfFile: path + "/" + run + "/metrics.jsonl", encoding: .utf8).split(separator: "\n").map { line in
            let object = try JSON.parse(String(line)).object ?? JSONObject()
            return JSONObject(object.members.filter { !$0.key.hasPrefix("time/") }.map { ($0.key, $0.value) })
        }
    }
}
