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

/// log π_ref of every completion of `rows`: from the cache where it is known, from the reference model otherwise, once.
struct ReferenceLogProbs {
    let rows: [PairRow]
    let identity: ReferenceIdentity
    let cache: (any ReferenceCache)?
    /// Rows that somebody will ask for: a short run takes but a few.
    let needed: Set<Int>
    /// Completions per pass: as many pairs as a training micro-step has.
    let batchSize: Int

    private let hashes: [(chosen: String, rejected: String)]
    private var known: [String: [Double]]

    init(rows: [PairRow], needed: Set<Int>, identity: ReferenceIdentity, cache: (any ReferenceCache)?, batchSize: Int) throws {
        self.rows = rows
        self.needed = needed
        self.identity = identity
        self.cache = cache
        self.batchSize = batchSize
        hashes = rows.map { (Self.hash(prompt: $0.prompt, completion: $0.chosen), Self.hash(prompt: $0.prompt, completion: $0.rejected)) }
        known = try cache?.logProbs(of: identity, tokenHashes: hashes.flatMap { [$0.chosen, $0.rejected] }) ?? [:]
        // What does not fit its row is not trusted: it is computed again and replaced.
        for (row, hash) in zip(rows, hashes) {
            let lost = row.prompt.isEmpty ? 1 : 0
            if let values = known[hash.chosen], values.count != row.chosen.count - lost { known[hash.chosen] = nil }
            if let values = known[hash.rejected], values.count != row.rejected.count - lost { known[hash.rejected] = nil }
        }
    }

    /// Needed rows of which a side is not known.
    var missing: [Int] { needed.sorted().filter { known[hashes[$0].chosen] == nil || known[hashes[$0].rejected] == nil } }

    /// Scores the missing rows with `policy`, saving each pass, so that an interrupted one is not lost.
    /// - Returns: False if cancelled before the end.
    mutating func compute(with policy: any Policy, report: (StageEvent) -> Void, isCancelled: () -> Bool) throws -> Bool {
        let missing = missing
        let cached = needed.count - missing.count
        for start in stride(from: 0, to: missing.count, by: batchSize) {
            if isCancelled() { return false }
            let indices = missing[start..<min(missing.count, start + batchSize)]
            let scores = try policy.scores(of: PairTask.tree(indices.map { rows[$0] }, sharesPrefixes: true)).logProbs
            var computed: [(hash: String, values: [Double])] = []
            for (i, index) in indices.enumerated() {
                computed.append((hashes[index].chosen, Array(scores[i])))
                computed.append((hashes[index].rejected, Array(scores[indices.count + i])))
            }
            for (hash, values) in computed {
                // A model that is not finite on its own data is reported by the objective, row by row; it is not cached.
                known[hash] = values
            }
            try cache?.save(computed.filter { $0.values.allSatisfy(\.isFinite) }, of: identity)
            report(.reference(done: start + indices.count, missing: missing.count, cached: cached))
        }
        return true
    }

    /// The sums over each completion, in the order of the rows; not a number for rows that nobody needs.
    var sums: [(chosen: Double, rejected: Double)] {
        hashes.enumerated().map { index, hash in
            guard needed.contains(index) else { return (.nan, .nan) }
            guard let chosen = known[hash.chosen], let rejected = known[hash.rejected] else { preconditionFailure("the reference of \(hash) was not computed") }
            return (chosen.reduce(0, +), rejected.reduce(0, +))
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
