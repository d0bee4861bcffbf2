import Evaluations
import Foundation
import Models
import PreferenceData
import Serialization
import Tensors
import Training

/// `align eval reward`: how a reward model, or an ensemble, ranks the pairs of files.
struct RewardSuite: EvaluationSuite {
    static let name = "reward"
    static let summary = "accuracy of reward models on pairs, beside length, with calibration, and RewardBench's score where rows have a subset"
    static let flags: [Flag] = [
        .list("data", "FILE", "preference pairs, ranked or scored completions; a row's \"subset\" is its part of a benchmark", aliases: ["pairs", "dataset"]),
        .optional("sections", "FILE", "lines subset,weight,section in place of RewardBench's own", default: "RewardBench's"),
        .optional("template", "auto|none|FILE", "chat template of rows: the model's own, none (raw text), or a Jinja file", default: "auto"),
        .optional("max-length", "N", "rows over so many tokens are left out", default: "the model's context"),
        .optional("columns", "prompt=A,chosen=B", "names of the columns in the files"),
        .optional("on-bad-row", "stop|skip", "what to do about rows that cannot be read", default: "stop"),
        .optional("seed", "N", "of the bootstrap's draws", default: "0"),
        .optional("report", "FILE", "write an HTML page with the tables and a reliability plot"),
        .switched("json", "print one JSON object"),
    ] + ModelChoice.flags + RewardModels.flags

    let models: RewardModels
    let files: [String]
    let sections: String?
    let settings: TrainingSettings
    let maxLength: Int?
    let report: String?
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        let command = arguments.usage.name
        models = try RewardModels(arguments)
        files = arguments.list("data")
        guard !files.isEmpty else { throw .missingFlag(command: command, form: "--data FILE", help: "pairs to rank") }
        guard !models.paths.isEmpty else { throw .missingFlag(command: command, form: "--model PATH", help: "the reward model, or several as A,B,C") }
        sections = arguments.optionalText("sections")
        maxLength = try arguments.optionalInteger("max-length", in: 2...16_777_216, expected: "a number of tokens from 2, such as 1024")
        report = arguments.optionalText("report")
        isJSON = arguments.isOn("json")
        var settings = TrainingSettings(learningRate: 0)
        settings.template = arguments.optionalText("template") ?? settings.template
        settings.columns = arguments.optionalText("columns")
        settings.onBadRow = try arguments.choice("on-bad-row", default: .stop)
        settings.seed = try arguments.integer("seed", in: 0...Int.max, default: 0, expected: "an integer of at least 0")
        do throws(SettingError) { _ = try settings.columnNames() } catch { throw UsageError(error, command: command) }
        self.settings = settings
    }

    func run() async throws {
        let table = try table()
        Interrupt.install()
        var examples: [(row: RewardRow, example: RewardExample)] = []
        var pairs: [RewardAccuracy.Pair] = []
        var done = 0
        try models.score({ source in
            examples = try rows(source)
            return examples.map { (RewardScorer.Row(prompt: $0.row.prompt, completions: $0.row.completions), $0.row.origin) }
        }) { index, _, scores in
            pairs += Self.pairs(examples[index].row, examples[index].example, rewards: scores.map(\.reward))
            done += 1
            return !Interrupt.isRequested
        }
        guard done == examples.count else { throw CommandError.stopped(done: done, of: examples.count, what: "rows") }
        guard !pairs.isEmpty else {
            throw CommandError.badData(path: files.joined(separator: ", "), reason: "no row has two completions of which one is better")
        }
        let result = RewardSuiteResult(
            models: models.paths, pairs: pairs, table: table, random: RandomStream(seed: UInt64(settings.seed), stream: 0x6576_616C, index: 0))
        if !result.bench.unknown.isEmpty, sections != nil || result.bench.score != nil {
            Output.warn("subsets of no section, left out of the score: \(result.bench.unknown.joined(separator: ", "))")
        }
        if let report {
            do { try Data(result.html.utf8).write(to: URL(fileURLWithPath: report), options: .atomic) } catch {
                throw CommandError.cannotWrite(path: report, reason: error.localizedDescription)
            }
        }
        try Output.write(isJSON ? result.json.text(pretty: true) + "\n" : result.text)
    }

    private func table() throws -> [RewardBench.Entry] {
        guard let sections else { return RewardBench.table }
        guard let data = FileManager.default.contents(atPath: sections) else {
            throw CommandError.missingFile(path: sections, what: "a table of subsets")
        }
        do { return try RewardBench.table(csv: String(decoding: data, as: UTF8.self), file: sections) } catch {
            throw CommandError.badLine(path: sections, line: error.line, found: "\"\(error.found)\"", expected: "subset,weight,section")
        }
    }

    private func rows(_ source: ModelSource) throws -> [(row: RewardRow, example: RewardExample)] {
        var settings = settings
        settings.maxLength = maxLength ?? source.maxPositions ?? settings.maxLength
        let read = try RowLoading.rewards(files, source: source, settings: settings)
        for lost in (read.preflight.badRows + read.preflight.dropped).prefix(20) { Output.warn("left out: \(lost.origin): \(lost.reason)") }
        guard !read.rows.isEmpty else {
            throw CommandError.badData(
                path: files.joined(separator: ", "), reason: "no rows to score; \(read.preflight.dropped.first.map { "\($0.origin): \($0.reason)" } ?? "none could be read")")
        }
        return read.rows
    }

    /// The pairs of a row of which one side is better.
    static func pairs(_ row: RewardRow, _ example: RewardExample, rewards: [Double]) -> [RewardAccuracy.Pair] {
        var strength: String?
        if case let .preferred(margin, word, _) = example.judgement { strength = word?.rawValue ?? margin.map { "margin " + formatted($0, "%g") } }
        return row.label.preferences.map { better, worse in
            RewardAccuracy.Pair(
                chosen: rewards[better], rejected: rewards[worse],
                lengths: PairLengths(chosen: row.completions[better].count, rejected: row.completions[worse].count), subset: example.subset,
                strength: strength)
        }
    }
}
