import Foundation
import PreferenceData
import Tensors

/// What choosing among n of the start model's samples is worth, by any ranking, from one pool of samples.
public struct BestOfNLaw: Sendable {
    /// Gold of every sample, by prompt, and its length.
    public let gold: [[Double]], lengths: [[Double]]
    public init(gold: [[Double]], lengths: [[Double]]) { (self.gold, self.lengths) = (gold, lengths) }

    public var samples: Int { gold.first?.count ?? 0 }
    /// 1, 2, 4, … as far as there are samples.
    public var sizes: [Int] { Array(sequence(first: 1) { $0 * 2 <= samples ? $0 * 2 : nil }) }

    public var meanGold: Double { gold.joined().reduce(0, +) / Double(max(1, gold.joined().count)) }
    /// Of all samples.
    public var deviation: Double { (try? SampleMean(gold.flatMap { $0 }).standardDeviation) ?? .nan }

    /// Per prompt: expected gold of the ranking's choice at each size.
    func curves(_ ranking: [[Double]], _ values: [[Double]]) -> [[Double]] {
        zip(ranking, values).map { scores, values in
            // Of equal scores the later sample ranks higher: samples are in no order of their own.
            let ordered = scores.indices.sorted { (scores[$0], $0) < (scores[$1], $1) }.map { values[$0] }
            return sizes.map { (try? BestOfN.expectedChoice(ordered, of: $0)) ?? .nan }
        }
    }

    /// R(d) = d·(α − β·d), d = √KL, fitted to the gold gains by least squares. Source: Gao et al. 2022, §3.1.
    static func fit(_ curve: [Double], sizes: [Int]) -> (alpha: Double, beta: Double) {
        var (s2, s3, s4, t1, t2) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for (n, value) in zip(sizes, curve) where n > 1 {
            let d = ((try? BestOfN.klBound(n)) ?? 0).squareRoot(), gain = value - curve[0]
            (s2, s3, s4, t1, t2) = (s2 + d * d, s3 + d * d * d, s4 + d * d * d * d, t1 + d * gain, t2 + d * d * gain)
        }
        let determinant = s2 * s4 - s3 * s3
        return ((t1 * s4 - t2 * s3) / determinant, (t1 * s3 - t2 * s2) / determinant)
    }

    /// Lines of one ranking: its choice at every size, then at step 0 the fit, its interval by bootstrap over prompts, and the cross-fitted fall.
    public func lines(_ arm: String, seed: Int, ranking: [[Double]], others: [(name: String, value: Double)] = []) -> [StudyLine] {
        let golds = curves(ranking, gold), proxies = curves(ranking, ranking), lengths = curves(ranking, lengths)
        func mean(_ curves: [[Double]], _ prompts: [Int]? = nil) -> [Double] {
            let prompts = prompts ?? Array(curves.indices)
            return sizes.indices.map { size in prompts.reduce(0) { $0 + curves[$1][size] } / Double(prompts.count) }
        }
        let means = (mean(golds), mean(proxies), mean(lengths))
        var lines = sizes.enumerated().map { place, n in
            let error = (try? SampleMean(golds.map { $0[place] - $0[0] }).standardError) ?? .nan
            return StudyLine(
                arm: arm, seed: seed, step: n, rollouts: n, kl: try? BestOfN.klBound(n), proxy: means.1[place], gold: means.0[place], length: means.2[place],
                others: [("gain_error", error)])
        }
        let fit = Self.fit(means.0, sizes: sizes)
        var stream = RandomStream(seed: UInt64(seed), stream: 0xB007, index: 0)
        let fits = (0..<400).map { _ in Self.fit(mean(golds, golds.indices.map { _ in Int(stream.next() % UInt64(golds.count)) }), sizes: sizes) }
        func interval(_ values: [Double]) -> (Double, Double) {
            let sorted = values.sorted()
            return (sorted[sorted.count / 40], sorted[sorted.count - 1 - sorted.count / 40])
        }
        let (alpha, beta) = (interval(fits.map(\.alpha)), interval(fits.map(\.beta)))
        lines.append(StudyLine(arm: arm, seed: seed, others: [
            ("alpha", fit.alpha), ("alpha_low", alpha.0), ("alpha_high", alpha.1), ("beta", fit.beta), ("beta_low", beta.0), ("beta_high", beta.1),
            ("peak", Double(sizes[Self.peak(means.0)])), ("fall", fall(golds, mean)), ("deviation", deviation),
        ] + others))
        return lines
    }

