import PreferenceData

/// The preference store keeps reference log-probs for all runs.
extension PreferenceStore: ReferenceCache {
    public func logProbs(of identity: ReferenceIdentity, tokenHashes: [String]) throws -> [String: [Double]] {
        try referenceLogProbs(identity.key, tokenHashes: tokenHashes)
    }

    public func save(_ logProbs: [(hash: String, values: [Double])], of identity: ReferenceIdentity) throws {
        try saveReferenceLogProbs(identity.key, logProbs)
    }
}

extension ReferenceIdentity {
    var key: PreferenceStore.ReferenceKey {
        PreferenceStore.ReferenceKey(model: model, precision: precision, kernels: kernels, numerics: numerics)
    }
}
