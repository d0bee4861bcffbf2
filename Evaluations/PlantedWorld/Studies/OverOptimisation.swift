import Foundation

/// What over-optimisation runs say: does gold peak and fall while the proxy climbs, do better-fed proxies peak later, does a KL penalty
/// leave the front where it was, and does the watch see it?
public struct OverOptimisation: Sendable {
    /// Names of the arms.
    public struct Arms: Sendable {
        public var noisy: String, fewer: String, gold: String, slower: String
        /// The noisy proxy's run in a world without bends, where there is one.
        public var flat: String?
        /// β and arm, β = 0 left out.
        public var penalised: [(beta: Double, arm: String)]
        public init(noisy: String, fewer: String, gold: String, slower: String, flat: String?, penalised: [(beta: Double, arm: String)]) {
            (self.noisy, self.fewer, self.gold, self.slower, self.flat, self.penalised) = (noisy, fewer, gold, slower, flat, penalised)
        }
    }

    private let lines: [StudyLine]
    private let arms: Arms
    /// In gold's own unit.
    private let smallest: Double
    private let watchWithin: Int

    /// - Parameters:
    ///   - smallest: In deviations of the start model's gold, which the lines bring.
    ///   - watchWithin: Steps after the peak within which a stop is in time.
    public init(_ lines: [StudyLine], arms: Arms, smallest: Double, watchWithin: Int) {
        (self.lines, self.arms, self.watchWithin) = (lines, arms, watchWithin)
        let deviations = lines.compactMap { $0["start_deviation"] }
        self.smallest = smallest * deviations.reduce(0, +) / Double(max(1, deviations.count))
    }

    private func front(_ arm: String, _ seed: Int) -> PolicyFront { PolicyFront(lines.of(arm, seed: seed)) }
    /// The line of an arm's end: gold on fresh prompts, the start's numbers, where the watch stopped.
    private func end(_ arm: String, _ seed: Int) -> StudyLine? { lines.of(arm, seed: seed).first { $0["final_gold"] != nil } }
    private func effects(_ value: (Int) -> Double?) -> [(seed: Int, value: Double)] { lines.seeds.compactMap { seed in value(seed).map { (seed, $0) } } }

    /// Gold at the run's peak above gold at its end, the latter on fresh prompts.
    private func fall(_ arm: String, _ seed: Int) -> Double? {
        guard let peak = front(arm, seed).peak, let last = end(arm, seed)?["final_gold"] else { return nil }
        return peak.gold - last
    }

    /// Mean distance between proxy, in gold's units by the start's samples, and gold, over KLs from 0.5 to 20.
    private func gap(_ arm: String, _ seed: Int) -> Double? {
        let front = front(arm, seed)
        guard let last = end(arm, seed), let proxyMean = last["start_proxy"], let proxyDeviation = last["start_proxy_deviation"], proxyDeviation > 0,
            let mean = last["start_gold"], let deviation = last["start_deviation"]
        else { return nil }
        let high = min(20, front.greatestKL)
        guard high > 0.5 else { return nil }
        let gaps = (0...20).compactMap { place in
            front.value(atKL: 0.5 + (high - 0.5) * Double(place) / 20) { (($0.proxy - proxyMean) / proxyDeviation) * deviation + mean - $0.gold }
        }
        return gaps.reduce(0, +) / Double(max(1, gaps.count))
    }

    /// Steps from gold's peak to where the watch stops; nil where it never does.
    private func delay(_ arm: String, _ seed: Int, _ name: String = "watch_stop") -> Double? {
        guard let peak = front(arm, seed).peak, let stop = end(arm, seed)?[name], stop > 0 else { return nil }
        return stop - Double(peak.step)
    }

    /// Share of a seed's runs on proxies that the watch stops in time.
    private func share(inTime name: String, _ seed: Int) -> Double? {
        let watched = lines.arms.filter { $0 != arms.gold && end($0, seed)?[name] != nil }
        guard !watched.isEmpty else { return nil }
        return Double(watched.count { delay($0, seed, name).map { $0 >= 0 && $0 <= Double(watchWithin) } ?? false }) / Double(watched.count)
    }

