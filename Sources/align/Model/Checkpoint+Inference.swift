import Checkpoints
import Models
import Tensors

extension Checkpoint {
    /// The model, to sample from and to score with.
    ///
    /// An adapter on a quantized base is run beside it, the base staying in its blocks; on any other it is merged as the weights are read.
    /// - Parameter base: Given: the model, or an adapter's base, lies in memory as training with an adapter has it.
    func transformer(frozen base: BasePrecision? = nil, compute: Compute, precision: Precision) throws -> Transformer {
        let below = self.base ?? self
        guard base != nil || (adapter != nil && below.isQuantized) else {
            return try Transformer(self, compute: compute, precision: precision, trains: false)
        }
        return try Transformer(
            frozen: below, base: base ?? .auto, adapter: try adapter?.config(for: below.config), initial: adapter, seed: 0, compute: compute, precision: precision,
            trains: false)
    }
}
