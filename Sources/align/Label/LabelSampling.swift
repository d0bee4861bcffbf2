import Checkpoints
import Foundation
import Models
import PreferenceData
import Serialization
import Tokenizers

/// Completions sampled to be labelled: of one model, or of several side by side.
struct LabelSampling {
    private let models: [ModelChoice]
    private let flags: SamplingFlags
    /// Completions of each prompt by each model.
    private let count: Int
    private let isChat: Bool
    /// Prompts sampled together: what an interruption may lose.
    private static let together = 16

    init(_ arguments: Arguments, _ flags: SamplingFlags) throws(UsageError) {
        let choice = try ModelChoice(arguments), paths = arguments.list("model")
        models = paths.isEmpty ? [choice] : paths.map { ModelChoice(path: $0, like: choice) }
        (isChat, self.flags) = (arguments.isOn("chat"), flags)
        count = try arguments.integer("samples", in: 1...9, default: models.count > 1 ? 1 : 2, expected: "a number of completions, such as 2")
        guard (2...9).contains(count * models.count) else {
            throw .badValue(command: arguments.usage.name, flag: "samples", found: "\(count)", expected: "2 to 9 completions of a prompt, of all models together")
        }
    }

    /// The items of the prompts, sampled where the store has them not yet.
    func items(_ files: [String], columns: [String: String], onBadRow: OnBadRow, store: PreferenceStore) throws -> [LabelItem] {
        let rows = try Records.prompts(files.map(RecordFile.parse), columns: columns, onBadRow: onBadRow, seed: flags.seed).rows
        let checkpoints = try models.map { try $0.open() }
        let hashes = try checkpoints.map { try $0.contentHash() }
        let source = StoredSource(named: "sampled: " + hashes.joined(separator: " ") + " " + Self.text(sampling(0, checkpoints[0])) + (isChat ? " chat" : ""))
        var known: [String: LabelItem] = [:]
        for item in try store.items(source: source.id) { known[item.prompt] = item }
        let prompts = rows.map { stored($0.prompt) }
        let open = rows.indices.filter { known[prompts[$0].id] == nil }
        if !open.isEmpty {
            Interrupt.install()
            defer { Interrupt.uninstall() }
            try sample(open.map { (prompt: rows[$0].prompt, origin: rows[$0].origin) }, open.map { prompts[$0] }, Array(zip(checkpoints, hashes)), source, store, &known)
            if Interrupt.isRequested { throw CommandError.stopped(done: known.count, of: rows.count, what: "prompts") }
        }
        var seen: Set<String> = []
        return prompts.compactMap { known[$0.id] }.filter { seen.insert($0.id).inserted }
    }

    private func sample(
        _ rows: [(prompt: Content, origin: RowOrigin)], _ prompts: [StoredPrompt], _ models: [(checkpoint: Checkpoint, hash: String)],
        _ source: StoredSource, _ store: PreferenceStore, _ known: inout [String: LabelItem]
    ) throws {
        let generators = try zip(self.models, models).map { choice, model in Generator(decoder: try choice.decoder(model.checkpoint), tokenizer: model.checkpoint.tokenizer) }
        let requests = try models.map { try PromptRequest.read(texts: [], rows: rows, isChat: isChat, checkpoint: $0.checkpoint, command: LabelCommand.usage.name) }
        var same = 0
        for first in stride(from: 0, to: rows.count, by: Self.together) {
            let part = first..<min(first + Self.together, rows.count)
            var completions = [[StoredContent]](repeating: [], count: part.count), generations: [(place: Int, content: StoredContent, Generation)] = []
            for (number, model) in models.enumerated() {
                let sampling = sampling(number, model.checkpoint)
                let drawn = try generators[number].generate(prompts: part.map { requests[number][$0].tokens }, firstPrompt: first, sampling: sampling) { _, _ in !Interrupt.isRequested }
                if Interrupt.isRequested { return }
                for (index, completion) in drawn.enumerated() {
                    let place = index / count
                    let text = model.checkpoint.tokenizer.map { CompletionText.of(completion.tokens, $0, sampling) } ?? ""
                    guard let content = prompts[part.lowerBound + place].completion(text: text, tokens: completion.tokens) else { continue }
                    var generation = Generation(completion: prompts[part.lowerBound + place].completionID(content), model: model.hash, time: PreferenceStore.now())
                    generation.seed = Int(truncatingIfNeeded: sampling.seed)
                    (generation.sampling, generation.tokens, generation.logProbs) = (Self.text(sampling), completion.tokens, completion.logProbs)
                    generation.finish = completion.finishReason.name
                    if !completions[place].contains(content) { completions[place].append(content) }
                    generations.append((place, content, generation))
                }
            }
            let usable = part.indices.filter { completions[$0 - part.lowerBound].count > 1 }
            same += part.count - usable.count
            let candidates = usable.map { Candidates(prompt: prompts[$0], completions: completions[$0 - part.lowerBound]) }
            let items = try store.enqueue(candidates, source: source, added: PreferenceStore.now()).items
            for item in items { known[item.prompt] = item }
            let kept = Set(items.flatMap(\.completions))
            try store.add(generations.map(\.2).filter { kept.contains($0.completion) })
            Output.note("sampled  \(part.upperBound)/\(rows.count) prompts")
        }
        if same > 0 { Output.warn("\(same) prompts got the same completion every time and are left out; a higher --temperature makes them differ") }
    }

    /// Of one of the models: each draws with a seed of its own.
    private func sampling(_ model: Int, _ checkpoint: Checkpoint) -> Sampling {
        var sampling = flags.sampling(for: checkpoint)
        sampling.samplesPerPrompt = count
        sampling.seed &+= UInt64(model)
        return sampling
    }

    /// JSON, keys sorted.
    private static func text(_ sampling: Sampling) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return (try? encoder.encode(sampling)).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    /// A text that is a user's message is kept as one: it is trained on through the template that it was sampled with.
    private func stored(_ prompt: Content) -> StoredPrompt {
        if isChat, case let .text(text) = prompt {
            return StoredPrompt(StoredContent(.messages([Message(role: "user", content: text, raw: ["role": "user", "content": .string(text)])])))
        }
        return StoredPrompt(StoredContent(prompt))
    }
}

extension ModelChoice {
    /// Another checkpoint, computed with in the same way.
    init(path: String, like other: ModelChoice) {
        (self.path, arithmetic, threads) = (path, other.arithmetic, other.threads)
        rolloutWeights = other.rolloutWeights
    }
}
