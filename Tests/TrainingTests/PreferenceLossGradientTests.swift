import Foundation
import Models
import Tensors
import Testing

@testable import Training

/// Numbers drawn from a seed, for inputs that no formula chose.
struct DrawnNumbers {
    private var stream: RandomStream
    init(_ seed: UInt64) { stream = RandomStream(seed: seed, stream: 41, index: 0) }
    mutating func uniform(_ range: ClosedRange<Double>) -> Double {
        range.lowerBound + (range.upperBound - range.lowerBound) * Double(stream.next() >> 11) / Double(1 << 53)
    }
    mutating func integer(_ range: ClosedRange<Int>) -> Int { range.lowerBound + Int(stream.next() % UInt64(range.count)) }
    /// Negative numbers in rows of `lengths`.
    mutating func logProbs(_ lengths: [Int], _ range: ClosedRange<Double> = -3...(-0.05)) -> Ragged {
        Ragged(rows: lengths.map { count in (0..<count).map { _ in uniform(range) } })
    }
}

/// Compares a gradient with central differences, entry by entry.
func expectGradient(_ name: String, at values: [Double], _ analytic: [Double], step: Double = 1e-3, _ loss: ([Double]) -> Double?) {
    for i in values.indices {
        let numeric = numericalDerivative(at: values[i], step: step) { value in
            var changed = values
            changed[i] = value
            return loss(changed) ?? .nan
        }
        // Near 0 a relative error is one of rounding.
        let error = abs(analytic[i] - numeric) / max(abs(analytic[i]), abs(numeric), 1e-3)
        #expect(error < 1e-6, "\(name), entry \(i): analytic \(analytic[i]), numeric \(numeric)")
    }
}

