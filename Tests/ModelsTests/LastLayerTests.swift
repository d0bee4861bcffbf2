import Foundation
import Testing

@testable import Checkpoints
@testable import Models
@testable import Tensors

/// The last layer is computed for the rows that are read alone: nothing else may change.
@Suite("The last layer") struct LastLayerTests {
    enum Kind: String, CaseIterable { case all, recomputed, window, adapter, recomputedAdapter, scores }

    func model(_ kind: Kind, _ precision: Precision) throws -> Transformer {
        switch kind {
        case .all: return try tinyModel(tinyConfig(), threads: 2, precision: precision)
        case .recomputed: return try tinyModel(tinyConfig(), threads: 2, precision: precision, recompute: true)
        case .window: return try tinyModel(tinyConfig(window: 50), threads: 2, precision: precision)
        case .scores: return try tinyModel(tinyConfig().scoring(outputs: 2), threads: 2, precision: precision)
        case .adapter, .recomputedAdapter:
            let files = try AdaptedFiles()
            let model = try Transformer(
                frozen: Checkpoint.open(files.base), adapter: AdapterConfig(rank: 3, alpha: 5, dropout: 0.3), seed: 1, compute: Compute(threads: 2),
                precision: precision, recompute: kind == .recomputedAdapter)
            stir(model)
            return model
        }
    }

    /// A prompt with two continuations and two documents, a stretch of each scored or some tokens of each read out, or (`all`) every one.
    func batch(_ kind: Kind, all: Bool) -> (batch: SegmentTree, isRead: [Bool]) {
        var (batch, isRead) = (SegmentTree(), [Bool]())
        func add(_ count: Int, seed: UInt64, parent: Int? = nil, read: Range<Int>) -> Int {
            let segment = batch.append(tokens(count, seed: seed), parent: parent)
            if kind == .scores {
                for i in 0..<count where all || i == read.lowerBound || i == read.upperBound - 1 {
                    batch.addReadout(segment: segment, at: i)
                    isRead.append(i == read.lowerBound || i == read.upperBound - 1)
                }
            } else {
                batch.addRow(segment: segment, mask: all ? nil : (0..<count).map(read.contains))
                for i in 0..<count where (all || read.contains(i)) && (i > 0 || parent != nil) { isRead.append(read.contains(i)) }
            }
            return segment
        }
        let prompt = add(90, seed: 1, read: 80..<90)
        for seed in 2..<4 { _ = add(70, seed: UInt64(seed), parent: prompt, read: 0..<12) }
        _ = add(150, seed: 4, read: 100..<130)
        _ = add(40, seed: 5, read: 3..<5)
        return (batch, isRead)
    }

    @Test("what is read of it, and the gradient, are those of a layer computed whole", arguments: Kind.allCases, Precision.allCases)
    func isTheSame(kind: Kind, precision: Precision) throws {
        let model = try model(kind, precision)
        func run(all: Bool) throws -> (values: [Double], gradient: [Float]) {
            let (batch, isRead) = batch(kind, all: all)
            #expect((RowsRead(batch) == nil) == all)
            model.gradients.clear()
            let found = try model.logProbs(of: batch)
            let outputs = kind == .scores ? 2 : 1
            let values = kind == .scores ? found.readouts : found.logProbs.values
            try #require(values.count == isRead.count * outputs, "\(values.count) values")
            let read = isRead.flatMap { [Bool](repeating: $0, count: outputs) }
            var (kept, gradient) = ([Double](), [Double]())
            for (value, isRead) in zip(values, read) {
                gradient.append(isRead ? 0.1 * sin(Double(kept.count)) : 0)
                if isRead { kept.append(value) }
            }
            try model.backward(kind == .scores ? ScoreGradient(readouts: gradient) : ScoreGradient(logProbs: gradient))
            return (kept, model.gradients.array)
        }
        let whole = try run(all: true), narrow = try run(all: false)
        #expect(narrow.values == whole.values, "values differ by \(zip(narrow.values, whole.values).map { abs($0 - $1) }.max() ?? 0)")
        let distance = relativeDistance(narrow.gradient, whole.gradient)
        #expect(distance < (precision == .fp32 ? 1e-5 : 1e-2) && narrow.gradient.contains { $0 != 0 }, "gradients differ by \(distance) relative")
    }

    @Test("rows that lie scattered, or are most, are no reason to leave any out") func pays() {
        #expect(RowsRead([], of: 40)?.rows == [] && RowsRead([7, 6, 20], of: 64)?.runs == [6..<8, 20..<21])
        #expect(RowsRead(0..<31, of: 40) == nil && RowsRead([1, 3, 5], of: 64) == nil)
    }
}
