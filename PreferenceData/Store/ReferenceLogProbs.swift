extension PreferenceStore {
    /// Everything that decides the bits of a log-prob besides the tokens.
    public struct ReferenceKey: Sendable, Equatable {
        /// Content hash of weights and config.
        public var model: String
        public var precision: String
        public var kernels: String
        public var numerics: Int
        public init(model: String, precision: String, kernels: String, numerics: Int) {
            self.model = model
            self.precision = precision
            self.kernels = kernels
            self.numerics = numerics
        }
        fileprivate var values: [SQLValue] { [.text(model), .text(precision), .text(kernels), .integer(numerics)] }
    }

    /// Per-token log-probs, in nats, of those of `tokenHashes` that the store knows.
    public func referenceLogProbs(_ key: ReferenceKey, tokenHashes: [String]) throws(StoreError) -> [String: [Double]] {
        try withDatabase { database throws(StoreError) in
            var known: [String: [Double]] = [:]
            for hash in tokenHashes where known[hash] == nil {
                try database.query(
                    "SELECT log_probs FROM reference_log_prob WHERE model = ?1 AND precision = ?2 AND kernels = ?3 AND numerics = ?4 AND tokens = ?5",
                    key.values + [.text(hash)]
                ) { row throws(StoreError) in known[hash] = PreferenceStore.doubles(row.blob(0)) }
            }
            return known
        }
    }

    /// Keeps per-token log-probs, in nats; known ones are replaced. All of them or, on failure, none.
    public func saveReferenceLogProbs(_ key: ReferenceKey, _ logProbs: [(hash: String, values: [Double])]) throws(StoreError) {
        guard !logProbs.isEmpty else { return }
        try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                for (hash, values) in logProbs {
                    try database.query(
                        "INSERT OR REPLACE INTO reference_log_prob (model, precision, kernels, numerics, tokens, log_probs) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        key.values + [.text(hash), .blob(PreferenceStore.bytes(values))]
                    ) { _ throws(StoreError) in }
                }
            }
        }
    }

    static func bytes(_ values: [Double]) -> [UInt8] {
        values.map(\.bitPattern.littleEndian).withUnsafeBytes { Array($0) }
    }

    /// Nil for a blob that is not a whole number of values.
    static func doubles(_ bytes: [UInt8]) -> [Double]? {
        guard bytes.count % 8 == 0 else { return nil }
        return bytes.withUnsafeBytes { bytes in
            (0..<bytes.count / 8).map { Double(bitPattern: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self))) }
        }
    }
}