@Suite("Preference loss gradients", .tags(.gradient)) struct PreferenceLossGradientTests {
    /// Every knob of a loss away from where it does nothing.
    static let settings: [PreferenceSettings] = PreferenceLoss.all.filter { !$0.isUnpaired }.flatMap { loss -> [PreferenceSettings] in
        func takes(_ name: String) -> Bool { loss.knobs.contains { $0.setting == name } }
        var plain = PreferenceSettings(loss: loss.name)
        plain.beta = 0.7
        if takes("label-smoothing") { plain.labelSmoothing = 0.15 }
        if takes("discopop-tau") { plain.discopopTau = 0.3 }
        if takes("dpop-lambda") { plain.dpopLambda = 3 }
        if takes("simpo-gamma") { plain.simpoGamma = 0.8 }
        if takes("cpo-alpha") { plain.cpoAlpha = 0.6 }
        var all = [plain]
        if takes("ipo-norm") {
            all.append(plain)
            all[1].ipoNorm = .sum
        }
        if takes("ld-alpha") {
            var more = plain
            (more.tailWeight, more.nllCoefficient, more.weighsPairs) = (0.4, 0.3, takes("wpo"))
            all.append(more)
        }
        if takes("f-divergence") {
            for divergence in PreferenceSettings.Divergence.allCases where divergence != .reverseKL {
                var more = plain
                more.divergence = divergence
                if divergence == .alpha { more.divergenceAlpha = 0.6 }
                all.append(more)
            }
        }
        return all
    } + [mixture]

    static let mixture: PreferenceSettings = {
        var settings = PreferenceSettings(loss: "sigmoid,nca_pair,sft,aot")
        (settings.lossWeights, settings.divergence, settings.labelSmoothing, settings.beta) = ([1, 0.5, 0.2, 0.7], .forwardKL, 0.1, 0.4)
        return settings
    }()

    @Test("∂L/∂log π agrees with finite differences, at every knob", arguments: settings.indices, [1, 2] as [UInt64])
    func pairs(index: Int, seed: UInt64) throws {
        let settings = Self.settings[index].filled
        let objective = settings.pairObjective()
        var drawn = DrawnNumbers(seed)
        let lengths = (0..<8).map { _ in drawn.integer(1...6) }
        // Ratios of the size that training has, so that an e^−r stays a number to difference.
        let logProbs = drawn.logProbs(lengths, -1.2...(-0.05))
        let squares = logProbs.values.map { _ in drawn.uniform(-1.5...(-0.1)) }
        let reference = (0..<8).map { row -> Double in
            guard settings.needsReference else { return 0 }
            let shared = min(lengths[row % 4], lengths[row % 4 + 4])
            return LengthDesensitisation.sum(logProbs[row], shared: shared, tailWeight: objective.tailWeight) + drawn.uniform(-1.5...1.5)
        }
        let chosen = lengths.prefix(4).reduce(0, +)
        let step = StepTotals(pairs: 4, tokens: logProbs.values.count, chosenTokens: chosen + 3)
        // WPO's weights are constants to the gradient: they are kept where they are while a log-prob moves.
        func value(_ values: [Double]) -> Double? {
            let moved = zip(squares, zip(values, logProbs.values)).map { $0 + $1.0 - $1.1 }
            let inputs = PairLogProbs(logProbs: Ragged(values: values, offsets: logProbs.offsets), reference: reference, logSumSquares: moved)
            return try? objective(inputs, step: step).value
        }
        let loss = try objective(PairLogProbs(logProbs: logProbs, reference: reference, logSumSquares: squares), step: step)
        let words = "\(settings.loss) \(settings.divergence?.rawValue ?? "") ld \(objective.tailWeight) nll \(objective.nllCoefficient)"
        expectGradient(words, at: logProbs.values, loss.gradient.values, step: 1e-4, value)
        #expect(loss.gradient.values.contains { $0 != 0 }, "\(words) has no gradient")
    }

    @Test("∂L/∂log π of single completions agrees with finite differences", arguments: ["kto", "apo_zero_unpaired", "bco"])
    func unpaired(name: String) throws {
        var settings = PreferenceSettings(loss: name)
        (settings.beta, settings.desirableWeight, settings.undesirableWeight) = (0.6, 1.4, 0.7)
        guard var objective = settings.filled.unpairedObjective() else {
            Issue.record("\(name) is not of single completions")
            return
        }
        objective.anchor = 0.35
        var drawn = DrawnNumbers(3)
        let logProbs = drawn.logProbs([2, 4, 1, 3, 5])
        let reference = (0..<5).map { logProbs.sum($0) + drawn.uniform(-2...2) }
        func evaluate(_ objective: some UnpairedObjective, _ values: [Double]) throws -> Loss {
            let inputs = UnpairedLogProbs(
                logProbs: Ragged(values: values, offsets: logProbs.offsets), reference: reference, labels: [true, false, true, false, false])
            return try objective(inputs, step: StepTotals(pairs: 7))
        }
        let loss = try evaluate(objective, logProbs.values)
        expectGradient(name, at: logProbs.values, loss.gradient.values) { try? evaluate(objective, $0).value }
    }

    // MARK: By hand

    /// h = 2 from r_w = 0.5 and r_l = −1.5, β = 0.1 (so βr_w = 0.05, βr_l = −0.15, βh = 0.2), |w| = 2, |l| = 3.
    static let pair: PairScores = {
        var pair = PairScores(chosen: 0.5, rejected: -1.5)
        (pair.chosenLength, pair.rejectedLength) = (2, 3)
        return pair
    }()

    /// Values computed with pencil and a table of logarithms; slopes are those of the chosen side.
    static let byHand: [(any PairwiseObjective, value: Double, chosen: Double, rejected: Double)] = [
        (Hinge(beta: 0.1), 0.8, -0.1, 0.1),  // 1 − 0.2
        (Hinge(beta: 0.6), 0, 0, 0),  // βh = 1.2: right by enough
        // [−0.9·log σ(0.2) + 0.1·log σ(−0.2)]/0.8 = (0.9·0.5981389 − 0.1·0.7981389)/0.8
        (RobustDPO(beta: 0.1, labelSmoothing: 0.1), 0.5731389, -0.0575166, 0.0575166),
        // u = 0.25 + 0.5 = 0.75: −log σ(0.75) = 0.3868710, −σ(−0.75) = −0.3208213, over 2 and 3
        (NormalisedDPO(beta: 1), 0.3868710, -0.1604106, 0.1069404),
        // 0.05: σ = 0.5124974; −0.15: σ = 0.4625702
        (NCA(beta: 0.1), 0.6684597 + 0.5 * 0.7184597 + 0.5 * 0.6209570, 0.1 * (0.5 * 0.5124974 - 0.4875026), 0.05 * 0.4625702),
        (BCOPair(beta: 0.1), 0.6684597 + 0.6209570, -0.0487503, 0.0462570),
        (SPPO(beta: 0.5), 0.25 + 0.25, -1, -1),  // 0.5 − 1 and −1.5 + 1
        (APOZero(beta: 0.1), 0.4875026 + 0.4625702, -0.1 * 0.2498438, 0.1 * 0.2485990),
        (APODown(beta: 0.1), 0.5124974 + 0.4501660, 0.1 * (0.2498438 - 0.2475166), 0.1 * 0.2475166),
        // q = σ(0.2) = 0.5498340: q·(log q − log 0.9) + (1−q)·(log(1−q) − log 0.1)
        (EXO(beta: 0.1, labelSmoothing: 0.1), 0.5498340 * (-0.5981389 + 0.1053605) + 0.4501660 * (-0.7981389 + 2.3025851),
            0.1 * 0.2475166 * (0.2 - 2.1972246), -0.1 * 0.2475166 * (0.2 - 2.1972246)),
        // a = 0.2, τ = 0.2: m = σ(1) = 0.7310586; e^−0.2 = 0.8187308
        (DiscoPOP(beta: 0.1, temperature: 0.2), 0.2689414 * 0.5981389 + 0.7310586 * 0.8187308,
            0.1 * (-0.2689414 * 0.4501660 - 0.7310586 * 0.8187308 + 0.1966119 / 0.2 * (0.8187308 - 0.5981389)),
            -0.1 * (-0.2689414 * 0.4501660 - 0.7310586 * 0.8187308 + 0.1966119 / 0.2 * (0.8187308 - 0.5981389))),
        // ā = 0.25 and −0.5, β = 2, γ = 1: u = 1.5 − 1 = 0.5
        (SimPO(beta: 2, gamma: 1), 0.4740770, -2 * 0.3775407 / 2, 2 * 0.3775407 / 3),
        (CPO(beta: 0.1), 0.5981389, -0.0450166, 0.0450166),
        (DPOP(beta: 0.1, lambda: 5), 0.5981389, -0.0450166, 0.0450166),  // r_w > 0: DPO
        (AOT(beta: 0.1), 0.5981389, -0.0450166, 0.0450166),  // one pair is sorted
        (ChosenLikelihood(), 0, 0, 0),
    ]

    @Test("numbers worked by hand", arguments: byHand.indices) func values(index: Int) {
        let (objective, value, chosen, rejected) = Self.byHand[index]
        let loss = objective.losses(of: [Self.pair])[0]
        let name = type(of: objective).name
        #expect(abs(loss.value - value) < 1e-6, "\(name): \(loss.value), by hand \(value)")
        #expect(abs(loss.chosen - chosen) < 1e-6, "\(name), chosen: \(loss.chosen), by hand \(chosen)")
        #expect(abs(loss.rejected - rejected) < 1e-6, "\(name), rejected: \(loss.rejected), by hand \(rejected)")
    }

    @Test("odds ratio, KTO and BCO by hand") func others() {
        // ā = −1 and −1.5: LO = 0.5 − (log(1 − e^−1) − log(1 − e^−1.5)) = 0.5 + 0.2061927
        let odds = ORPO(beta: 0.1).loss(of: PairScores(chosen: -1, rejected: -1.5))
        #expect(abs(odds.value - 0.0401135) < 1e-7 && abs(odds.chosen + 0.0522749) < 1e-7, "\(odds)")
        #expect(abs((odds.metrics["log_odds_chosen"] ?? 0) - 0.7061927) < 1e-7, "\(odds.metrics)")
        // β = 0.1, r = 2, z₀ = 0.5: 1 − σ(0.15); −0.1·σ(0.15)·σ(−0.15)
        var kto = KTO(beta: 0.1)
        kto.anchor = 0.5
        let good = kto.loss(logRatio: 2, isDesirable: true), bad = kto.loss(logRatio: 2, isDesirable: false)
        #expect(abs(good.value - 0.4625702) < 1e-7 && abs(good.slope + 0.0248599) < 1e-7, "\(good)")
        #expect(abs(bad.value - 0.5374298) < 1e-7 && abs(bad.slope - 0.0248599) < 1e-7, "\(bad)")
        // r = 0.2, δ = 0.05: −log σ(0.15) = 0.6209570
        var bco = BCO(beta: 0.1)
        bco.anchor = 0.05
        #expect(abs(bco.loss(logRatio: 2, isDesirable: true).value - 0.6209570) < 1e-7)
        #expect(abs(bco.loss(logRatio: 2, isDesirable: false).slope - 0.1 * 0.5374298) < 1e-7)
        // A chosen completion that fell by 0.5 under λ = 5 costs u = 0.1·(2 − 2.5) = −0.05: log(1 + e^0.05).
        let fallen = DPOP(beta: 0.1, lambda: 5).loss(of: PairScores(chosen: -0.5, rejected: -2.5))
        #expect(abs(fallen.value - 0.7184597) < 1e-7 && abs(fallen.chosen + 0.6 * 0.5124974) < 1e-7, "\(fallen)")
    }

    @Test("divergences by hand, and their slopes", arguments: [-2.0, -0.3, 0, 0.8]) func divergences(r: Double) {
        #expect(FDivergence.forwardKL.score(0).value == 0 && FDivergence.alpha(0.5).score(0).value == 0)
        #expect(abs(FDivergence.jensenShannon.score(0).value) < 1e-15)
        // 1 − e^−0.8; (e^−0.4 − 1)/(−0.5)
        #expect(abs(FDivergence.forwardKL.score(0.8).value - 0.5506710) < 1e-7)
        #expect(abs(FDivergence.alpha(0.5).score(0.8).value - 0.6593599) < 1e-7)
        for divergence in [FDivergence.reverseKL, .forwardKL, .jensenShannon, .alpha(0.5), .alpha(1), .alpha(2)] {
            let numeric = numericalDerivative(at: r) { divergence.score($0).value }
            #expect(relativeError(divergence.score(r).slope, numeric) < 1e-6, "\(divergence): \(divergence.score(r).slope), numeric \(numeric)")
        }
    }

    // MARK: Equal by definition

    @Test("smoothing, tails and divergences at their neutral values are DPO") func neutral() throws {
        var drawn = DrawnNumbers(9)
        let logProbs = drawn.logProbs([3, 1, 4, 2])
        let inputs = PairLogProbs(logProbs: logProbs, reference: [-4, -1, -6, -2])
        let dpo = try DPO(beta: 0.3)(inputs, step: StepTotals(pairs: 2))
        var objective = PreferenceObjective([.init(DPO(beta: 0.3))])
        (objective.tailWeight, objective.divergence) = (1, .alpha(1))
        let neutral = try objective(inputs, step: StepTotals(pairs: 2))
        #expect(neutral.value == dpo.value && neutral.gradient == dpo.gradient, "\(neutral.value), \(dpo.value)")
        let robust = try RobustDPO(beta: 0.3)(inputs, step: StepTotals(pairs: 2))
        #expect(abs(robust.value - dpo.value) < 1e-15)
    }

    @Test("AOT matches ranks: pairs in another order are the same loss, each with its own gradient") func ranks() throws {
        let pairs = [PairScores(chosen: 1, rejected: 0), PairScores(chosen: -1, rejected: 2), PairScores(chosen: 0.5, rejected: 0.2)]
        let forward = AOTUnpaired(beta: 1).losses(of: pairs), backward = AOTUnpaired(beta: 1).losses(of: pairs.reversed())
        #expect(abs(forward.reduce(0) { $0 + $1.value } - backward.reduce(0) { $0 + $1.value }) < 1e-15)
        #expect(forward.map(\.chosen) == backward.reversed().map(\.chosen) && forward.map(\.rejected) == backward.reversed().map(\.rejected))
        // Ascending r_w: −1, 0.5, 1; r_l: 0, 0.2, 2. The largest of either side meet: δ = 1 − 2, −σ(1) = −0.7310586.
        #expect(abs(forward[0].chosen + 0.7310586) < 1e-7, "\(forward[0])")
        #expect(abs(forward[1].rejected - 0.7310586) < 1e-7, "\(forward[1])")
    }

    @Test("a micro-batch of a coupled loss is refused") func couples() {
        #expect(AOT().couplesPairs && AOTUnpaired().couplesPairs && !DPO().couplesPairs)
        #expect(PreferenceSettings(loss: "sigmoid,aot").filled.pairObjective().couplesPairs)
    }
}
