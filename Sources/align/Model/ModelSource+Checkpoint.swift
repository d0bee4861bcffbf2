import Checkpoints
import Foundation
import Models
import Tensors
import Training

extension ModelSource {
    /// A checkpoint as stages see it: known at once, its weights read when asked for.
    init(_ checkpoint: Checkpoint, compute: Compute, precision: Precision, recompute: Bool) {
        let config = checkpoint.config
        self.init(
            path: checkpoint.path, tokenizer: checkpoint.tokenizer, template: checkpoint.chatTemplate, vocabularySize: config.vocabularySize,
            maxPositions: config.maxPositions, precision: precision.rawValue, kernels: compute.identity(precision),
            numericsVersion: Transformer.numericsVersion, contentHash: { try checkpoint.contentHash() },
            load: { trains in try Transformer(checkpoint, compute: compute, precision: precision, trains: trains, recompute: recompute) },
            save: { policy, dtype, folder in
                guard let type = WeightType(rawValue: dtype) else { preconditionFailure("\(dtype) is no type of weights") }
                try CheckpointWriter.save(CheckpointWriter.Model(checkpoint), tensors: policy.tensorSources, dtype: type, to: folder)
            },
            restore: { policy, folder in
                let saved = try Checkpoint.open(folder)
                for parameter in policy.parameters {
                    try saved.read(parameter.name, into: UnsafeMutableBufferPointer(start: policy.weights.base + parameter.offset, count: parameter.count))
                }
                policy.weightsChanged()
            },
            memoryEstimate: { tokens, scoredTokens in
                Transformer.memoryEstimate(config: config, tokens: tokens, scoredTokens: scoredTokens, trains: true, precision: precision, recompute: recompute)
            })
        templateVariables = checkpoint.templateVariables
    }
}

extension TrainablePolicy {
    /// Its parameters for `CheckpointWriter`, values read when they are written.
    var tensorSources: [TensorSource] {
        parameters.map { parameter in
            TensorSource(name: parameter.name, shape: parameter.shape) { [weights] range, destination throws(CheckpointError) in
                destination.baseAddress?.update(from: weights.base + parameter.offset + range.lowerBound, count: range.count)
            }
        }
    }
}
