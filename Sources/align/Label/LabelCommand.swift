import Foundation
import Models
import PreferenceData
import Serialization
import Training

/// Asks a person which completion is better, item after item.
struct LabelCommand: Command {
    static let preset: Sampling = {
        var sampling = Sampling()
        (sampling.temperature, sampling.topP, sampling.maxNewTokens) = (0.8, 0.95, 256)
        return sampling
    }()
    static let usage = Usage(
        "label", "Ask people which completion is better.",
        [
            .list("pairs", "FILE", "completions to compare: pairs of any shape, judged or not, or {prompt, completions}; imported first"),
            .optional("columns", "prompt=A", "names of the columns in FILE"),
            .optional("on-bad-row", "stop|skip", "what to do about rows that cannot be read", default: "stop"),
            .list("gold", "FILE", "pairs whose better side is known, mixed in to measure the annotator"),
            .optional("gold-rate", "SHARE", "share of gold items", default: "0.1"),
            .optional("store", "FILE", "preference store that keeps items and votes", default: "runs/align.sqlite"),
            .optional("annotator", "NAME", "whose votes these are", default: "the user's name"),
            .optional("overlap", "N", "annotators that each item wants", default: "1"),
            .optional("order", "given|random|active", "active: first where reward models are least sure, by the store's scores", default: "given"),
            .optional("guidelines", "FILE", "text shown at the start and on a key"),
            .switched("grades", "grade each completion for instruction following, conciseness, truthfulness and harmlessness"),
            .switched("strength", "ask how much better, for every decided vote"),
            .switched("plain", "prompts as text, answers as lines: for scripts and screen readers"),
            .switched("json", "print the summary as a JSON object"),
            Flag.list("prompts", "FILE", "prompts to sample completions of").under("Sampling"),
            Flag.list("model", "PATH", "checkpoint to sample from; two are compared, or one with itself", aliases: ["model_name_or_path"]).under("Sampling"),
            Flag.optional("samples", "N", "completions of each prompt by each model", default: "2 of one model, 1 of each of several").under("Sampling"),
            Flag.switched("chat", "texts are user messages to the model's chat template").under("Sampling"),
        ] + (SamplingFlags.flags(preset) + ModelChoice.decodingFlags.dropFirst()).map { $0.under("Sampling") },
        example: "align label --pairs prefs.jsonl --annotator anna --guidelines guide.txt",
        notes: """
            Which completion stands on which side follows from item, annotator and --seed, and is kept with the vote. Every vote is on the disk
            before the next item is shown; the same command goes on where it stopped. Without --pairs and --prompts the store's items are asked.
            Train on the votes with 'align dpo --store FILE'; see them with 'align data stats'. Over a pipe the answers are lines ('help' lists
            them). The editor is $VISUAL or $EDITOR. NO_COLOR is honoured.
            """)

    let files: [String], gold: [String], prompts: [String]
    let columns: [String: String]
    let onBadRow: OnBadRow
    let goldRate: Double
    let store: String
    let annotator: String
    let overlap: Int
    let order: LabelQueue.Order
    let guidelines: String?
    let grades: Bool, asksStrength: Bool, isPlain: Bool, isJSON: Bool
    let sampling: LabelSampling?
    let seed: UInt64

    init(_ arguments: Arguments) throws(UsageError) {
        (files, gold, prompts) = (arguments.list("pairs"), arguments.list("gold"), arguments.list("prompts"))
        var settings = TrainingSettings(learningRate: 0)
        settings.columns = arguments.optionalText("columns")
        do throws(SettingError) { columns = try settings.columnNames() } catch { throw UsageError(error, command: Self.usage.name) }
        onBadRow = try arguments.choice("on-bad-row", default: .stop)
        goldRate = try arguments.number("gold-rate", in: 0...1, default: 0.1, expected: "a share from 0 to 1, such as 0.1")
        store = arguments.optionalText("store") ?? "runs/align.sqlite"
        let environment = ProcessInfo.processInfo.environment
        annotator = arguments.optionalText("annotator") ?? environment["USER"] ?? environment["LOGNAME"] ?? NSUserName()
        if annotator.allSatisfy(\.isWhitespace) { throw .missingFlag(command: Self.usage.name, form: "--annotator NAME", help: "whose votes these are") }
        overlap = try arguments.integer("overlap", in: 1...1000, default: 1, expected: "a number of annotators, such as 2")
        order = try arguments.choice("order", default: .given)
        guidelines = arguments.optionalText("guidelines")
        (grades, asksStrength) = (arguments.isOn("grades"), arguments.isOn("strength"))
        (isPlain, isJSON) = (arguments.isOn("plain"), arguments.isOn("json"))
        let drawn = try SamplingFlags(arguments, preset: Self.preset)
        seed = drawn.seed
        if prompts.isEmpty {
            let given = ["model", "samples"].filter { arguments.values[$0] != nil || arguments.config[$0] != nil }
            if !given.isEmpty { throw .conflict(command: Self.usage.name, flags: given, reason: "there is nothing to sample from without --prompts FILE") }
            sampling = nil
        } else {
            if !files.isEmpty { throw .conflict(command: Self.usage.name, flags: ["pairs", "prompts"], reason: "label one, then the other") }
            sampling = try LabelSampling(arguments, drawn)
        }
    }

