import Checkpoints
import Foundation
import Tensors

/// Cosines and sines of every position's rotation angles, grown on demand.
struct RotaryTable {
    private let frequencies: RotaryFrequencies
    private(set) var cosines: Matrix
    private(set) var sines: Matrix

    init(_ config: ModelConfig) {
        frequencies = RotaryFrequencies(config)
        cosines = Matrix(rows: 0, columns: config.headDimension / 2)
        sines = Matrix(rows: 0, columns: config.headDimension / 2)
    }

    /// Makes positions `0..<count` available.
    ///
    /// Angles are products of `Float`s, as in the reference implementation, so that long positions agree with it.
    mutating func reserve(_ count: Int) {
        guard count > cosines.rows else { return }
        let rows = max(count, 2 * cosines.rows, 256)
        let half = cosines.columns
        let inverse = frequencies.inverse(sequenceLength: nil).map { Float($0) }
        let factor = frequencies.attentionFactor
        let (newCosines, newSines) = (Matrix(rows: rows, columns: half), Matrix(rows: rows, columns: half))
        for position in 0..<rows {
            for i in 0..<half {
                let angle = Double(Float(position) * inverse[i])
                newCosines.pointer[position * half + i] = Float(cos(angle) * factor)
                newSines.pointer[position * half + i] = Float(sin(angle) * factor)
            }
        }
        (cosines, sines) = (newCosines, newSines)
    }
}
