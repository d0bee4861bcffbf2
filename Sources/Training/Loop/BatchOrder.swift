import Tensors

/// Streams of draws; each has its own, so that one more draw here changes nothing there.
enum RandomStreamID {
    static let shuffle: UInt64 = 1
    static let split: UInt64 = 2
    static let scoreHead: UInt64 = 3
    static let miniBatches: UInt64 = 4
    static let acceptance: UInt64 = 5
    static let onPolicy: UInt64 = 6
}

/// Which rows every optimizer step takes: a permutation of all rows per epoch, from (seed, epoch) alone.
struct BatchOrder {
    var rows: Int
    var batchSize: Int
    var accumulationSteps: Int
    var seed: UInt64
    var shuffles: Bool
    private var cached: (epoch: Int, order: [Int])?

    init(rows: Int, settings: TrainingSettings) {
        precondition(rows > 0, "an order of \(rows) rows")
        self.rows = rows
        batchSize = settings.batchSize
        accumulationSteps = settings.accumulationSteps
        seed = UInt64(settings.seed)
        shuffles = settings.shuffles
    }

    var stepsPerEpoch: Int { (rows + batchSize * accumulationSteps - 1) / (batchSize * accumulationSteps) }

    /// The micro-batches of optimizer step `step`, counted from 0. The last ones of an epoch may be smaller.
    mutating func microBatches(of step: Int) -> [[Int]] {
        let (epoch, index) = (step / stepsPerEpoch, step % stepsPerEpoch)
        let order = order(of: epoch)
        let start = index * batchSize * accumulationSteps
        let end = min(rows, start + batchSize * accumulationSteps)
        return stride(from: start, to: end, by: batchSize).map { Array(order[$0..<min(end, $0 + batchSize)]) }
    }

    /// Every row that the first `steps` steps take, in order.
    mutating func rows(ofSteps steps: Int) -> [Int] {
        steps >= stepsPerEpoch ? Array(0..<rows) : (0..<steps).flatMap { microBatches(of: $0).joined() }.sorted()
    }

    private mutating func order(of epoch: Int) -> [Int] {
        guard shuffles else { return Array(0..<rows) }
        if let cached, cached.epoch == epoch { return cached.order }
        var stream = RandomStream(seed: seed, stream: RandomStreamID.shuffle, index: UInt64(epoch))
        let order = stream.permutation(rows)
        cached = (epoch, order)
        return order
    }
}
