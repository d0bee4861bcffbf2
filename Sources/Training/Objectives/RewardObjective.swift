import Models

/// What every loss of a reward model is a function of: a head's outputs at the rows' read-out points, and what is known of the rows.
public struct RewardReadouts: Sendable {
    /// The head's outputs, `[points, outputs]`, in the order of rows; output 0 is the reward.
    public var values: [Double]
    public var outputs: Int
    public var rows: [Row]

    /// One prompt's completions, or one completion's steps.
    public struct Row: Sendable, Equatable {
        public var label: RewardLabel
        /// Per completion: a grade of 0, 1 or 2 for each of the four aspects, nil where it was not given.
        public var grades: [[Int?]]
        public init(label: RewardLabel, grades: [[Int?]] = []) { (self.label, self.grades) = (label, grades) }
    }

    public init(values: [Double], outputs: Int, rows: [Row]) {
        let points = rows.reduce(0) { $0 + $1.label.points }
        precondition(values.count == points * outputs, "\(values.count) outputs for \(points) points of \(outputs)")
        (self.values, self.outputs, self.rows) = (values, outputs, rows)
    }

    /// The reward at `point`.
    func reward(_ point: Int) -> Double { values[point * outputs] }

    /// Each row with its points.
    var placed: [(row: Row, points: Range<Int>)] {
        var start = 0
        return rows.map { row in
            defer { start += row.label.points }
            return (row, start..<start + row.label.points)
        }
    }
}

/// What is known of a row's points.
public enum RewardLabel: Sendable, Equatable {
    /// Of two completions the first is preferred, with probability `probability`, and by `margin`.
    case preference(margin: Double, probability: Double)
    /// Ranks of the completions: 1 is the best, equal ranks are ties.
    case ranking([Int])
    /// Per completion: a score for each output, nil where there is none.
    case scores([[Double?]])
    /// Per step of one completion: the probability that it is right, nil where that is not known.
    case steps([Double?])

    /// Read-out points.
    public var points: Int {
        switch self {
        case .preference: 2
        case let .ranking(ranks): ranks.count
        case let .scores(scores): scores.count
        case let .steps(labels): labels.count
        }
    }

    /// What the label adds to the divisors of its optimizer step: its row, and the numbers that are known.
    public var totals: StepTotals {
        switch self {
        case .preference, .ranking: StepTotals(pairs: 1)
        case let .scores(scores): StepTotals(pairs: 1, tokens: scores.reduce(0) { $0 + $1.count { $0 != nil } })
        case let .steps(labels): StepTotals(pairs: 1, tokens: labels.count { $0 != nil })
        }
    }

    /// Pairs of completions of which the first is the better one; ties have none.
    public var preferences: [(better: Int, worse: Int)] {
        comparisons.compactMap { pair in
            pair.probability == 0.5 ? nil : pair.probability > 0.5 ? (pair.better, pair.worse) : (pair.worse, pair.better)
        }
    }

    /// Pairs of points of which the first is preferred, each with its margin and the probability of the preference; ties have ½.
    var comparisons: [(better: Int, worse: Int, margin: Double, probability: Double)] {
        switch self {
        case let .preference(margin, probability): return [(0, 1, margin, probability)]
        case let .ranking(ranks):
            return ranks.indices.flatMap { i in
                (i + 1..<ranks.count).map { j in
                    ranks[i] <= ranks[j] ? (i, j, 0, ranks[i] == ranks[j] ? 0.5 : 1) : (j, i, 0, 1)
                }
            }
        case .scores, .steps: return []
        }
    }
}

/// An objective of reward models; the gradient is that of the read-outs, in their layout.
public protocol RewardObjective: Objective where Inputs == RewardReadouts {
    /// Whether it is made for such rows.
    static func accepts(_ label: RewardLabel) -> Bool
}

extension RewardObjective {
    /// A loss of zero for these read-outs.
    func zero(_ inputs: RewardReadouts) -> Loss { Loss(readouts: inputs.values.count) }

    /// Rewards, accuracy and margin under TRL's names. A pair of equal rewards is half right.
    func record(_ inputs: RewardReadouts, into loss: inout Loss) {
        for (row, points) in inputs.placed {
            for point in points {
                let reward = inputs.reward(point)
                loss.record("mean_reward", reward)
                loss.metrics.record("min_reward", least: reward)
                loss.metrics.record("max_reward", greatest: reward)
            }
            for (better, worse) in row.label.preferences {
                let margin = inputs.reward(points.lowerBound + better) - inputs.reward(points.lowerBound + worse)
                loss.record("accuracy", margin > 0 ? 1 : margin == 0 ? 0.5 : 0)
                loss.record("margin", margin)
                loss.record("ties", margin == 0 ? 1 : 0)
                Calibration.record(margin: margin, into: &loss.metrics)
            }
        }
    }

    func finite(_ value: Double, _ quantity: String, row: Int) throws(ObjectiveError) -> Double {
        guard value.isFinite else { throw .notFinite(objective: Self.name, quantity: quantity, row: row) }
        return value
    }
}