    func run() async throws {
        let hasSource = !files.isEmpty || sampling != nil
        guard hasSource || fileExists(store) else {
            throw CommandError.missingFile(path: store, what: "a preference store; name pairs with --pairs FILE, or prompts to sample from with --prompts FILE,")
        }
        let guide = try guidelines.map { (file) throws(CommandError) in try InputText.read(file).text }
        let store = try PreferenceStore(path: store)
        try store.register(annotator: annotator, as: .human, at: PreferenceStore.now())
        let items = try items(in: store)
        guard !items.isEmpty else { throw CommandError.nothingRan(path: self.store) }

        let entries = try queue(items, gold: goldEntries(in: store), store)
        var settings = LabelSession.Settings(annotator: annotator, session: UUID().uuidString.lowercased(), seed: seed)
        settings.asksStrength = asksStrength
        settings.grades = grades ? LabelGrade.allCases : []
        let session = LabelSession(settings, entries: entries, votes: try store.votes(by: annotator))
        let sitting = LabelSitting(store: store, overlap: overlap)
        let interface = LabelInterface(session, guidelines: guide)

        let isScreen = !isPlain && LabelTerminal.isUsable
        // Others need not wait for what nobody has on the screen any more; should this fail, it expires.
        defer { try? store.release(session: settings.session) }
        let (ended, isInterrupted) = try isScreen ? LabelTerminal(sitting).run(interface) : (LabelLines(sitting).run(interface), false)
        let summary = LabelSummary(ended.session, sitting)
        try Output.write(isJSON ? summary.json.text(pretty: true) + "\n" : summary.text)
        if isInterrupted { throw CommandError.stopped(done: ended.session.done, of: ended.session.wanted, what: "items") }
    }

    // MARK: Items

    /// In the order of files, else by priority.
    private func items(in store: PreferenceStore) throws -> [LabelItem] {
        if let sampling { return try sampling.items(prompts, columns: columns, onBadRow: onBadRow, store: store) }
        if !files.isEmpty {
            var seen: Set<String> = []
            return try imported(files, store).map(\.item).filter { seen.insert($0.id).inserted }
        }
        let known = try store.gold(), items = try store.items().filter { known[$0.id] == nil }
        if !items.isEmpty { return items }
        // A store that was filled for training: its comparisons are what there is to label.
        let comparisons = try store.comparisons().filter { $0.origin != .votes }
        let candidates = comparisons.map { Candidates(prompt: $0.prompt, completions: [$0.chosen, $0.rejected]) }
        return try store.enqueueInPieces(candidates, source: StoredSource(named: "comparisons"), added: PreferenceStore.now())
    }

    private func imported(_ files: [String], _ store: PreferenceStore) throws -> [(item: LabelItem, preferred: String?)] {
        var reader = RowReader()
        reader.columns = columns
        return try files.flatMap { file in
            let read = try reader.candidates(file, onBadRow: onBadRow)
            if read.report.badRowCount > 0 { Output.warn("\(file): \(read.report.badRowCount) bad rows skipped; the first: \(read.report.badRows[0])") }
            let items = try store.enqueueInPieces(read.rows.map(\.candidates), source: read.source, added: PreferenceStore.now())
            return zip(items, read.rows).map { ($0, $1.preferred) }
        }
    }

    /// The gold files' items, and those that the store knows.
    private func goldEntries(in store: PreferenceStore) throws -> [LabelSession.Entry] {
        if !gold.isEmpty {
            for (item, preferred) in try imported(gold, store) {
                guard let preferred, item.isPair else {
                    throw CommandError.badData(path: gold.joined(separator: ", "), reason: "found rows without a better side, expected pairs with chosen and rejected")
                }
                try store.setGold(item, expected: preferred == item.first ? .first : .second)
            }
        }
        let known = try store.gold()
        guard !known.isEmpty else { return [] }
        let items = try store.items().filter { known[$0.id] != nil }
        return LabelQueue.shuffled(items, annotator: annotator, seed: seed).map { LabelSession.Entry(item: $0, gold: known[$0.id]?.expected) }
    }

    private func queue(_ items: [LabelItem], gold: [LabelSession.Entry], _ store: PreferenceStore) throws -> [LabelSession.Entry] {
        var judges: [String: Set<String>] = [:]
        for vote in try store.standingVotes() where vote.outcome != .skip { judges[vote.item.id, default: []].insert(vote.annotator) }
        // What others have judged often enough is left out, but for what this annotator judged too: it can be gone back to.
        var open = items.filter { judges[$0.id, default: []].count < overlap || judges[$0.id, default: []].contains(annotator) }
        switch order {
        case .given: break
        case .random: open = LabelQueue.shuffled(open, annotator: annotator, seed: seed)
        case .active:
            if let ranked = try LabelQueue.active(open, scores: store.scoresByReward(), seed: seed) { open = ranked } else {
                Output.warn("--order active: the store has no scores of these completions, so the order is as given; 'align score --store' adds scores")
            }
        }
        return LabelQueue.mixed(open, gold: gold, goldRate: goldRate, seed: seed)
    }
}
