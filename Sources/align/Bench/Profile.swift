import Serialization
import Tensors

/// Where a training step's time goes.
struct Profile {
    /// How far the phases may stay below the whole, or above it.
    static let tolerance = 0.05

    let name: String
    /// Seconds of one step by the clock, and by phase; phases in descending order.
    let whole: Double
    let phases: [(phase: Phase, seconds: Double)]

    init(_ name: String, whole: Double, phases: [Phase: Double]) {
        self.name = name
        self.whole = whole
        // Ties in the phases' own order: a dictionary has none.
        let ordered = Phase.allCases.enumerated().compactMap { index, phase in phases[phase].map { (index, phase, $0) } }
        self.phases = ordered.sorted { ($1.2, $0.0) < ($0.2, $1.0) }.map { ($0.1, $0.2) }
    }

    /// Measures `body` as often as `rounds` says, and takes means.
    static func measure(_ name: String, rounds: Int, on compute: Compute, _ body: () throws -> Void) rethrows -> Profile {
        compute.phaseTimes.start()
        let watch = Stopwatch()
        var measured: [Phase: Double] = [:]
        do {
            for _ in 0..<rounds { try body() }
        } catch {
            _ = compute.phaseTimes.stop()
            throw error
        }
        let whole = watch.seconds
        measured = compute.phaseTimes.stop()
        return Profile(name, whole: whole / Double(rounds), phases: measured.mapValues { $0 / Double(rounds) })
    }

    var sum: Double { phases.reduce(0) { $0 + $1.seconds } }
    /// What no phase accounts for.
    var other: Double { whole - sum }
    var addsUp: Bool { abs(other) <= Profile.tolerance * whole }

    var lines: [String] {
        func line(_ name: String, _ seconds: Double) -> String {
            "    " + padded(name, Figure.nameWidth - 2) + leftPadded(formatted(seconds, "%.4f"), 8) + " s"
                + leftPadded(formatted(whole > 0 ? 100 * seconds / whole : 0, "%.1f %%"), 10)
        }
        let verdict = "\(addsUp ? "within" : "NOT within") \(formatted(100 * Profile.tolerance, "%.0f")) % of the whole step"
        return ["  " + name + ", by phase"] + phases.map { line($0.phase.rawValue, $0.seconds) } + [
            line("other", other), line("whole step", whole) + "  the phases add up to \(formatted(whole > 0 ? 100 * sum / whole : 0, "%.1f")) %: \(verdict)",
        ]
    }

    var json: JSON {
        let rows = phases.map { ($0.phase.rawValue, $0.seconds) } + [("other", other)]
        return [
            "name": .string(name), "seconds": .number(whole), "phases_seconds": .number(sum), "adds_up": .bool(addsUp),
            "phases": .array(rows.map { ["name": .string($0.0), "seconds": .number($0.1), "share": .number(whole > 0 ? $0.1 / whole : 0)] }),
        ]
    }
}