    private static func peak(_ curve: [Double]) -> Int { curve.indices.max { curve[$0] < curve[$1] } ?? 0 }

    /// Gold at the peak above gold at the largest n, the peak chosen on one half of the prompts and looked at on the other, both ways: a
    /// peak picked and read on the same prompts is above its neighbours by chance alone.
    private func fall(_ golds: [[Double]], _ mean: ([[Double]], [Int]?) -> [Double]) -> Double {
        let halves = [0, 1].map { half in golds.indices.filter { $0 % 2 == half } }
        guard halves.allSatisfy({ !$0.isEmpty }) else { return .nan }
        let curves = halves.map { mean(golds, $0) }
        let falls = [0, 1].map { half in curves[1 - half][Self.peak(curves[half])] - (curves[1 - half].last ?? .nan) }
        return (falls[0] + falls[1]) / 2
    }
}

extension BestOfNLaw {
    /// What the lines of all seeds say.
    /// - Parameters:
    ///   - noisy: The proxy that is expected to be over-optimised.
    ///   - bySize: Proxies by the size of their models, small first: parameters and arm; `byPairs`: by pairs.
    ///   - smallest: In deviations of the start model's gold.
    public static func report(
        _ lines: [StudyLine], noisy: String, bySize: [(parameters: Double, arm: String)], byPairs: [(pairs: Double, arm: String)], smallest: Double
    ) -> StudyReport {
        let seeds = lines.seeds
        func summary(_ arm: String, _ seed: Int) -> StudyLine? { lines.one(arm, seed: seed, step: 0) }
        func effects(_ value: (Int) -> Double?) -> [(seed: Int, value: Double)] { seeds.compactMap { seed in value(seed).map { (seed, $0) } } }
        let deviations = seeds.compactMap { summary("gold", $0)?["deviation"] }
        let unit = smallest * deviations.reduce(0, +) / Double(max(1, deviations.count))
        func last(_ arm: String, _ seed: Int) -> StudyLine? { lines.of(arm, seed: seed).last }
        func slope(_ points: [(x: Double, y: Double)]) -> Double? {
            guard points.count > 1 else { return nil }
            let (mx, my) = (points.reduce(0) { $0 + $1.x } / Double(points.count), points.reduce(0) { $0 + $1.y } / Double(points.count))
            return points.reduce(0) { $0 + ($1.x - mx) * ($1.y - my) } / points.reduce(0) { $0 + ($1.x - mx) * ($1.x - mx) }
        }
        var verdicts = [
            StudyVerdict("gold's own choice rises still from n = 256 to 512", effects: effects { seed in
                guard let end = last("gold", seed)?.gold, let before = lines.one("gold", seed: seed, step: 256)?.gold else { return nil }
                return end - before
            }, smallest: unit),
            StudyVerdict("under the noisy proxy gold peaks and falls (\(noisy))", effects: effects { summary(noisy, $0)?["fall"] }, smallest: unit),
            StudyVerdict("its fitted β is above 0", effects: effects { summary(noisy, $0)?["beta"] }, smallest: unit),
        ]
        func compare(_ what: String, _ arms: [(x: Double, arm: String)]) {
            guard let small = arms.first, let large = arms.last, arms.count > 1 else { return }
            verdicts.append(StudyVerdict("log₂ n* grows with \(what): \(large.arm) above \(small.arm)", effects: effects { seed in
                guard let a = summary(small.arm, seed)?["peak"], let b = summary(large.arm, seed)?["peak"] else { return nil }
                return log2(b) - log2(a)
            }, smallest: 1))
            verdicts.append(StudyVerdict("gold at n = 512 grows with \(what)", effects: effects { seed in
                guard let a = last(small.arm, seed)?.gold, let b = last(large.arm, seed)?.gold else { return nil }
                return b - a
            }, smallest: unit))
            verdicts.append(StudyVerdict("β falls with log \(what), per e-fold", effects: effects { seed in
                slope(arms.compactMap { arm in summary(arm.arm, seed)?["beta"].map { (log(arm.x), $0) } }).map { -$0 }
            }, smallest: unit / 2))
        }
        compare("pairs", byPairs.map { ($0.pairs, $0.arm) })
        compare("size", bySize.map { ($0.parameters, $0.arm) })
        return StudyReport(verdicts: verdicts, table: table(lines) + control(lines), svg: plot(lines))
    }

