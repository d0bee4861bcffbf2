import Serialization

/// One golden case, compared.
struct VerifyCase: Sendable, Equatable {
    enum Verdict: String, Sendable, CaseIterable {
        case passed, failed, skipped
        /// This build does not cover it.
        case notYet = "not yet"
    }

    var name: String
    var verdict: Verdict
    /// The error that comes nearest to its tolerance, or exceeds it most, and that tolerance.
    var error: Double?
    var tolerance: Double?
    /// What that error is of; on failure, both numbers; why a case was skipped.
    var detail: String

    static func skipped(_ name: String, _ reason: String) -> VerifyCase { VerifyCase(name: name, verdict: .skipped, detail: reason) }
    /// What a golden is about, or was made from, is not there.
    static func missing(_ name: String, _ file: String, remedy: String? = nil) -> VerifyCase {
        skipped(name, "skipped: file missing (\(file)\(remedy.map { "; \($0)" } ?? ""))")
    }
    static func notYet(_ name: String, _ reason: String = "") -> VerifyCase { VerifyCase(name: name, verdict: .notYet, detail: reason) }

    /// One line: `passed   models/llama logits    error 4.1e-06 of 1e-04   logits[0, 39, 285]`
    var line: String {
        let numbers =
            if let error, let tolerance { tolerance == 0 && error == 0 ? "exact" : "error \(short(error)) of \(short(tolerance))" } else { "" }
        let words = detail.replacing("\n", with: "⏎")
        return [padded(verdict.rawValue, 7), padded(name, 46), padded(numbers, 24), words].joined(separator: "  ").trimmedRight
    }

    var json: JSON {
        [
            "name": .string(name), "verdict": .string(verdict.rawValue), "error": error.flatMap { $0.isFinite ? .number($0) : nil } ?? .null,
            "tolerance": tolerance.map { .number($0) } ?? .null, "detail": .string(detail),
        ]
    }
}

/// How far a number may lie from its golden one.
enum Tolerance {
    case absolute(Double)
    /// A share of the golden number.
    case relative(Double)
    /// Of the golden number where it is above 1, absolute below: "1e-6 absolute or relative".
    case either(Double)

    var value: Double {
        switch self {
        case let .absolute(value), let .relative(value), let .either(value): value
        }
    }

    func error(_ found: Double, _ golden: Double) -> Double {
        if found == golden || (found.isNaN && golden.isNaN) { return 0 }
        let distance = abs(found - golden)
        if distance.isNaN { return .infinity }
        switch self {
        case .absolute: return distance
        case .relative: return golden == 0 ? .infinity : distance / abs(golden)
        case .either: return distance / max(1, abs(golden))
        }
    }
}

/// Collects the comparisons of one case; the worst of them speaks for it.
struct CaseRecorder {
    let name: String
    private var worst: (ratio: Double, error: Double, tolerance: Double, detail: String)?

    init(_ name: String) { self.name = name }

    var hasFailed: Bool { (worst?.ratio ?? 0) > 1 }

    /// Compares one number; `what` names it.
    mutating func compare(_ what: @autoclosure () -> String, _ found: Double, golden: Double, _ tolerance: Tolerance) {
        let error = tolerance.error(found, golden)
        note(error: error, tolerance: tolerance.value) { error > tolerance.value ? "\(what()): found \(found), golden \(golden)" : what() }
    }

    /// Compares numbers one by one.
    mutating func compare(_ what: String, _ found: [Double], golden: [Double], _ tolerance: Tolerance) {
        guard found.count == golden.count else {
            return fail(what, found: "\(found.count) numbers", golden: "\(golden.count)")
        }
        for i in found.indices { compare("\(what)[\(i)]", found[i], golden: golden[i], tolerance) }
    }

    /// Compares things that must be the same.
    mutating func equal<Value: Equatable>(_ what: @autoclosure () -> String, _ found: Value, golden: Value) {
        if found == golden { note(error: 0, tolerance: 0) { what() } } else { fail(what(), found: "\(found)", golden: "\(golden)") }
    }

    mutating func fail(_ what: String, found: String, golden: String) {
        note(error: .infinity, tolerance: 0) { "\(what): found \(found.shortened), golden \(golden.shortened)" }
    }

    private mutating func note(error: Double, tolerance: Double, _ detail: () -> String) {
        let ratio = error == 0 ? 0 : error / tolerance
        if let worst, !(ratio > worst.ratio || (ratio == worst.ratio && worst.tolerance == 0)) { return }
        worst = (ratio.isNaN ? .infinity : ratio, error, tolerance, detail())
    }

    var result: VerifyCase {
        guard let worst else { return VerifyCase(name: name, verdict: .failed, detail: "the golden has nothing to compare") }
        return VerifyCase(name: name, verdict: worst.ratio > 1 ? .failed : .passed, error: worst.error, tolerance: worst.tolerance, detail: worst.detail)
    }
}

extension String {
    var trimmedRight: String { String(reversed().drop { $0 == " " }.reversed()) }
    /// Long texts are shown by their beginning.
    var shortened: String { count > 160 ? prefix(160) + " … (\(count) characters)" : self }
}

/// Two digits: `4.1e-06`, `0.012`, `exact` numbers as they are.
func short(_ value: Double) -> String {
    if value == 0 { return "0" }
    if value.isInfinite { return "∞" }
    if value.isNaN { return "NaN" }
    return formatted(value, value >= 0.001 && value < 1000 ? "%.3g" : "%.1e")
}
