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
    /// Per completion, which tokens count, one entry each; nil: all.
    var masks: [[Bool]?]
}

/// What a reference is asked for.
struct ReferenceRows {
    /// Numbers of the rows that somebody will ask for: a short run takes but a few.
    var needed: [Int]
    var count: Int
    /// Of every row.
    var completions: Int
    var row: (Int) throws -> ReferenceRow
    /// What a row's log-probs come to, from those of each completion's tokens that count; a number for each completion.
    var sums: ([[Double]]) -> [Double]
}

/// log π_ref of every completion of `rows`: from the cache where it is known, from the reference model otherwise, once.
///
/// Of each completion one sum is kept; what belongs to its tokens is in memory no longer than the batch it came with.
struct ReferenceLogProbs {
    let rows: ReferenceRows
    let identity: ReferenceIdentity
    let cache: (any ReferenceCache)?
    /// Rows per pass: as many as a training micro-step has.
    let batchSize: Int
    /// Needed rows of which a completion is not known.
    private(set) var missing: [Int] = []
    /// Completions of a row, and by row a number for each; not numbers of rows that nobody needs.
    private let width: Int
    private var sums: [Double]

    /// Rows whose log-probs are asked of the cache at once.
    private static let lookup = 512

    init(rows: ReferenceRows, identity: ReferenceIdentity, cache: (any ReferenceCache)?, batchSize: Int) throws {
        (self.rows, self.identity, self.cache, self.batchSize) = (rows, identity, cache, batchSize)
        width = rows.completions
        sums = [Double](repeating: .nan, count: width * rows.count)
        for start in stride(from: 0, to: rows.needed.count, by: Self.lookup) {
            let numbers = rows.needed[start..<min(rows.needed.count, start + Self.lookup)]
            let part = try numbers.map { (number: $0, row: try rows.row($0)) }
            let hashes = part.map { Self.hashes($0.row) }
            let known = try cache?.logProbs(of: identity, tokenHashes: hashes.flatMap { $0 }) ?? [:]
            for ((number, row), hashes) in zip(part, hashes) {
                let lost = row.prompt.isEmpty ? 1 : 0
                let values = zip(row.completions, hashes).compactMap { completion, hash in
                    // What does not fit its row is not trusted: it is computed again and replaced.
                    known[hash].flatMap { $0.count == completion.count - lost ? $0 : nil }
                }
                if values.count == row.completions.count { keep(values, number, row) } else { missing.append(number) }
            }
        }
    }

    /// Scores the missing rows with `policy`, saving each pass, so that an interrupted one is not lost.
    /// - Returns: False if cancelled before the end.
    mutating func compute(with policy: any Policy, report: (StageEvent) -> Void, isCancelled: () -> Bool) throws -> Bool {
        let cached = rows.needed.count - missing.count
        for start in stride(from: 0, to: missing.count, by: batchSize) {
            if isCancelled() { return false }
            let part = try missing[start..<min(missing.count, start + batchSize)].map { (number: $0, row: try rows.row($0)) }
            let scores = try policy.scores(of: Self.tree(part.map(\.row))).logProbs
            // A model that is not finite on its own data is reported by the objective, row by row; it is not cached.
            let computed = part.flatMap { Self.hashes($0.row) }.enumerated().map { (hash: $1, values: Array(scores[$0])) }
            var next = 0
            for (number, row) in part {
                keep(computed[next..<next + row.completions.count].map(\.values), number, row)
                next += row.completions.count
            }
            try cache?.save(computed.filter { $0.values.allSatisfy(\.isFinite) }, of: identity)
            report(.reference(done: start + part.count, missing: missing.count, cached: cached))
        }
        missing = []
        return true
    }

    private mutating func keep(_ values: [[Double]], _ number: Int, _ row: ReferenceRow) {
        let counted = zip(values, row.masks).map { values, mask in mask.map { zip(values, $0.suffix(values.count)).filter(\.1).map(\.0) } ?? values }
        for (completion, sum) in rows.sums(counted).enumerated() { sums[width * number + completion] = sum }
    }

    func sum(_ row: Int, _ completion: Int = 0) -> Double { sums[width * row + completion] }

    private static func tree(_ rows: [ReferenceRow]) -> SegmentTree {
        var tree = SegmentTree()
        for row in rows {
            let prompt = row.prompt.isEmpty ? nil : tree.append(row.prompt)
            for completion in row.completions { tree.addRow(segment: tree.append(completion, parent: prompt)) }
        }
        return tree
    }

    private static func hashes(_ row: ReferenceRow) -> [String] { row.completions.map { hash(prompt: row.prompt, completion: $0) } }

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