    public var report: StudyReport {
        var verdicts = [
            StudyVerdict("gold peaks and falls under a noisy proxy", effects: effects { fall(arms.noisy, $0) }, smallest: smallest),
            StudyVerdict("the proxy still climbs after gold's peak", effects: effects { seed in
                let front = front(arms.noisy, seed)
                return front.peak.flatMap { peak in front.points.last.map { $0.proxy - peak.proxy } }
            }, smallest: smallest),
            StudyVerdict("β of R = d(α − β·log d) is above 0", effects: effects { seed in
                end(arms.noisy, seed)?["start_gold"].flatMap { front(arms.noisy, seed).fit(start: $0, to: 30)?.beta }
            }, smallest: smallest),
            StudyVerdict("a better-fed proxy peaks later, in √KL: \(arms.noisy) above \(arms.fewer)", effects: effects { seed in
                guard let a = front(arms.noisy, seed).peak, let b = front(arms.fewer, seed).peak else { return nil }
                return max(0, a.kl).squareRoot() - max(0, b.kl).squareRoot()
            }, smallest: 0.25),
            StudyVerdict("and its peak is higher", effects: effects { seed in
                guard let a = front(arms.noisy, seed).peak, let b = front(arms.fewer, seed).peak else { return nil }
                return a.gold - b.gold
            }, smallest: smallest),
        ]
        if let flat = arms.flat {
            verdicts.append(StudyVerdict("without bends gold falls less: \(arms.noisy) above \(flat)", effects: effects { seed in
                fall(arms.noisy, seed).flatMap { own in fall(flat, seed).map { own - $0 } }
            }, smallest: smallest))
        }
        for (beta, arm) in arms.penalised {
            verdicts.append(StudyVerdict("a penalty of \(beta) has more gold than none at equal KL", effects: effects {
                front(arm, $0).advantage(over: front(arms.noisy, $0))
            }, smallest: smallest))
        }
        verdicts.append(StudyVerdict("control: a slower rate has more gold at equal KL", effects: effects {
            front(arms.slower, $0).advantage(over: front(arms.noisy, $0))
        }, smallest: smallest))
        verdicts.append(StudyVerdict("control: a run on gold itself falls", effects: effects { fall(arms.gold, $0) }, smallest: smallest))
        for (what, stop) in [("another proxy", "watch_stop"), ("gold itself", "watch_stop_by_gold")] {
            verdicts.append(StudyVerdict(
                "the watch with \(what) stops 0 to \(watchWithin) steps after gold's peak in 80 % of runs (share less 0.8)",
                effects: effects { share(inTime: stop, $0).map { $0 - 0.8 } }, smallest: 0.1))
        }
        verdicts.append(StudyVerdict("the watch lets nine of ten runs on gold go on (0.1 less the share stopped)", effects: effects { seed in
            end(arms.gold, seed)?["watch_stop"].map { 0.1 - ($0 > 0 ? 1 : 0) }
        }, smallest: 0.1))
        return StudyReport(verdicts: verdicts, table: table, svg: plot)
    }

    private var table: [String] {
        func average(_ values: [Double?]) -> Double {
            let values = values.compactMap { $0 }
            return values.isEmpty ? .nan : values.reduce(0, +) / Double(values.count)
        }
        let heads = ["gold peak", "at KL", "at step", "gold KL 5", "gold KL 20", "end gold", "end KL", "gap", "watch−peak", "by gold"]
        var rows = ["arm".padded(30) + heads.map { $0.padded(12) }.joined()]
        for arm in lines.arms {
            let fronts = lines.seeds.map { front(arm, $0) }
            let numbers = [
                average(fronts.map { $0.peak?.gold }), average(fronts.map { $0.peak?.kl }), average(fronts.map { $0.peak.map { Double($0.step) } }),
                average(fronts.map { $0.gold(atKL: 5) }), average(fronts.map { $0.gold(atKL: 20) }), average(lines.seeds.map { end(arm, $0)?["final_gold"] }),
                average(lines.seeds.map { end(arm, $0)?["final_kl"] }), average(lines.seeds.map { gap(arm, $0) }),
            ]
            func delays(_ name: String) -> String { lines.seeds.map { seed in delay(arm, seed, name).map { String(format: "%+.0f", $0) } ?? "–" }.joined(separator: " ") }
            rows.append(
                arm.padded(30) + numbers.map { String(format: "%.2f", $0).padded(12) }.joined() + delays("watch_stop") + "  | " + delays("watch_stop_by_gold"))
        }
        return rows
    }

    private var plot: String {
        let series = lines.arms.map { arm in
            let fronts = lines.seeds.map { front(arm, $0) }
            let steps = Set(fronts.flatMap { $0.points.map(\.step) }).sorted()
            let mean = steps.compactMap { step -> (x: Double, y: Double)? in
                let points = fronts.compactMap { $0.points.first { $0.step == step } }
                guard points.count == fronts.count else { return nil }
                return (points.reduce(0) { $0 + max(0, $1.kl).squareRoot() } / Double(points.count), points.reduce(0) { $0 + $1.gold } / Double(points.count))
            }
            return SVGPlot.Series(name: arm, points: mean, dots: lines.seeds.compactMap { seed in
                end(arm, seed).flatMap { line in line["final_gold"].flatMap { gold in line["final_kl"].map { (max(0, $0).squareRoot(), gold) } } }
            })
        }
        return SVGPlot(series: series, axis: "√KL", title: "Gold against √KL (nats) under reinforcement learning: means over seeds, a dot for each seed's end").document
    }
}
