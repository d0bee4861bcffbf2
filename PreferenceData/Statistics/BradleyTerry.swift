import Foundation

/// Strengths of players from who beat whom.
///
///     P(i beats j) = σ(sᵢ − sⱼ)        ℓ(s) = Σ_{i≠j} w_ij·log σ(sᵢ − sⱼ) − ½λ·Σ sᵢ²        Σ sᵢ = 0
///
/// Fitted by Newton's method; ties are half a win for each side. Source: Bradley and Terry 1952; existence: Ford 1957.
public struct BradleyTerry: Sendable, Equatable {
    /// sᵢ, natural units: a difference of ln 3 wins three games of four. Their sum is 0.
    public var strengths: [Double]
    /// Without the ridge's term.
    public var logLikelihood: Double
    /// λ as used: a normal prior of variance 1/λ on every strength.
    public var ridge: Double
    /// (H + λI)⁻¹ on the strengths of sum 0, the pseudo-inverse at λ = 0: the covariance if votes are independent.
    public var covariance: [[Double]]

    /// - Parameter ridge: λ ≥ 0. At 0 the maximum of the likelihood, which must exist.
    /// - Throws: `.tooFew` without two players or a game, `.notConnected` where λ = 0 and some strength would be infinite.
    public init(_ table: WinTable, ridge: Double = 0) throws(StatisticsError) {
        guard ridge >= 0, ridge.isFinite else { throw .outOfRange(what: "the ridge", found: ridge, expected: "0 or more") }
        guard table.players >= 2 else { throw .tooFew(what: "players", found: table.players, needed: 2) }
        guard table.games > 0 else { throw .tooFew(what: "votes", found: 0, needed: 1) }
        if ridge == 0 {
            let components = table.components
            guard components.count == 1 else { throw .notConnected(components: components) }
        }
        self.ridge = ridge
        let wins = table.wins
        strengths = try ConcaveNewton.maximise("the Bradley-Terry fit", from: [Double](repeating: 0, count: table.players)) {
            Self.point($0, wins, ridge: ridge, pin: 1)
        }
        let mean = strengths.reduce(0, +) / Double(strengths.count)
        strengths = strengths.map { $0 - mean }
        let fit = Self.point(strengths, wins, ridge: 0, pin: 0)
        logLikelihood = fit.value
        var curvature = fit.curvature
        for i in curvature.indices { curvature[i][i] += ridge }
        guard let covariance = Self.covariance(curvature) else { throw .notConverged(what: "the Bradley-Terry fit", iterations: 200) }
        self.covariance = covariance
    }

    /// The inverse on the vectors of sum 0: their space is the curvature's own, with or without a ridge.
    private static func covariance(_ curvature: [[Double]]) -> [[Double]]? {
        let share = 1 / Double(curvature.count)
        // 11ᵀ/K raises only the eigenvalue λ of the constant vector, to 1 + λ.
        let lambda = curvature.first.map { $0.reduce(0, +) } ?? 0
        return LinearAlgebra.inverse(curvature.map { $0.map { $0 + share } }).map { $0.map { $0.map { $0 - share / (1 + lambda) } } }
    }

    /// Value, gradient and curvature of ℓ − pin·(Σs)²/2K; the last term holds the sum at 0 and takes nothing from ℓ.
    private static func point(_ s: [Double], _ wins: [[Double]], ridge: Double, pin: Double) -> ConcaveNewton.Point {
        let K = s.count, sum = s.reduce(0, +)
        var value = -pin * sum * sum / Double(2 * K)
        var gradient = s.map { -ridge * $0 - pin * sum / Double(K) }
        var curvature = [[Double]](repeating: [Double](repeating: pin / Double(K), count: K), count: K)
        for i in 0..<K {
            value -= ridge * s[i] * s[i] / 2
            curvature[i][i] += ridge
            for j in 0..<i {
                let games = wins[i][j] + wins[j][i]
                guard games > 0 else { continue }
                let p = sigmoid(s[i] - s[j])
                value += wins[i][j] * logSigmoid(s[i] - s[j]) + wins[j][i] * logSigmoid(s[j] - s[i])
                let slope = wins[i][j] - games * p
                gradient[i] += slope
                gradient[j] -= slope
                let bend = games * p * (1 - p)
                curvature[i][i] += bend
                curvature[j][j] += bend
                curvature[i][j] -= bend
                curvature[j][i] -= bend
            }
        }
        return ConcaveNewton.Point(value: value, gradient: gradient, curvature: curvature)
    }

    /// P(i beats j).
    public func probability(_ i: Int, over j: Int) -> Double { sigmoid(strengths[i] - strengths[j]) }

    /// Square roots of the covariance's diagonal.
    public var standardErrors: [Double] { covariance.indices.map { max(0, covariance[$0][$0]).squareRoot() } }

    /// 1000 + (400/ln 10)·sᵢ: a difference of 400 wins ten games of eleven.
    public var elo: [Double] { strengths.map(BradleyTerry.elo) }
    public static func elo(_ strength: Double) -> Double { 1000 + eloUnit * strength }
    /// Elo points of one natural unit.
    public static let eloUnit = 400 / log(10.0)

    /// Players, strongest first; equals by number.
    public var order: [Int] { strengths.indices.sorted { (-strengths[$0], $0) < (-strengths[$1], $1) } }

    /// H⁺·(Σ_c g_c·g_cᵀ)·H⁺, g_c = Σ over the votes of cluster c of ∂ℓ/∂s: right also when votes of a cluster depend on each other.
    /// Source: Huber 1967; Liang and Zeger 1986.
    public func sandwich(_ outcomes: [PairwiseOutcome]) -> [[Double]] {
        var sums: [Int: [Double]] = [:]
        for outcome in outcomes where outcome.first != outcome.second {
            let slope = outcome.result - probability(outcome.first, over: outcome.second)
            sums[outcome.cluster, default: [Double](repeating: 0, count: strengths.count)][outcome.first] += slope
            sums[outcome.cluster, default: []][outcome.second] -= slope
        }
        var result = [[Double]](repeating: [Double](repeating: 0, count: strengths.count), count: strengths.count)
        for cluster in sums.keys.sorted() {
            let influence = LinearAlgebra.product(covariance, sums[cluster] ?? [])
            for i in influence.indices { for j in influence.indices { result[i][j] += influence[i] * influence[j] } }
        }
        return result
    }
}
