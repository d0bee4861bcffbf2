import Foundation
import PreferenceData
import Training

/// The preference store as a stage's cache of reference log-probs.
final class RunStore: ReferenceCache {
    init(_ path: String) throws {}
    func logProbs(of identity: ReferenceIdentity, tokenHashes: [String]) throws -> [String: [Double]] { [:] }
    func save(_ logProbs: [(hash: String, values: [Double])], of identity: ReferenceIdentity) throws {}
}
