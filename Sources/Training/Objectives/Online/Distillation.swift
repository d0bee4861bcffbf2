import Foundation
import Models
import Tensors

/// Distributions over the vocabulary at the tokens that count: a student's logits, a teacher's, the true tokens.
public struct TeacherLogits: Sendable {
    /// One row a token, V logits each.
    public var student: Ragged
    public var teacher: Ragged
    /// The token that follows in the data, of each row.
    public var labels: [Int]

    public init(student: Ragged, teacher: Ragged, labels: [Int]) {
        precondition(student.offsets == teacher.offsets && labels.count == student.rows, "\(student.rows) student rows, \(teacher.rows) teacher rows, \(labels.count) labels")
        (self.student, self.teacher, self.labels) = (student, teacher, labels)
    }
}

/// A loss over whole distributions; its gradient is with respect to the student's logits.
public protocol DistributionObjective: Objective where Inputs == TeacherLogits {
    /// The loss of one token, nats, and its gradient with respect to the student's logits.
    func token(student: [Double], teacher: [Double], label: Int) -> (value: Double, gradient: [Double])
}

extension DistributionObjective {
    /// The mean over the step's tokens.
    public func callAsFunction(_ inputs: TeacherLogits, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = Loss(gradientLike: inputs.student)
        let N = Double(max(1, step.tokens))
        for row in 0..<inputs.student.rows {
            let (value, gradient) = token(student: Array(inputs.student[row]), teacher: Array(inputs.teacher[row]), label: inputs.labels[row])
            guard value.isFinite else { throw .notFinite(objective: Self.name, quantity: "the divergence", row: row) }
            loss.value += value / N
            for (j, place) in inputs.student.range(row).enumerated() { loss.gradient.values[place] = gradient[j] / N }
        }
        return loss
    }
}

/// Generalised knowledge distillation: a divergence between teacher p and student q, both at temperature τ.
///
///     β = 0   KL(p‖q)                    ∂/∂z = (q − p)/τ
///     β = 1   KL(q‖p)                    ∂/∂z_j = q_j·(log q_j − log p_j − KL)/τ
///     else    β·KL(p‖m) + (1−β)·KL(q‖m), m = β·p + (1−β)·q
///             ∂/∂z_j = q_j·(f_j − Σ_i q_i·f_i)/τ, f = (1−β)·(log q − log m)
///
/// Source: Agarwal et al. 2024 (GKD), eq. 1 and 2; there is no factor τ², as in TRL.
public struct GKD: DistributionObjective {
    public static let name = "gkd"
    public var beta: Double
    public var temperature: Double  // τ
    public init(beta: Double = 0.5, temperature: Double = 1) { (self.beta, self.temperature) = (beta, temperature) }

    public func token(student: [Double], teacher: [Double], label: Int) -> (value: Double, gradient: [Double]) {
        var (student, teacher) = (student, teacher)
        let value = student.withUnsafeMutableBufferPointer { q in teacher.withUnsafeMutableBufferPointer { p in divergence(student: q, teacher: p) } }
        return (value, student)
    }

    /// One token's divergence in place: the student's logits become their gradient, the teacher's are used up.
    func divergence(student q: UnsafeMutableBufferPointer<Double>, teacher p: UnsafeMutableBufferPointer<Double>) -> Double {
        logSoftmax(q, temperature: temperature)
        logSoftmax(p, temperature: temperature)
        if beta == 0 {
            var value = 0.0
            for j in q.indices {
                let share = exp(p[j])
                if share > 0 { value += share * (p[j] - q[j]) }
                q[j] = (exp(q[j]) - share) / temperature
            }
            return value
        }
        // At β = 1 the mixture is the teacher, and the teacher's term is 0.
        let (teacherScale, studentScale) = beta == 1 ? (0, 1) : (beta, 1 - beta)
        var (fromTeacher, fromStudent) = (0.0, 0.0)
        for j in q.indices {
            let (teacherShare, studentShare) = (exp(p[j]), exp(q[j]))
            let mixture = beta == 1 ? p[j] : log(beta * teacherShare + (1 - beta) * studentShare)
            if teacherScale > 0, teacherShare > 0 { fromTeacher += teacherScale * teacherShare * (p[j] - mixture) }
            let difference = studentShare > 0 ? studentScale * (q[j] - mixture) : 0
            fromStudent += studentShare * difference
            (q[j], p[j]) = (difference, studentShare)
        }
        for j in q.indices { q[j] = p[j] * (q[j] - fromStudent) / temperature }
        return fromTeacher + fromStudent
    }

