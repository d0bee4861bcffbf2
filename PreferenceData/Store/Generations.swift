/// How a model came to say a completion.
public struct Generation: Sendable, Equatable {
    /// The completion's id.
    public var completion: String
    /// Content hash of weights and config, or a name where the weights are elsewhere.
    public var model: String
    public var run: String?
    /// Optimizer steps that the policy had behind it.
    public var version: Int?
    public var seed: Int?
    /// JSON.
    public var sampling: String?
    public var tokens: [Int32]?
    /// Per token, nats, as sampled.
    public var logProbs: [Double]?
    /// `stop`, `length`, ….
    public var finish: String?
    /// ISO 8601.
    public var time: String

    public init(completion: String, model: String, time: String) {
        self.completion = completion
        self.model = model
        self.time = time
    }

    /// Hash of completion, model, run, version, seed and sampling: the same draw is kept once.
    public var id: String {
        ContentHash.of([
            "generation", completion, model, run ?? "", version.map(String.init) ?? "", seed.map(String.init) ?? "", sampling ?? "",
        ], under: completion)
    }
}

/// What a reward says of a completion.
public struct Score: Sendable, Equatable {
    public var completion: String
    /// As the command line names it: `model:DIR`, `rule:math`, ….
    public var reward: String
    /// Of its weights, program or settings; empty where the score was imported.
    public var rewardHash: String
    /// Empty outside of a run.
    public var run: String
    public var value: Double
    /// ISO 8601.
    public var time: String

    public init(completion: String, reward: String, rewardHash: String = "", run: String = "", value: Double, time: String) {
        self.completion = completion
        self.reward = reward
        self.rewardHash = rewardHash
        self.run = run
        self.value = value
        self.time = time
    }
}

extension PreferenceStore {
    /// Keeps how completions came about; what is known stays as it is.
    /// - Returns: How many were new.
    @discardableResult
    public func add(_ generations: [Generation]) throws(StoreError) -> Int {
        try inPieces(generations) { (database, generation) throws(StoreError) in try database.add(generation) }
    }

    /// Keeps scores; one of the same completion, reward and run is replaced.
    public func add(_ scores: [Score]) throws(StoreError) {
        for score in scores where !score.value.isFinite { throw .badValue(column: "value", found: "\(score.value)") }
        _ = try inPieces(scores) { (database, score) throws(StoreError) in try database.add(score, replaces: true) }
    }

    /// How a completion came about, the earliest first.
    public func generations(of completion: String) throws(StoreError) -> [Generation] {
        try withDatabase { database throws(StoreError) in
            var result: [Generation] = []
            try database.query(
                """
                SELECT model, run, version, seed, sampling, tokens, log_probs, finish, time FROM generation WHERE completion = ?1 ORDER BY time, id
                """, [.text(completion)]
            ) { row throws(StoreError) in
                var generation = Generation(completion: completion, model: row.text(0), time: row.text(8))
                generation.run = row.optionalText(1)
                generation.version = row.isNull(2) ? nil : row.integer(2)
                generation.seed = row.isNull(3) ? nil : row.integer(3)
                generation.sampling = row.optionalText(4)
                generation.tokens = row.isNull(5) ? nil : try Self.integers(row.blob(5))
                generation.logProbs = row.isNull(6) ? nil : PreferenceStore.doubles(row.blob(6))
                generation.finish = row.optionalText(7)
                result.append(generation)
            }
            return result
        }
    }

    private static func integers(_ bytes: [UInt8]) throws(StoreError) -> [Int32] {
        guard bytes.count % 4 == 0 else { throw .badValue(column: "tokens", found: "\(bytes.count) bytes") }
        return bytes.withUnsafeBytes { bytes in
            (0..<bytes.count / 4).map { Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self)) }
        }
    }
}

extension Database {
    @discardableResult
    func add(_ generation: Generation) throws(StoreError) -> Bool {
        try run(
            """
            INSERT OR IGNORE INTO generation (id, completion, model, run, version, seed, sampling, tokens, log_probs, finish, time)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
            """,
            .text(generation.id), .text(generation.completion), .text(generation.model), .optional(generation.run), .optional(generation.version),
            .optional(generation.seed), .optional(generation.sampling),
            generation.tokens.map { tokens in .blob(tokens.map(\.littleEndian).withUnsafeBytes { Array($0) }) } ?? .null,
            generation.logProbs.map { .blob(PreferenceStore.bytes($0)) } ?? .null, .optional(generation.finish), .text(generation.time)) > 0
    }

    func add(_ score: Score, replaces: Bool) throws(StoreError) -> Bool {
        try run(
            "INSERT OR \(replaces ? "REPLACE" : "IGNORE") INTO score (completion, reward, reward_hash, run, value, time) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            .text(score.completion), .text(score.reward), .text(score.rewardHash), .text(score.run), .real(score.value), .text(score.time)) > 0
    }
}
