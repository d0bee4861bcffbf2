import Evaluations
import Foundation
import Serialization
import Tensors

/// A study as it runs: its seeds, arm by arm, each kept when it is done; and what they say together.
struct StudySitting {
    let study: any Study
    let name: String
    let plan: StudyPlan
    let out: String

    private func folder(_ seed: Int) -> String { "\(out)/\(name)/seed-\(seed)" }
    private func resultFile(_ seed: Int, _ arm: String) -> String { folder(seed) + "/" + arm.replacing(" ", with: "-").replacing("/", with: "-") + ".jsonl" }

    private static func text(_ path: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else { throw CommandError.missingFile(path: path, what: "a study's result") }
        return String(decoding: data, as: UTF8.self)
    }

    /// The gates of a seed's world, which studies of one world share.
    func gates(_ seed: Int) throws -> String { try Self.text(StudyWorkshop.folder(study.world, seed: seed, out: out) + "/gates.txt") }

    /// One seed, arm by arm, on this process.
    func run(seed: Int, worldOnly: Bool) async throws {
        let workshop = try StudyWorkshop(study.world, seed: seed, out: out, study: name, compute: try Compute(threads: 1))
        try checkPlan(seed)
        let file = workshop.folder + "/gates.txt"
        if !StudyFiles.exists(file) {
            let gates = try await workshop.gates()
            try StudyFiles.write("seed \(seed)\n" + gates.gates.map { $0.text + "\n" }.joined(), to: file)
        }
        let gates = try gates(seed)
        Output.note(gates)
        guard !gates.contains("FAILS") else { throw CommandError.badData(path: file, reason: "a gate fails: nothing can be claimed in this world") }
        guard !worldOnly else { return }
        for arm in try study.arms() where !StudyFiles.exists(resultFile(seed, arm)) {
            workshop.note("arm \(arm)")
            let clock = ContinuousClock.now
            let lines = try await study.run(arm, in: workshop)
            try StudyFiles.writeLines(lines.map(\.json), to: resultFile(seed, arm))
            workshop.note("arm \(arm) took \(formatted((ContinuousClock.now - clock) / .seconds(1), "%.1f")) s")
            if Interrupt.isRequested { throw CommandError.interrupted(run: nil) }
        }
    }

    /// A changed plan is a new study: results of another one are not gone on with.
    private func checkPlan(_ seed: Int) throws {
        let file = folder(seed) + "/plan.json", text = plan.json.text(pretty: true) + "\n"
        guard StudyFiles.exists(file) else { return try StudyFiles.write(text, to: file) }
        guard try Self.text(file) == text else {
            throw CommandError.badData(path: file, reason: "the seed was begun with another plan; a changed plan is a new study: give another --out")
        }
    }

    /// Seeds as processes of their own, `jobs` at a time.
    /// - Parameter words: The command line of a seed, but for the seed.
    func spawn(_ seeds: [Int], words: [String], jobs: Int) throws {
        var waiting = seeds[...]
        var running: [(seed: Int, process: Process)] = []
        var failed: [Int] = []
        while !waiting.isEmpty || !running.isEmpty {
            while running.count < jobs, !Interrupt.isRequested, let seed = waiting.popFirst() {
                let process = Process()
                process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
                process.arguments = words + ["--seeds", "\(seed)"]
                process.standardOutput = FileHandle.nullDevice
                do { try process.run() } catch { throw CommandError.badData(path: "seed \(seed)", reason: "its process cannot be started: \(error.localizedDescription)") }
                running.append((seed, process))
            }
            usleep(100_000)
            if Interrupt.isRequested {
                waiting = []
                for (_, process) in running where process.isRunning { process.terminate() }
                running.forEach { $0.process.waitUntilExit() }
            }
            failed += running.filter { !$0.process.isRunning && $0.process.terminationStatus != 0 }.map(\.seed)
            running.removeAll { !$0.process.isRunning }
        }
        if Interrupt.isRequested { throw CommandError.interrupted(run: nil) }
        guard failed.isEmpty else { throw CommandError.badData(path: out, reason: "seeds \(failed.map(String.init).joined(separator: ", ")) did not end well") }
    }

    // MARK: Report

    /// Reads the lines of seeds, writes them, the plot and the text beside each other.
    /// - Returns: The text, or the verdicts as JSON.
    func report(_ seeds: [Int], asJSON: Bool) throws -> String {
        var lines: [StudyLine] = []
        for seed in seeds {
            for arm in try study.arms() where StudyFiles.exists(resultFile(seed, arm)) {
                lines += try StudyFiles.lines(resultFile(seed, arm)).compactMap { StudyLine(json: $0) }
            }
        }
        guard !lines.isEmpty else { throw CommandError.nothingRan(path: "\(out)/\(name)") }
        let report = study.report(lines)
        let path = "\(out)/\(name)/\(name)"
        try StudyFiles.writeLines(lines.map(\.json), to: path + ".jsonl")
        try StudyFiles.write(report.svg, to: path + ".svg")
        try StudyFiles.write(report.text, to: path + ".txt")
        return asJSON ? Self.json(report).text(pretty: true) + "\n" : report.text
    }

    private static func json(_ report: StudyReport) -> JSON {
        ["verdicts": .array(report.verdicts.map { verdict in
            [
                "claim": .string(verdict.claim), "verdict": .string(verdict.word.rawValue), "mean": .number(verdict.mean),
                "interval": verdict.interval.map { .array([.number($0.lowerBound), .number($0.upperBound)]) } ?? .null, "seeds": .integer(verdict.effects.count),
                "smallest_effect": .number(verdict.smallest),
            ]
        })]
    }
}
