import Models

extension Calibration {
    private static func key(_ bin: Int, _ what: String) -> String { "calibration/\(bin)/\(what)" }

    /// Adds a pair to the bins among `metrics`: sums, so that micro-batches add up.
    static func record(margin: Double, into metrics: inout Metrics) {
        let bin = bin(ofMargin: margin)
        metrics.record(key(bin, "accuracy"), sum: hit(margin), count: 1)
        metrics.record(key(bin, "confidence"), sum: confidence(margin), count: 1)
    }

    /// The bins among `metrics`.
    init(_ metrics: Metrics) {
        self.init()
        for b in bins.indices {
            guard let hits = metrics.sums[Calibration.key(b, "accuracy")], let confidence = metrics.sums[Calibration.key(b, "confidence")] else { continue }
            bins[b] = Bin(count: hits.count, hits: hits.sum, confidence: confidence.sum)
        }
    }

    /// Takes the bins out of `metrics`.
    static func remove(from metrics: inout Metrics) { metrics.remove { $0.hasPrefix("calibration/") } }
}