    /// Tokens of one block of the chunk form.
    private static let blockRows = 4

    /// Whole rows of logits `[rows, V]`: the student's become ∂(Σ w·divergence)/∂logits.
    /// - Parameter weights: w of each row.
    /// - Returns: Each row's divergence, nats.
    public func rows(student: Matrix, teacher: Matrix, weights: [Double], on compute: Compute) -> [Double] {
        precondition(student.rows == teacher.rows && student.columns == teacher.columns && weights.count == student.rows,
            "student [\(student.rows), \(student.columns)], teacher [\(teacher.rows), \(teacher.columns)]")
        let V = student.columns
        var values = [Double](repeating: 0, count: student.rows)
        values.withUnsafeMutableBufferPointer { values in
            let results = values
            compute.parallel((student.rows + Self.blockRows - 1) / Self.blockRows) { block in
                var (q, p) = ([Double](repeating: 0, count: V), [Double](repeating: 0, count: V))
                for row in block * Self.blockRows..<min(student.rows, (block + 1) * Self.blockRows) {
                    let (z, theirs) = (student.pointer + row * student.stride, teacher.pointer + row * teacher.stride)
                    for j in 0..<V { (q[j], p[j]) = (Double(z[j]), Double(theirs[j])) }
                    results[row] = q.withUnsafeMutableBufferPointer { q in p.withUnsafeMutableBufferPointer { p in divergence(student: q, teacher: p) } }
                    for j in 0..<V { z[j] = Float(q[j] * weights[row]) }
                }
            }
        }
        return values
    }
}

/// Cross-entropy with a distribution as the target: of the teacher, of the label, or of both.
///
///     L = −Σ_j w_j·log q_j + c·(log Σ e^z)²          ∂L/∂z_j = q_j − w_j + 2·c·log Σ e^z·q_j
///
/// Targets w: `label` with smoothing ε, (1−ε)·onehot + ε/V; `teacher`, all of it (Gemma 2); `teacherTop(k)`, its k largest
/// probabilities, renormalised; `blend(a)`, a·onehot(teacher's first) + (1−a)·onehot(label) (AFM, a = 0.9). c: z-loss.
public struct SoftCrossEntropy: DistributionObjective {
    public enum Target: Sendable, Equatable {
        case label(smoothing: Double)
        case teacher
        case teacherTop(Int)
        case blend(Double)
    }

    public static let name = "soft_cross_entropy"
    public var target: Target
    public var zCoefficient: Double
    public init(_ target: Target, zCoefficient: Double = 0) { (self.target, self.zCoefficient) = (target, zCoefficient) }

    public func token(student: [Double], teacher: [Double], label: Int) -> (value: Double, gradient: [Double]) {
        let q = logSoftmax(student)
        let weights = self.weights(teacher: teacher, label: label)
        let logSum = (student.first ?? 0) - (q.first ?? 0)
        let value = -zip(weights, q).reduce(0) { $0 + ($1.0 == 0 ? 0 : $1.0 * $1.1) } + zCoefficient * logSum * logSum
        return (value, zip(weights, q).map { exp($1) * (1 + 2 * zCoefficient * logSum) - $0 })
    }

