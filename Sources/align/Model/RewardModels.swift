import Checkpoints
import Models
import Serialization
import Training

/// The reward models that a command names: one, or several whose scores become one.
struct RewardModels {
    static let flags: [Flag] = [
        .optional("ensemble", "mean|min|mean-std[:K]", "how scores of several models (--model A,B,C) become one; K times the deviation is subtracted", default: "mean"),
        .switched("standardize", "take each model's mean over all that is scored from its scores, and divide by their deviation"),
    ]

    /// Each completion's score, and what it is made of.
    struct Score: Equatable {
        var reward: Double
        /// All outputs of the one model, or the reward of each member.
        var parts: [Double]
        var isEnsemble: Bool

        var members: [(String, JSON)] {
            var members: [(String, JSON)] = [("reward", .number(reward))]
            if isEnsemble || parts.count > 1 { members.append((isEnsemble ? "members" : "scores", .array(parts.map { .number($0) }))) }
            return members
        }
    }

    /// A row of the data under one model's tokenizer.
    typealias Row = (row: RewardScorer.Row, origin: String)

    let paths: [String]
    let ensemble: RewardEnsemble
    let standardizes: Bool
    let choice: ModelChoice

    init(_ arguments: Arguments) throws(UsageError) {
        choice = try ModelChoice(arguments)
        paths = Self.paths(choice.path)
        standardizes = arguments.isOn("standardize")
        let text = arguments.optionalText("ensemble")
        guard let ensemble = RewardEnsemble(text ?? "mean") else {
            throw .badValue(
                command: arguments.usage.name, flag: "ensemble", found: text ?? "", expected: "mean, min, mean-std or mean-std:K with K of at least 0")
        }
        if text != nil && paths.count < 2 {
            throw .conflict(command: arguments.usage.name, flags: ["ensemble"], reason: "an ensemble has several models: --model A,B,C")
        }
        self.ensemble = ensemble
    }

    /// `A,B,C`, unless a file of the whole name exists.
    static func paths(_ text: String?) -> [String] {
        guard let text else { return [] }
        return fileExists(text) ? [text] : text.split(separator: ",").map(String.init)
    }

    /// Whether the named model scores completions; of an ensemble every member must.
    func areRewardModels() throws -> Bool {
        guard let first = paths.first else { return false }
        return try paths.count > 1 || Checkpoint.open(ModelChoice.resolve(first)).config.scoresSequences
    }

    /// Scores rows in order; one model at a time is in memory.
    /// - Parameters:
    ///   - rows: Turns the data into tokens of a model.
    ///   - body: Is handed each row's index, where it came from, and the scores of its completions; false ends the work.
    func score(_ rows: (ModelSource) throws -> [Row], _ body: (Int, String, [Score]) throws -> Bool) throws {
        if paths.count == 1, !standardizes {
            try score(paths[0], rows) { index, origin, outputs in
                try body(index, origin, outputs.map { Score(reward: $0[0], parts: $0, isEnsemble: false) })
            }
            return
        }
        var origins: [String] = []
        var members: [[[Double]]] = []  // [member][row][completion]
        for path in paths {
            var found: [[Double]] = [], own: [String] = []
            try score(path, rows) { _, origin, outputs in
                found.append(outputs.map { $0[0] })
                own.append(origin)
                return !Interrupt.isRequested
            }
            guard !Interrupt.isRequested else { throw CommandError.stopped(done: 0, of: found.count, what: "rows") }
            if origins.isEmpty { origins = own }
            guard own == origins else {
                throw CommandError.badData(
                    path: path, reason: "\(own.count) rows fit this model and \(origins.count) the first one: give --max-length so that all take the same rows")
            }
            members.append(standardizes ? Self.standardized(found) : found)
        }
        for (index, origin) in origins.enumerated() {
            let scores = members[0][index].indices.map { completion in
                let parts = members.map { $0[index][completion] }
                return Score(reward: ensemble(parts), parts: parts, isEnsemble: paths.count > 1)
            }
            guard try body(index, origin, scores) else { return }
        }
    }

    private static func standardized(_ rows: [[Double]]) -> [[Double]] {
        var rest = RewardEnsemble.standardized(rows.flatMap { $0 })[...]
        return rows.map { row in
            defer { rest = rest.dropFirst(row.count) }
            return Array(rest.prefix(row.count))
        }
    }

    private func score(_ path: String, _ rows: (ModelSource) throws -> [Row], _ body: (Int, String, [[Double]]) throws -> Bool) throws {
        let checkpoint = try Checkpoint.open(try ModelChoice.resolve(path))
        guard checkpoint.config.scoresSequences else {
            throw CommandError.badData(
                path: path, reason: "found \(checkpoint.config.architecture), which has no score head, expected a reward model, such as one that 'align reward' trains")
        }
        let compute = try choice.compute()
        let precision = choice.precision(on: compute)
        let rows = try rows(ModelSource(checkpoint, compute: compute, precision: precision, recompute: false))
        let policy = try Transformer.frozen(checkpoint, compute: compute, precision: precision)
        let outputs = checkpoint.config.scoreHeads.reduce(0) { $0 + $1.outputs }
        try RewardScorer(policy: policy, outputs: outputs).score(rows.map(\.row)) { index, found in
            // Grading heads are there for training: the score is the score head's alone.
            try body(index, rows[index].origin, found.map { Array($0.prefix(checkpoint.config.scoreOutputs)) })
        }
    }
}
