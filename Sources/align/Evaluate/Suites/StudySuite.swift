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

    private let type: any Study.Type
    private let planFile: String?
    /// nil: the plan's.
    private let seeds: [Int]?
    private let jobs: Int
    private let out: String
    private let world: Bool, reportOnly: Bool, isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        let command = arguments.usage.name
        let names = Studies.all.map { $0.name }
        guard let found = arguments.positionals.dropFirst().first else {
            throw .missingArgument(command: command, placeholder: "NAME", help: "the study: one of \(names.joined(separator: ", "))")
        }
        guard let type = Studies.all.first(where: { $0.name == found }) else {
            throw .badArgument(
                command: command, placeholder: "NAME", found: found, expected: "one of the studies \(names.joined(separator: ", "))", nearest: nearest(to: found, in: names))
        }
        self.type = type
        planFile = arguments.optionalText("plan")
        seeds = arguments.optionalText("seeds").flatMap(Self.seeds)
        if let text = arguments.optionalText("seeds"), seeds == nil {
            throw .badValue(command: command, flag: "seeds", found: text, expected: "seeds such as 1...5 or 1,2,7")
        }
        jobs = try arguments.integer("jobs", in: 1...256, default: 1, expected: "a number of processes, such as 2")
        out = arguments.optionalText("out") ?? "runs/studies"
        (world, reportOnly, isJSON) = (arguments.isOn("world"), arguments.isOn("report-only"), arguments.isOn("json"))
    }

    /// `1...5` or `1,2,7`
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

    func run() async throws {
        let plan: StudyPlan
        if let planFile { plan = try StudyPlan(file: planFile) } else {
            guard let carried = StudyPlan(named: type.name) else { preconditionFailure("no plan of \(type.name)") }
            plan = carried
        }
        let seeds = try seeds ?? plan.numbers("seeds").compactMap { Int(exactly: $0) }
        let sitting = try StudySitting(study: type.init(plan), name: type.name, plan: plan, out: out)
        Interrupt.install()
        if !reportOnly {
            if seeds.count == 1 { try await sitting.run(seed: seeds[0], worldOnly: world) } else {
                let words = ["eval", "study", type.name, "--out", out] + (planFile.map { ["--plan", $0] } ?? []) + (world ? ["--world"] : [])
                try sitting.spawn(seeds, words: words, jobs: jobs)
            }
        }
        if world {
            for seed in seeds { try Output.write(try sitting.gates(seed)) }
        } else {
            try Output.write(sitting.report(seeds, asJSON: isJSON))
        }
    }
}
