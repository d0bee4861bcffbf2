import Models

/// The test that a saved reward model is the one that was trained: opened again, it gives the same scores, bit for bit.
///
/// Weights stored as bf16 or f16 are rounded: the policy takes them back first, and how far that moved its scores is told.
struct SavedScores {
    let policy: any TrainablePolicy
    let source: ModelSource
    let isRounded: Bool
    let context: StageContext
    let settings: TrainingSettings

    /// - Throws: `TrainingError.savedModelDiffers`.
    func check(_ path: String, batch: SegmentTree) throws {
        var expected = try policy.scores(of: batch).readouts
        if isRounded {
            let trained = expected
            try source.restore(policy, path)
            expected = try policy.scores(of: batch).readouts
            let moved = zip(trained, expected).map { abs($0 - $1) }.max() ?? 0
            context.report(.notice("weights are stored as \(settings.saveType.rawValue): scores of \(batch.readoutPoints.count) completions moved by \(moved) at most"))
        }
        let found = try context.openModel(path, settings).load(false).scores(of: batch).readouts
        guard found.count == expected.count else {
            throw TrainingError.savedModelDiffers(path: path, found: "\(found.count) scores", expected: "\(expected.count)")
        }
        guard let differing = zip(found, expected).first(where: { $0.bitPattern != $1.bitPattern }) else { return }
        throw TrainingError.savedModelDiffers(path: path, found: "\(differing.0)", expected: "\(differing.1)")
    }
}
