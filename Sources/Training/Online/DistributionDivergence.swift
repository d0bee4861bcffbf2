import Models
import Tensors

extension GKD {
    /// Tokens whose logits, of both models, are in memory together.
    private static let logitRows = 64

    /// D between two models at every scored token of a batch, over the whole vocabulary.
    /// - Parameters:
    ///   - weights: w_t of each scored token. With `learns` the gradient of Σ_t w_t·D_t is added to the student's.
    /// - Returns: Each token's divergence, nats.
    func divergences(
        of student: any DistributionPolicy, from teacher: any DistributionPolicy, on tree: SegmentTree, weights: [Double], learns: Bool, compute: Compute
    ) throws -> [Double] {
        precondition(weights.count == tree.scoredTokenCount, "\(weights.count) weights of \(tree.scoredTokenCount) tokens")
        try teacher.beginDistributions(of: tree, keeps: false)
        try student.beginDistributions(of: tree, keeps: learns)
        var values: [Double] = []
        for start in stride(from: 0, to: weights.count, by: Self.logitRows) {
            let part = start..<min(start + Self.logitRows, weights.count)
            let logits = try student.logits(of: part)
            values += rows(student: logits, teacher: try teacher.logits(of: part), weights: Array(weights[part]), on: compute)
            if learns { try student.addGradient(logits, of: part) }
        }
        if learns { try student.endDistributions() }
        return values
    }
}
