import Tensors

/// A policy that shows the whole distribution of every scored token, a few rows at a time: what losses over the vocabulary take.
///
/// The order of calls is `beginDistributions`, any `logits(of:)`, and where it trains `addGradient` for all rows and `endDistributions`;
/// logits of all rows are never in memory together.
public protocol DistributionPolicy: Policy {
    /// Logits of one scored token.
    var vocabularySize: Int { get }
    /// Runs the model on `batch`; what came of an earlier batch is forgotten.
    /// - Parameter keeps: Keep what the backward needs.
    func beginDistributions(of batch: SegmentTree, keeps: Bool) throws
    /// Logits `[rows, V]` of scored tokens, before any temperature; overwritten by the next call.
    func logits(of rows: Range<Int>) throws -> Matrix
    /// Takes ∂L/∂logits `[rows, V]` of scored tokens; each row once.
    func addGradient(_ gradient: Matrix, of rows: Range<Int>) throws
    /// Adds ∂L/∂θ of all that `addGradient` took to the parameters' gradients.
    func endDistributions() throws
}
