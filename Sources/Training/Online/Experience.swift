import Models

/// The completions of one online step with all that training needs of them, prompt by prompt.
public struct Experience: Sendable {
    public struct Sample: Sendable, Equatable {
        /// Index of its prompt in `prompts`.
        public var group: Int
        /// The completion, the token that ends it included; at least one.
        public var tokens: [Int32]
        /// What the reward says, clipped, penalties taken off.
        public var score: Double
        /// Whether it ended by itself.
        public var isWhole: Bool
        public init(group: Int, tokens: [Int32], score: Double, isWhole: Bool) {
            (self.group, self.tokens, self.score, self.isWhole) = (group, tokens, score, isWhole)
        }
    }

    public var prompts: [[Int32]]
    /// In the order of groups.
    public var samples: [Sample]
    /// log π_old of each completion token at the sampling temperature, by the training kernels, nats.
    public var old: Ragged
    /// log π_ref of the same tokens, or nil where the method needs no reference.
    public var reference: Ragged?
    /// V of each completion token by the value model, as it was before the step; nil where there is none.
    public var values: Ragged?
    /// β in force.
    public var beta: Double

    public init(prompts: [[Int32]], samples: [Sample], old: Ragged, reference: Ragged?, beta: Double) {
        precondition(old.rows == samples.count && reference.map { $0.offsets == old.offsets } ?? true,
            "\(samples.count) samples, \(old.rows) rows of log-probs, \(reference?.rows ?? old.rows) of the reference's")
        (self.prompts, self.samples, self.old, self.reference, self.beta) = (prompts, samples, old, reference, beta)
    }

    /// Samples of each prompt.
    public var groups: [[Int]] {
        var groups = [[Int]](repeating: [], count: prompts.count)
        for (index, sample) in samples.enumerated() { groups[sample.group].append(index) }
        return groups
    }

    /// Σ_t of an estimate of KL(π_old‖π_ref) over a sample's tokens, nats; 0 without a reference. k1 is log π_old − log π_ref.
    public func divergence(_ sample: Int, by estimator: KLEstimator = .k1) -> Double {
        guard let reference else { return 0 }
        if estimator == .k1 { return old.sum(sample) - reference.sum(sample) }
        return zip(old[sample], reference[sample]).reduce(0) { $0 + estimator($1.0, reference: $1.1).value }
    }

    /// What a batch asks of every completion token.
    enum Reading {
        case logProbs(temperature: Double)
        /// The score head's output where the token is predicted.
        case values
    }

    /// Rows, or read-outs, of the tree in the order of `indices`; samples of one prompt share it.
    func tree(_ indices: [Int], reads reading: Reading) -> SegmentTree {
        var tree = SegmentTree()
        if case let .logProbs(temperature) = reading { tree.temperature = temperature }
        var prompt: [Int: Int] = [:]
        for index in indices {
            let sample = samples[index]
            let parent = prompt[sample.group] ?? tree.append(prompts[sample.group])
            prompt[sample.group] = parent
            let segment = tree.append(sample.tokens, parent: parent)
            switch reading {
            case .logProbs: tree.addRow(segment: segment)
            case .values:
                tree.addReadout(segment: parent)
                for token in sample.tokens.indices.dropLast() { tree.addReadout(segment: segment, at: token) }
            }
        }
        return tree
    }
}

/// What a method makes of a step's samples before the first update; constants from then on.
public struct Weighing: Sendable {
    /// Samples that the updates train on, in the order of groups.
    public var trained: [Int]
    /// Â of each sample's tokens; a method whose unit is the completion repeats one value.
    public var advantages: Ragged
    /// G of each sample's tokens, which a value model learns; nil without one.
    public var returns: Ragged?
    /// Samples that the method holds against each other, the better one first; kept in the store.
    public var pairs: [Pair] = []
    public var metrics = Metrics()

    public struct Pair: Sendable, Equatable {
        public var chosen: Int, rejected: Int
    }

    public init(trained: [Int], advantages: Ragged) { (self.trained, self.advantages) = (trained, advantages) }

    /// One advantage a sample, the same for all of its tokens.
    public init(_ experience: Experience, advantages: [Double], trained: [Int]? = nil) {
        precondition(advantages.count == experience.samples.count, "\(advantages.count) advantages for \(experience.samples.count) samples")
        var ragged = experience.old
        for row in 0..<ragged.rows { for index in ragged.range(row) { ragged.values[index] = advantages[row] } }
        self.init(trained: trained ?? Array(experience.samples.indices), advantages: ragged)
    }
}

extension Weighing {
    /// A completion is one action, its baseline the mean of the others of its prompt; the KL to the reference is in the reward.
    /// - Parameter normalises: Divide by the standard deviation over the step.
    init(leavingOneOut experience: Experience, normalises: Bool) {
        let advantages = Advantages.leaveOneOut(experience.penalisedRewards, groupSize: experience.groupSize)
        self.init(experience, advantages: normalises ? Advantages.normalised(advantages) : advantages)
    }
}

/// A way to learn from scored completions: one file each. The loop it is run by owns sampling, scoring, log-probs of policy
/// and reference, updates, metrics and checkpoints.
public protocol OnlineMethod: Sendable {
    associatedtype Settings: OnlineStageSettings
    static var name: String { get }
    static var summary: String { get }
    init(_ settings: Settings)
    /// Whether log π_ref is wanted whatever β is.
    var needsReference: Bool { get }
    /// The value model that is trained beside the policy; nil for a method without one.
    var critic: ValueSettings? { get }
    /// Whether what was trained on competes again when its prompt is sampled next.
    var poolsSamples: Bool { get }
    /// By what the KL to the reference enters a completion's reward.
    var estimator: KLEstimator { get }
    /// An exact divergence from the policy that sampled, beside the loss; nil for a method without one.
    var pull: Anchor.Pull? { get }
    func weigh(_ experience: Experience) -> Weighing
    /// The loss of some of the trained samples.
    /// - Parameters:
    ///   - logProbs: log π_θ of their tokens at the sampling temperature, rows in the order of `samples`.
    ///   - step: Completions (`pairs`) and tokens of the whole update.
    func loss(
        _ logProbs: Ragged, of samples: [Int], in experience: Experience, _ weighing: Weighing, step: StepTotals
    ) throws(ObjectiveError) -> Loss
}

extension OnlineMethod {
    public var needsReference: Bool { false }
    public var critic: ValueSettings? { nil }
    public var pull: Anchor.Pull? { nil }
    public var poolsSamples: Bool { false }
    public var estimator: KLEstimator { .k1 }
}
