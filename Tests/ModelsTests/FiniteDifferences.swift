import Models
import Tensors
import Testing

/// Holds the gradients that a model has accumulated against finite differences of a loss, along a direction of each parameter's weights.
/// - Parameters:
///   - changed: To be called after the weights have changed.
func expectDerivatives(
    of model: Transformer, seed: UInt64 = 5, loss: () throws -> Double, changed: () -> Void, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let gradients = Array(UnsafeBufferPointer(start: model.gradients.base, count: model.gradients.count))
    var random = RandomStream(seed: seed, stream: 0, index: 0)
    for parameter in model.parameters {
        let weights = UnsafeMutableBufferPointer(start: model.weights.base + parameter.offset, count: parameter.count)
        let gradient = gradients[parameter.range]
        // Half along the gradient itself, half at random: large enough to stand above fp32's noise.
        let norm = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        let direction = gradient.map { Float(Double($0) / max(norm, 1e-12) + random.normal() / Double(parameter.count).squareRoot()) }
        let saved = Array(weights)
        // A steep loss is straight over a short way only.
        let h = Float(2e-3 / max(1, norm / 4))
        func at(_ step: Float) throws -> Double {
            for i in weights.indices { weights[i] = saved[i] + step * direction[i] }
            changed()
            return try loss()
        }
        let numeric = (try at(h) - at(-h)) / Double(2 * h)
        for i in weights.indices { weights[i] = saved[i] }
        changed()
        let analytic = zip(gradient, direction).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        #expect(norm > 1e-6, "\(parameter.name) has no gradient", sourceLocation: sourceLocation)
        #expect(
            abs(numeric - analytic) < 1e-2 * max(abs(numeric), 0.05), "\(parameter.name): analytic \(analytic), numeric \(numeric)", sourceLocation: sourceLocation)
    }
}
