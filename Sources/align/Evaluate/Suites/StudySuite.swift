import Evaluations
import Foundation
import Serialization
import Tensors
import Training

/// `align eval study NAME`: runs a study's seeds, goes on with those that were interrupted, and reports.
struct StudySuite: EvaluationSuite {
    static let name = "study"
    static let summary = "a paper's claim at small scale, in a world whose reward is known exactly: study NAME, one of \(Studies.all.map { $0.name }.joined(separator: ", "))"
    static let flags: [Flag] = [
        .optional("seeds", "A...B|A,B", "seeds to run; each is one process on one core, and resumes", default: "the plan's"),
        .optional("jobs", "N", "seeds that run side by side", default: "1"),
        .optional("plan", "FILE", "a plan of one's own", default: "the one the program carries"),
        .optional("out", "DIR", "where worlds, runs and results go", default: "runs/studies"),
        .switched("world", "measure the gates of the world alone"),
        .switched("report-only", "report what is there; run nothing"),
        .switched("json", "print verdicts as one JSON object"),
    ]
    static var takesSubject: String? { "NAME" }

    private let study: any Study
    private let type: any Study.Type
    private let plan: StudyPlan
    private let planFile: String?
    private let seeds: [Int]
    private let jobs: Int
    private let out: String
    private let world: Bool, reportOnly: Bool, isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        let command = arguments.usage.name
        let found = arguments.positionals.dropFirst().first ?? ""
        guard let type = Studies.all.first(where: { $0.name == found }), let carried = StudyPlan(named: found) else {
            throw .extraArgument(command: command, found: found, accepts: "study and one of \(Studies.all.map { $0.name }.joined(separator: ", "))")
        }
        self.type = type
        planFile = arguments.optionalText("plan")
        do {
            plan = try planFile.map { try StudyPlan(file: $0) } ?? carried
            study = try type.init(plan)
            let planned = try plan.numbers("seeds").compactMap { Int(exactly: $0) }
            if let text = arguments.optionalText("seeds") {
                guard let seeds = Self.seeds(text) else {
                    throw UsageError.badValue(command: command, flag: "seeds", found: text, expected: "seeds such as 1...5 or 1,2,7")
                }
                self.seeds = seeds
            } else {
                seeds = planned
            }
        } catch let error as UsageError { throw error } catch {
            throw .badConfig(file: planFile ?? found, reason: "\(error)")
        }
        jobs = try arguments.integer("jobs", in: 1...256, default: 1, expected: "a number of processes, such as 2")
        out = arguments.optionalText("out") ?? "runs/studies"
        (world, reportOnly, isJSON) = (arguments.isOn("world"), arguments.isOn("report-only"), arguments.isOn("json"))
    }

    /// `1...5`, `1-5` or `1,2,7`
    static func seeds(_ text: String) -> [Int]? {
        if let dots = text.firstRange(of: "...") {
            guard let low = Int(text[..<dots.lowerBound]), let high = Int(text[dots.upperBound...]), (0...1_000_000).contains(low), low <= high, high - low < 10_000
            else { return nil }
            return Array(low...high)
        }
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
        let seeds = parts.compactMap { $0 }.filter { (0...1_000_000).contains($0) }
        return seeds.isEmpty || seeds.count != parts.count ? nil : Set(seeds).sorted()
    }

    // MARK: Running

    func run() async throws {
        Interrupt.install()
        if !reportOnly {
            if seeds.count == 1 { try await run(seed: seeds[0]) } else { try spawn() }
        }
        guard !world else {
            if seeds.count > 1 { for seed in seeds { try Output.write(try Self.text(gatesFile(seed))) } }
            return
        }
        guard seeds.count > 1 || reportOnly else { return }
        try report()
    }

    private func folder(_ seed: Int) -> String { "\(out)/\(type.name)/seed-\(seed)" }
    private func resultFile(_ seed: Int, _ arm: String) -> String { folder(seed) + "/" + arm.replacing(" ", with: "-").replacing("/", with: "-") + ".jsonl" }
    private func gatesFile(_ seed: Int) -> String { folder(seed) + "/gates.txt" }

    private static func text(_ path: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else { throw CommandError.missingFile(path: path, what: "a study's result") }
        return String(decoding: data, as: UTF8.self)
    }

    /// One seed, arm by arm, on this process.
    private func run(seed: Int) async throws {
        let workshop = try StudyWorkshop(study.world, seed: seed, out: out, study: type.name, compute: try Compute(threads: 1))
        try checkPlan(seed)
        if !StudyFiles.exists(gatesFile(seed)) {
            let gates = try await workshop.gates()
            try StudyFiles.write("seed \(seed)\n" + gates.gates.map { $0.text + "\n" }.joined(), to: gatesFile(seed))
        }
        let gates = try Self.text(gatesFile(seed))
        try Output.write(gates)
        guard !gates.contains("FAILS") else {
            throw CommandError.badData(path: gatesFile(seed), reason: "a gate fails: nothing can be claimed in this world")
        }
        guard !world else { return }
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
    private func spawn() throws {
        var waiting = seeds[...]
        var running: [(seed: Int, process: Process)] = []
        var failed: [Int] = []
        while !waiting.isEmpty || !running.isEmpty {
            while running.count < jobs, !Interrupt.isRequested, let seed = waiting.popFirst() {
                let process = Process()
                process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
                process.arguments = ["eval", "study", type.name, "--seeds", "\(seed)", "--out", out] + (planFile.map { ["--plan", $0] } ?? []) + (world ? ["--world"] : [])
                process.standardOutput = FileHandle.standardError
                do { try process.run() } catch { throw CommandError.badData(path: "seed \(seed)", reason: "its process cannot be started: \(error.localizedDescription)") }
                running.append((seed, process))
            }
            usleep(100_000)
            if Interrupt.isRequested {
                waiting = []
                for (_, process) in running where process.isRunning { process.terminate() }
            }
            failed += running.filter { !$0.process.isRunning && $0.process.terminationStatus != 0 }.map(\.seed)
            running.removeAll { !$0.process.isRunning }
        }
        if Interrupt.isRequested { throw CommandError.interrupted(run: nil) }
        guard failed.isEmpty else { throw CommandError.badData(path: out, reason: "seeds \(failed.map(String.init).joined(separator: ", ")) did not end well") }
    }

    // MARK: Report

    private func report() throws {
        var lines: [StudyLine] = []
        for seed in seeds {
            for arm in try study.arms() where StudyFiles.exists(resultFile(seed, arm)) {
                lines += try StudyFiles.lines(resultFile(seed, arm)).compactMap { StudyLine(json: $0) }
            }
        }
        guard !lines.isEmpty else { throw CommandError.nothingRan(path: "\(out)/\(type.name)") }
        let report = study.report(lines)
        let path = "\(out)/\(type.name)/\(type.name)"
        try StudyFiles.writeLines(lines.map(\.json), to: path + ".jsonl")
        try StudyFiles.write(report.svg, to: path + ".svg")
        try StudyFiles.write(report.text, to: path + ".txt")
        try Output.write(isJSON ? Self.json(report).text(pretty: true) + "\n" : report.text)
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