    /// A random ranking must be flat within two standard errors.
    private static func control(_ lines: [StudyLine]) -> [String] {
        lines.seeds.compactMap { seed in
            guard let end = lines.of("random", seed: seed).last, let start = lines.one("random", seed: seed, step: 1), let error = end["gain_error"],
                let gain = end.gold.flatMap({ gold in start.gold.map { gold - $0 } })
            else { return nil }
            return String(format: "control, seed %d: a random ranking gains %.3f ± %.3f at n = %d: %@", seed, gain, error, end.step, abs(gain) <= 2 * error ? "flat" : "NOT FLAT")
        }
    }

    private static func table(_ lines: [StudyLine]) -> [String] {
        let sizes = Set(lines.map(\.step)).filter { $0 > 0 && [1, 8, 64, 128, 512].contains($0) }.sorted()
        func average(_ values: [Double]) -> Double { values.isEmpty ? .nan : values.reduce(0, +) / Double(values.count) }
        var rows = ["arm".padded(34) + sizes.map { "n=\($0)".padded(8) }.joined() + "n*".padded(8) + "α".padded(8) + "β".padded(8) + "accuracy"]
        for arm in lines.arms where lines.contains(where: { $0.arm == arm && $0.step > 0 }) {
            let golds = sizes.map { n in average(lines.of(arm).filter { $0.step == n }.compactMap(\.gold)) }
            func mean(_ name: String) -> Double { average(lines.of(arm).filter { $0.step == 0 }.compactMap { $0[name] }) }
            let peak = pow(2, average(lines.of(arm).filter { $0.step == 0 }.compactMap { $0["peak"].map { log2($0) } }))
            let numbers = golds.map { String(format: "%.2f", $0).padded(8) } + [String(format: "%.0f", peak), String(format: "%.2f", mean("alpha")), String(format: "%.2f", mean("beta"))].map { $0.padded(8) }
            rows.append(arm.padded(34) + numbers.joined() + (mean("accuracy").isNaN ? "" : String(format: "%.3f", mean("accuracy"))))
        }
        for line in lines.of("toy") where line.seed == lines.seeds.first {
            rows.append("toy: " + line.others.map { "\($0.name) \(String(format: "%.4g", $0.value))" }.joined(separator: ", "))
        }
        return rows
    }

    private static func plot(_ lines: [StudyLine]) -> String {
        let arms = lines.arms.filter { arm in lines.contains { $0.arm == arm && $0.step > 0 } }
        let series = arms.map { arm in
            let points = lines.of(arm).filter { $0.step > 0 }
            let steps = Set(points.map(\.step)).sorted()
            return SVGPlot.Series(
                name: arm,
                points: steps.map { step in
                    let golds = points.filter { $0.step == step }.compactMap(\.gold)
                    return (log2(Double(step)), golds.reduce(0, +) / Double(max(1, golds.count)))
                },
                dots: points.compactMap { line in line.gold.map { (log2(Double(line.step)), $0) } })
        }
        return SVGPlot(series: series, axis: "log₂ n", title: "Gold of the best of n, by what chooses: means over seeds, a dot for each seed").document
    }
}

extension String {
    /// At least `width` characters, blanks after it.
    func padded(_ width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }
}
