import Models
import Tensors

/// AdamW over a policy's flat parameters, with the gradient clipped to a global norm.
///
///     g ← g·min(1, c/(‖g‖₂ + 1e-6))
///     m ← β₁·m + (1 − β₁)·g          v ← β₂·v + (1 − β₂)·g²
///     θ ← θ·(1 − η·λ) − η·(m/(1 − β₁ᵗ))/(√(v/(1 − β₂ᵗ)) + ε)
///
/// Source: Loshchilov & Hutter 2019, alg. 2, in PyTorch's order (decay first). Decay λ leaves norms and biases alone
/// (`ParameterInfo.decays`). Moments are fp32, flat, in the layout of the weights.
public final class AdamW {
    public struct Settings: Sendable, Equatable {
        public var beta1 = 0.9
        public var beta2 = 0.999
        public var epsilon = 1e-8
        public var weightDecay = 0.0
        /// c; 0 leaves the gradient as it is.
        public var maxGradientNorm = 1.0
        public init() {}
    }

    public let settings: Settings
    public let parameters: [ParameterInfo]
    /// m and v.
    public let firstMoment: FloatBuffer, secondMoment: FloatBuffer
    /// t: updates applied so far.
    public internal(set) var steps = 0

    /// Changes what an update comes to; nil leaves it.
    public var merging: OnlineMerging?

    private let compute: Compute

    public init(_ policy: any TrainablePolicy, settings: Settings, compute: Compute) {
        self.settings = settings
        self.compute = compute
        parameters = policy.parameters
        firstMoment = FloatBuffer(count: policy.weights.count)
        secondMoment = FloatBuffer(count: policy.weights.count)
    }

    /// ‖g‖₂ over all parameters, before clipping.
    public func gradientNorm(of policy: any TrainablePolicy) -> Double {
        sumOfSquares(policy.gradients, on: compute).squareRoot()
    }

    /// One update of the policy's weights from its gradients, which are 0 afterwards: each is read once and cleared in the same pass.
    /// - Parameter gradientNorm: ‖g‖₂ as `gradientNorm(of:)` gave it; it must be finite.
    public func update(_ policy: any TrainablePolicy, learningRate: Double, gradientNorm: Double) {
        precondition(gradientNorm.isFinite, "a gradient of norm \(gradientNorm) must not reach the weights")
        precondition(policy.weights.count == firstMoment.count, "\(policy.weights.count) weights, \(firstMoment.count) moments")
        steps += 1
        let clips = settings.maxGradientNorm > 0
        let scale = clips ? min(1, settings.maxGradientNorm / (gradientNorm + 1e-6)) : 1
        var step = AdamWStep(learningRate: learningRate, step: steps)
        step.beta1 = settings.beta1
        step.beta2 = settings.beta2
        step.epsilon = settings.epsilon
        step.gradientScale = scale
        compute.phase(.optimizer) {
            policy.changeWeights(on: compute) { piece, decays in
                var step = step
                step.weightDecay = decays ? settings.weightDecay : 0
                func update() {
                    adamW(
                        weights: policy.weights, gradients: policy.gradients, firstMoment: firstMoment, secondMoment: secondMoment,
                        range: piece, step: step, on: compute
                    )
                }
                if let merging { merging.apply(to: policy.weights, piece: piece, step: steps, update) } else { update() }
            }
        }
    }

    /// Sets all gradients to 0, in parallel pieces.
    public func clearGradients(of policy: any TrainablePolicy) {
        compute.phase(.clearing) {
            let piece = 1 << 20
            let (count, base) = (policy.gradients.count, policy.gradients.base)
            compute.parallel((count + piece - 1) / piece) { index in
                (base + index * piece).update(repeating: 0, count: min(piece, count - index * piece))
            }
        }
    }
}
