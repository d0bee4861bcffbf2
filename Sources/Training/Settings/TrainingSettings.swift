import Serialization
import Tensors

/// The settings that all training stages share; each stage's settings hold one.
public struct TrainingSettings: Codable, Sendable, Equatable {
    public enum RowPolicy: String, CaseIterable, Sendable, Codable { case stop, skip }
    public enum Arithmetic: String, CaseIterable, Sendable, Codable { case auto, fp32, bf16 }
    public enum SavedType: String, CaseIterable, Sendable, Codable { case f32 = "F32", bf16 = "BF16", f16 = "F16" }
    public enum BestMetric: String, CaseIterable, Sendable, Codable { case loss = "eval_loss", accuracy = "eval_accuracy" }

    public var model: String?
    public var seed = 0
    public var precision = Arithmetic.auto
    public var saveType = SavedType.f32
    public var recompute = false
    public var adapter = AdapterSettings()
    public var merging = MergingSettings()

    public var epochs = 3.0
    public var maxSteps = 0
    public var batchSize = 8
    public var accumulationSteps = 1
    public var shuffles = true

    public var learningRate: Double
    public var schedule = LearningRateSchedule.Kind.linear
    public var warmupSteps = 0
    public var warmupRatio = 0.0
    public var minimumRatio = 0.0
    public var decayRatio = 0.1
    public var decay = LearningRateSchedule.Decay.linear
    public var timescale = 0
    public var weightDecay = 0.0
    public var maxGradientNorm = 1.0
    public var adamBeta1 = 0.9
    public var adamBeta2 = 0.999
    public var adamEpsilon = 1e-8
    public var maxNonfiniteSteps = 3

    public var maxLength = 1024
    public var template = "auto"
    public var columns: String?
    public var onBadRow = RowPolicy.stop

    public var evalData: [String] = []
    public var evalSplit = 0.0
    public var evalSteps = 0
    public var earlyStoppingPatience = 0
    public var bestMetric = BestMetric.loss
    public var loadsBest = false
    public var saveSteps = 500
    public var saveTotalLimit = 2
    public var logSteps = 1

    public init(learningRate: Double) { self.learningRate = learningRate }

    /// Optimizer steps of one epoch over `rows` rows; the last, smaller batch counts.
    public func stepsPerEpoch(rows: Int) -> Int {
        let perStep = batchSize * accumulationSteps
        return (rows + perStep - 1) / perStep
    }

    /// Optimizer steps of the whole run.
    public func totalSteps(rows: Int) -> Int {
        if maxSteps > 0 { return maxSteps }
        return Int((epochs * Double(stepsPerEpoch(rows: rows))).rounded(.up))
    }

    public func learningRateSchedule(totalSteps: Int) -> LearningRateSchedule {
        let warmup = warmupSteps > 0 ? warmupSteps : Int((warmupRatio * Double(totalSteps)).rounded(.up))
        return LearningRateSchedule(
            schedule, peak: learningRate, warmupSteps: warmup, totalSteps: totalSteps, minimumRatio: minimumRatio,
            decaySteps: Int((decayRatio * Double(totalSteps)).rounded(.up)), decay: decay, timescale: timescale > 0 ? timescale : nil
        )
    }

    public var optimizer: AdamW.Settings {
        var settings = AdamW.Settings()
        settings.beta1 = adamBeta1
        settings.beta2 = adamBeta2
        settings.epsilon = adamEpsilon
        settings.weightDecay = weightDecay
        settings.maxGradientNorm = maxGradientNorm
        return settings
    }

    public func validate() throws(SettingError) {
        let evaluates = !evalData.isEmpty || evalSplit > 0
        if !evalData.isEmpty && evalSplit > 0 {
            throw .conflict(settings: ["eval-data", "eval-split"], reason: "held-out rows come from a file or from a split, not from both")
        }
        if evalSteps > 0 && !evaluates {
            throw .conflict(settings: ["eval-steps"], reason: "there is nothing to evaluate on; give --eval-data FILE or --eval-split 0.1")
        }
        if earlyStoppingPatience > 0 && evalSteps == 0 {
            throw .conflict(settings: ["early-stopping-patience"], reason: "early stopping looks at evaluations; give --eval-steps N")
        }
        if loadsBest && evalSteps == 0 {
            throw .conflict(settings: ["load-best-model-at-end"], reason: "the best of no evaluations is unknown; give --eval-steps N")
        }
        try adapter.validate()
        try merging.validate(adapts: adapter.adapts)
        _ = try columnNames()
        if warmupSteps > 0 && warmupRatio > 0 {
            throw .conflict(settings: ["warmup-steps", "warmup-ratio"], reason: "give the warm-up once")
        }
    }
}