    private func weights(teacher: [Double], label: Int) -> [Double] {
        let V = teacher.count
        switch target {
        case let .label(smoothing): return (0..<V).map { ($0 == label ? 1 - smoothing : 0) + smoothing / Double(V) }
        case .teacher: return logSoftmax(teacher).map { exp($0) }
        case let .teacherTop(k):
            let p = logSoftmax(teacher).map { exp($0) }
            let top = largest(k, of: teacher)
            let sum = top.reduce(0) { $0 + p[$1] }
            return (0..<V).map { top.contains($0) ? p[$0] / sum : 0 }
        case let .blend(share):
            let first = largest(1, of: teacher).first
            return (0..<V).map { ($0 == first ? share : 0) + ($0 == label ? 1 - share : 0) }
        }
    }
}

/// Hinton's distillation: soft targets at temperature τ beside the label.
///
///     L = w·τ²·KL(p^τ‖q^τ) + (1−w)·CE(label)          ∂L/∂z = w·τ·(q^τ − p^τ) + (1−w)·(q − onehot)
///
/// Source: Hinton et al. 2015, §2.
public struct HintonDistillation: DistributionObjective {
    public static let name = "hinton"
    public var temperature: Double  // τ
    public var weight: Double  // w
    public init(temperature: Double = 2, weight: Double = 0.5) { (self.temperature, self.weight) = (temperature, weight) }

    public func token(student: [Double], teacher: [Double], label: Int) -> (value: Double, gradient: [Double]) {
        let soft = GKD(beta: 0, temperature: temperature).token(student: student, teacher: teacher, label: label)
        let hard = SoftCrossEntropy(.label(smoothing: 0)).token(student: student, teacher: teacher, label: label)
        let scale = weight * temperature * temperature
        return (
            scale * soft.value + (1 - weight) * hard.value, zip(soft.gradient, hard.gradient).map { scale * $0 + (1 - weight) * $1 }
        )
    }
}

/// Cross-entropy with the teacher's k largest probabilities as they are, and one bucket for the rest of the mass.
///
///     T the k tokens, Q = Σ_(j∈T) q_j, P likewise          L = −Σ_(j∈T) p_j·log q_j − (1−P)·log(1−Q)
///     ∂L/∂z_j = P·q_j − p_j·[j∈T] + (1−P)/(1−Q)·q_j·([j∈T] − Q)
///
/// What a teacher's server tells of its distribution is enough for it.
public struct TailBucketDistillation: DistributionObjective {
    public static let name = "tail_bucket"
    public var k: Int
    public init(k: Int = 20) { self.k = k }

    public func token(student: [Double], teacher: [Double], label: Int) -> (value: Double, gradient: [Double]) {
        let (q, p) = (logSoftmax(student), logSoftmax(teacher))
        let top = Set(largest(k, of: teacher))
        let rest = q.indices.filter { !top.contains($0) }
        let (P, tail) = (top.sorted().reduce(0) { $0 + exp(p[$1]) }, rest.reduce(0) { $0 + exp(q[$1]) })
        // The tail's mass is summed, not 1 − Q, which loses it where the student is sure. Without a tail there is no bucket.
        let bucket = rest.isEmpty ? 0 : rest.reduce(0) { $0 + exp(p[$1]) }
        let value = -top.sorted().reduce(0) { $0 + exp(p[$1]) * q[$1] } - (rest.isEmpty ? 0 : bucket * log(tail))
        let gradient = q.indices.map { j in
            let isTop = top.contains(j)
            let pull = rest.isEmpty ? 0 : bucket / tail * exp(q[j]) * ((isTop ? 1 : 0) - (1 - tail))
            return P * exp(q[j]) - (isTop ? exp(p[j]) : 0) + pull
        }
        return (value, gradient)
    }
}

/// Indices of the k largest values, the lower index first among equals.
private func largest(_ k: Int, of values: [Double]) -> [Int] {
    Array(values.indices.sorted { (-values[$0], $0) < (-values[$1], $1) }.prefix(k))
}
