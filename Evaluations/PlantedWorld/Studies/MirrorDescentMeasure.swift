import Foundation

/// What runs of several methods on gold say, at equal rollouts and at equal KL: mirror descent against each rival.
public struct MirrorDescentMeasure: Sendable {
    /// An arm, the method that it is a point of, and whether it is that method's point in the comparisons.
    public struct Arm: Sendable {
        public var name: String, method: String, isCompared: Bool
        public init(name: String, method: String, isCompared: Bool) { (self.name, self.method, self.isCompared) = (name, method, isCompared) }
    }

    private let lines: [StudyLine]
    private let arms: [Arm]
    private let subject: String
    /// Of the area, as a share.
    private let smallest: Double

    public init(_ lines: [StudyLine], arms: [Arm], subject: String, smallest: Double) {
        (self.lines, self.arms, self.subject, self.smallest) = (lines, arms, subject, smallest)
    }

    private func front(_ arm: String, _ seed: Int) -> PolicyFront { PolicyFront(lines.of(arm, seed: seed), window: 5) }
    private func end(_ arm: String, _ seed: Int) -> StudyLine? { lines.of(arm, seed: seed).first { $0["start_gold"] != nil } }

    /// Height of the area between gold and the start's gold, against rollouts.
    private func area(_ arm: String, _ seed: Int) -> Double? {
        guard let start = end(arm, seed)?["start_gold"] else { return nil }
        return front(arm, seed).meanGold.map { $0 - start }
    }

    private func hasDiverged(_ arm: String, _ seed: Int) -> Bool? {
        end(arm, seed).flatMap { line in line["start_gold"].map { line["not_finite"] == 1 || front(arm, seed).diverges(below: $0) } }
    }

    private func average(_ values: [Double?]) -> Double {
        let values = values.compactMap { $0 }
        return values.isEmpty ? .nan : values.reduce(0, +) / Double(values.count)
    }

    public var report: StudyReport {
        var verdicts: [StudyVerdict] = []
        func effects(_ value: (Int) -> Double?) -> [(seed: Int, value: Double)] { lines.seeds.compactMap { seed in value(seed).map { (seed, $0) } } }
        if let own = arms.first(where: { $0.method == subject && $0.isCompared })?.name {
            let unit = average(lines.seeds.map { area(own, $0) }) * smallest
            for rival in arms where rival.isCompared && rival.method != subject {
                verdicts.append(StudyVerdict("\(subject) above \(rival.name) at equal rollouts (area under gold)", effects: effects { seed in
                    area(own, seed).flatMap { mine in area(rival.name, seed).map { mine - $0 } }
                }, smallest: unit))
                verdicts.append(StudyVerdict("\(subject) above \(rival.name) at equal KL", effects: effects {
                    front(own, $0).advantage(over: front(rival.name, $0), to: 10)
                }, smallest: unit))
                verdicts.append(StudyVerdict("\(subject) above \(rival.name) in the end, on fresh prompts", effects: effects { seed in
                    end(own, seed)?["final_gold"].flatMap { mine in end(rival.name, seed)?["final_gold"].map { mine - $0 } }
                }, smallest: unit))
            }
        }
        return StudyReport(verdicts: verdicts, table: table + grids, svg: plot)
    }

    private var table: [String] {
        var rows = ["arm".padded(34) + ["area", "gold KL 2", "gold KL 5", "gold KL 10", "end gold", "end KL", "length", "diverged"].map { $0.padded(11) }.joined()]
        for arm in arms.map(\.name) where lines.contains(where: { $0.arm == arm }) {
            let fronts = lines.seeds.map { front(arm, $0) }
            let numbers = [average(lines.seeds.map { area(arm, $0) })] + [2.0, 5, 10].map { kl in average(fronts.map { $0.gold(atKL: kl) }) } + [
                average(lines.seeds.map { end(arm, $0)?["final_gold"] }), average(lines.seeds.map { end(arm, $0)?["final_kl"] }),
                average(lines.seeds.map { lines.of(arm, seed: $0).last?.length }),
            ]
            let diverged = lines.seeds.compactMap { hasDiverged(arm, $0) }
            rows.append(arm.padded(34) + numbers.map { String(format: "%.2f", $0).padded(11) }.joined() + "\(diverged.count { $0 })/\(diverged.count)")
        }
        return rows
    }

    /// Of methods with several points: how many diverge, and how far the area spreads.
    private var grids: [String] {
        var methods: [String] = []
        for arm in arms where !methods.contains(arm.method) { methods.append(arm.method) }
        return methods.compactMap { method in
            let points = arms.filter { arm in arm.method == method && lines.contains { $0.arm == arm.name } }.map(\.name)
            guard points.count > 1 else { return nil }
            let areas = points.map { arm in average(lines.seeds.map { area(arm, $0) }) }
            let runs = points.flatMap { arm in lines.seeds.compactMap { hasDiverged(arm, $0) } }
            return String(
                format: "grid of %@: %d points, area %.2f to %.2f, %d of %d runs diverged", method, points.count, areas.min() ?? .nan, areas.max() ?? .nan,
                runs.count { $0 }, runs.count)
        }
    }

    private var plot: String {
        let series = arms.filter(\.isCompared).map { arm in
            let fronts = lines.seeds.map { front(arm.name, $0) }.filter { !$0.points.isEmpty }
            let steps = Set(fronts.flatMap { $0.points.map(\.step) }).sorted()
            let perStep = Double(lines.of(arm.name).first { $0.step > 0 }.map { $0.rollouts / $0.step } ?? 0)
            return SVGPlot.Series(
                name: arm.name,
                points: steps.compactMap { step in
                    let golds = fronts.compactMap { $0.points.first { $0.step == step }?.gold }
                    return golds.count < fronts.count ? nil : (Double(step) * perStep, golds.reduce(0, +) / Double(max(1, golds.count)))
                },
                dots: lines.seeds.compactMap { seed in
                    guard let last = lines.of(arm.name, seed: seed).last, let gold = end(arm.name, seed)?["final_gold"] else { return nil }
                    return (Double(last.rollouts), gold)
                })
        }
        return SVGPlot(series: series, axis: "rollouts", title: "Gold against rollouts: means over seeds, a dot for each seed's end on fresh prompts").document
    }
}
