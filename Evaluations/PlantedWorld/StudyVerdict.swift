import Foundation
import PreferenceData

/// What seeds say of a claim.
public struct StudyVerdict: Sendable {
    public enum Word: String, Sendable { case reproduced, refuted, undecided }

    public var claim: String
    /// The claim's effect in each seed; above 0 speaks for it.
    public var effects: [(seed: Int, value: Double)]
    /// The smallest effect worth having, in the same unit.
    public var smallest: Double

    public init(_ claim: String, effects: [(seed: Int, value: Double)], smallest: Double) {
        (self.claim, self.effects, self.smallest) = (claim, effects.filter { $0.value.isFinite }, smallest)
    }

    public var mean: Double { effects.isEmpty ? .nan : effects.reduce(0) { $0 + $1.value } / Double(effects.count) }

    /// Student's, 95 %, over seeds; nil for fewer than two.
    public var interval: ClosedRange<Double>? { try? SampleMean(effects.map(\.value)).studentInterval() }

    /// Reproduced: the interval lies above 0. Refuted: it lies below half the smallest effect worth having. Otherwise undecided.
    public var word: Word {
        guard let interval else { return .undecided }
        return interval.lowerBound > 0 ? .reproduced : interval.upperBound < smallest / 2 ? .refuted : .undecided
    }

    /// `reproduced  gold falls after its peak: 0.41 [0.22, 0.60], 5 seeds, smallest effect 0.17`
    public var text: String {
        func number(_ value: Double) -> String { String(format: "%.3g", value) }
        let bounds = interval.map { "[\(number($0.lowerBound)), \(number($0.upperBound))]" } ?? "no interval"
        return "\(word.rawValue)  \(claim): \(number(mean)) \(bounds), \(effects.count) seeds, smallest effect \(number(smallest))"
    }
}

/// What a study found: verdicts, a table to be read, and a plot.
public struct StudyReport: Sendable {
    public var verdicts: [StudyVerdict]
    /// Lines of text.
    public var table: [String]
    public var svg: String

    /// Verdicts of arms that the plan does not have are left out.
    public init(verdicts: [StudyVerdict], table: [String], svg: String) {
        (self.verdicts, self.table, self.svg) = (verdicts.filter { !$0.effects.isEmpty }, table, svg)
    }

    public var text: String { (table + [""] + verdicts.map(\.text)).joined(separator: "\n") + "\n" }
}

extension [StudyLine] {
    public var seeds: [Int] { Set(map(\.seed)).sorted() }
    /// Arms in order of appearance.
    public var arms: [String] { reduce(into: []) { arms, line in if !arms.contains(line.arm) { arms.append(line.arm) } } }
    /// Lines of an arm, of one seed or of all, by step.
    public func of(_ arm: String, seed: Int? = nil) -> [StudyLine] {
        filter { $0.arm == arm && (seed == nil || $0.seed == seed) }.sorted { ($0.seed, $0.step) < ($1.seed, $1.step) }
    }
    public func one(_ arm: String, seed: Int, step: Int? = nil) -> StudyLine? { first { $0.arm == arm && $0.seed == seed && (step == nil || $0.step == step) } }
}
