import Models
import Serialization

/// Everything that decides the bits of a log-prob besides the tokens.
public struct ReferenceIdentity: Sendable, Equatable {
    /// Content hash of config and weights.
    public var model: String
    public var precision: String
    public var kernels: String
    /// `Transformer.numericsVersion`.
    public var numerics: Int

    public init(model: String, precision: String, kernels: String, numerics: Int) {
        (self.model, self.precision, self.kernels, self.numerics) = (model, precision, kernels, numerics)
    }
}

/// Where reference log-probs outlive a run: the preference store.
public protocol ReferenceCache: Sendable {
    /// Per-token log-probs, nats, of those of `tokenHashes` that are known.
    func logProbs(of identity: ReferenceIdentity, tokenHashes: [String]) throws -> [String: [Double]]
    func save(_ logProbs: [(hash: String, values: [Double])], of identity: ReferenceIdentity) throws
}

/// A prompt and completions of it that a reference scores.
struct ReferenceRow: Sendable {
    var prompt: [Int32]
    var completions: [[Int32]]
}

extension PairRow {
    var referenceRow: ReferenceRow { ReferenceRow(prompt: prompt, completions: [chosen, rejected]) }
}

/// log π_ref of every completion of `rows`: from the cache where it is known, from the reference model otherwise, once.
struct ReferenceLogProbs {
    let rows: [ReferenceRow]
    let identity: ReferenceIdentity
    let cache: (any ReferenceCache)?
    /// Rows that somebody will ask for: a short run takes but a few.
    let needed: Set<Int>
    /// Rows per pass: as many as a training micro-step has.
    let batchSize: Int

    private let hashes: [[String]]
    private var known: [String: [Double]]

    init(rows: [ReferenceRow], needed: Set<Int>, identity: ReferenceIdentity, cache: (any ReferenceCache)?, batchSize: Int) throws {
        self.rows = rows
        self.needed = needed
        self.identity = identity
        self.cache = cache
        self.batchSize = batchSize
        hashes = rows.map { row in row.completions.map { Self.hash(prompt: row.prompt, completion: $0) } }
        known = try cache?.logProbs(of: identity, tokenHashes: hashes.flatMap { $0 }) ?? [:]
        // What does not fit its row is not trusted: it is computed again and replaced.
        for (row, hashes) in zip(rows, hashes) {
            let lost = row.prompt.isEmpty ? 1 : 0
            for (completion, hash) in zip(row.completions, hashes) {
                if let values = known[hash], values.count != completion.count - lost { known[hash] = nil }
            }
        }
    }

    /// Needed rows of which a completion is not known.
    var missing: [Int] { needed.sorted().filter { hashes[$0].contains { known[$0] == nil } } }

    /// Scores the missing rows with `policy`, saving each pass, so that an interrupted one is not lost.
    /// - Returns: False if cancelled before the end.
    mutating func compute(with policy: any Policy, report: (StageEvent) -> Void, isCancelled: () -> Bool) throws -> Bool {
        let missing = missing
        let cached = needed.count - missing.count
        for start in stride(from: 0, to: missing.count, by: batchSize) {
            if isCancelled() { return false }
            let indices = missing[start..<min(missing.count, start + batchSize)]
            let scores = try policy.scores(of: Self.tree(indices.map { rows[$0] })).logProbs
            let order = indices.flatMap { hashes[$0] }
            // A model that is not finite on its own data is reported by the objective, row by row; it is not cached.
            let computed = order.enumerated().map { (hash: $1, values: Array(scores[$0])) }
            for (hash, values) in computed { known[hash] = values }
            try cache?.save(computed.filter { $0.values.allSatisfy(\.isFinite) }, of: identity)
            report(.reference(done: start + indices.count, missing: missing.count, cached: cached))
        }
        return true
    }

    private static func tree(_ rows: [ReferenceRow]) -> SegmentTree {
        var tree = SegmentTree()
        for row in rows {
            let prompt = row.prompt.isEmpty ? nil : tree.append(row.prompt)
            for completion in row.completions { tree.addRow(segment: tree.append(completion, parent: prompt)) }
        }
        return tree
    }

    /// The log-probs of one completion's tokens that `mask` counts; empty for rows that nobody needs.
    func logProbs(_ row: Int, _ completion: Int, mask: [Bool]? = nil) -> [Double] {
        guard needed.contains(row) else { return [] }
        guard let values = known[hashes[row][completion]] else { preconditionFailure("the reference of row \(row) was not computed") }
        guard let mask else { return values }
        return zip(values, mask.suffix(values.count)).filter(\.1).map(\.0)
    }

    /// Sums over the tokens that count of the two completions of pairs, those that only one side has weighing `tailWeight`; not a
    /// number for rows that nobody needs.
    func sums(of pairs: [PairRow], tailWeight: Double) -> [(chosen: Double, rejected: Double)] {
        precondition(pairs.count == rows.count, "\(pairs.count) pairs, \(rows.count) rows")
        return pairs.enumerated().map { index, pair in
            guard needed.contains(index) else { return (.nan, .nan) }
            let (chosen, rejected) = (logProbs(index, 0, mask: pair.chosenMask), logProbs(index, 1, mask: pair.rejectedMask))
            let shared = min(chosen.count, rejected.count)
            return (
                LengthDesensitisation.sum(chosen, shared: shared, tailWeight: tailWeight),
                LengthDesensitisation.sum(rejected, shared: shared, tailWeight: tailWeight)
            )
        }
    }

    /// SHA-256 over the number of prompt tokens and all tokens, as little-endian 32-bit integers.
    static func hash(prompt: [Int32], completion: [Int32]) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 * (1 + prompt.count + completion.count))
        for value in [Int32(prompt.count)] + prompt + completion {
            withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
        }
        return SHA256.hex(of: bytes)
    }
}
