import Foundation

/// Bradley-Terry with ties of their own probability.
///
///     Rao-Kupper, θ ≥ 1:  P(i beats j) = σ(d − ln θ),  P(tie) = (θ² − 1)·σ(d − ln θ)·σ(−d − ln θ)       d = sᵢ − sⱼ
///     Davidson,   ν ≥ 0:  P(i beats j) : P(j beats i) : P(tie) = e^{d/2} : e^{−d/2} : ν
///
/// Sources: Rao and Kupper 1967; Davidson 1970, eq. 2.4.
public struct TieModel: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable { case raoKupper = "rao-kupper", davidson }

    public var kind: Kind
    /// Of sum 0.
    public var strengths: [Double]
    /// θ of Rao-Kupper, ν of Davidson.
    public var tie: Double
    public var logLikelihood: Double

    /// - Parameters:
    ///   - wins: wins[i][j], decided games that i won against j.
    ///   - ties: ties[i][j], symmetric: games between i and j that nobody won.
    /// - Throws: `.notConnected`, `.tooFew`, and `.undefined` where every game is a tie.
    public init(_ kind: Kind, wins: WinTable, ties: WinTable) throws(StatisticsError) {
        try checkPaired("wins and ties", wins.players, ties.players)
        guard wins.players >= 2 else { throw .tooFew(what: "players", found: wins.players, needed: 2) }
        guard wins.games > 0 else {
            guard ties.games > 0 else { throw .tooFew(what: "votes", found: 0, needed: 1) }
            throw .undefined(measure: "the tie model", reason: "every vote is a tie, so the tie parameter is infinite")
        }
        for i in 0..<ties.players {
            for j in 0..<i where ties.wins[i][j] != ties.wins[j][i] { throw .lengths(what: "ties of \(i) and \(j)", Int(ties.wins[i][j]), Int(ties.wins[j][i])) }
        }
        self.kind = kind
        let K = wins.players
        let joined = try WinTable((0..<K).map { i in (0..<K).map { wins.wins[i][$0] + ties.wins[i][$0] / 2 } })
        guard ties.games > 0 else {
            // The maximum lies on the edge of the domain: no ties, plain Bradley-Terry.
            let plain = try BradleyTerry(joined)
            (strengths, tie, logLikelihood) = (plain.strengths, kind == .davidson ? 0 : 1, plain.logLikelihood)
            return
        }
        let components = joined.components
        guard components.count == 1 else { throw .notConnected(components: components) }
        let start = [Double](repeating: 0, count: K) + [kind == .davidson ? 0 : log(1.5)]
        let found = try ConcaveNewton.maximise("the tie model", from: start) { Self.point(kind, $0, wins.wins, ties.wins, pin: 1) }
        let mean = found[..<K].reduce(0, +) / Double(K)
        strengths = found[..<K].map { $0 - mean }
        tie = exp(found[K])
        logLikelihood = Self.point(kind, found, wins.wins, ties.wins, pin: 0)?.value ?? 0
    }

    /// P(i beats j), P(tie), P(j beats i).
    public func probabilities(_ i: Int, _ j: Int) -> (win: Double, tie: Double, loss: Double) {
        let d = strengths[i] - strengths[j]
        switch kind {
        case .raoKupper:
            let (win, loss) = (sigmoid(d - log(tie)), sigmoid(-d - log(tie)))
            return (win, (tie * tie - 1) * win * loss, loss)
        case .davidson:
            let (a, b) = (exp(d / 2), exp(-d / 2))
            return (a / (a + b + tie), tie / (a + b + tie), b / (a + b + tie))
        }
    }

    /// Terms of one pair's log-likelihood by d and τ (ln θ or ln ν).
    private struct Terms {
        var value = 0.0, d = 0.0, tau = 0.0
        /// Negative second derivatives.
        var dd = 0.0, dTau = 0.0, tauTau = 0.0
    }

    private static func terms(_ kind: Kind, d: Double, tau: Double, win: Double, loss: Double, tie: Double) -> Terms? {
        var terms = Terms()
        switch kind {
        case .raoKupper:
            guard tau > 0 else { return nil }
            // ℓ = (w + t)·log σ(d − τ) + (l + t)·log σ(−d − τ) + t·log(e^{2τ} − 1)
            let (p, q) = (sigmoid(d - tau), sigmoid(-d - tau)), (a, b) = (win + tie, loss + tie)
            terms.value = a * logSigmoid(d - tau) + b * logSigmoid(-d - tau) + tie * (2 * tau + log1p(-exp(-2 * tau)))
            terms.d = a * (1 - p) - b * (1 - q)
            let share = 1 / -expm1(-2 * tau)
            terms.tau = -a * (1 - p) - b * (1 - q) + 2 * tie * share
            let (bendA, bendB) = (a * p * (1 - p), b * q * (1 - q))
            (terms.dd, terms.dTau) = (bendA + bendB, bendB - bendA)
            terms.tauTau = bendA + bendB + 4 * tie * share * (share - 1)
        case .davidson:
            // ℓ = (w − l)·d/2 + t·τ − n·log(e^{d/2} + e^{−d/2} + e^τ)
            let n = win + loss + tie, top = max(abs(d) / 2, tau)
            let (a, b, c) = (exp(d / 2 - top), exp(-d / 2 - top), exp(tau - top)), sum = a + b + c
            let (p, q, r) = (a / sum, b / sum, c / sum)
            terms.value = (win - loss) * d / 2 + tie * tau - n * (log(sum) + top)
            terms.d = (win - loss) / 2 - n * (p - q) / 2
            terms.tau = tie - n * r
            terms.dd = n * (p + q - (p - q) * (p - q)) / 4
            terms.dTau = -n * (p - q) * r / 2
            terms.tauTau = n * r * (1 - r)
        }
        return terms
    }

    private static func point(_ kind: Kind, _ x: [Double], _ wins: [[Double]], _ ties: [[Double]], pin: Double) -> ConcaveNewton.Point? {
        let K = x.count - 1, sum = x[..<K].reduce(0, +)
        var value = -pin * sum * sum / Double(2 * K)
        var gradient = [Double](repeating: -pin * sum / Double(K), count: K) + [0]
        var curvature = [[Double]](repeating: [Double](repeating: pin / Double(K), count: K) + [0], count: K) + [[Double](repeating: 0, count: K + 1)]
        for i in 0..<K {
            for j in 0..<i where wins[i][j] + wins[j][i] + ties[i][j] > 0 {
                guard let t = terms(kind, d: x[i] - x[j], tau: x[K], win: wins[i][j], loss: wins[j][i], tie: ties[i][j]) else { return nil }
                value += t.value
                gradient[i] += t.d
                gradient[j] -= t.d
                gradient[K] += t.tau
                curvature[i][i] += t.dd
                curvature[j][j] += t.dd
                curvature[i][j] -= t.dd
                curvature[j][i] -= t.dd
                for (player, sign) in [(i, 1.0), (j, -1.0)] {
                    curvature[player][K] += sign * t.dTau
                    curvature[K][player] += sign * t.dTau
                }
                curvature[K][K] += t.tauTau
            }
        }
        return ConcaveNewton.Point(value: value, gradient: gradient, curvature: curvature)
    }
}
