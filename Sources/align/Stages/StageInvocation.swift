import Checkpoints
import Foundation
import Models
import PreferenceData
import Serialization
import Tensors
import Training

/// A stage as a command line asks for it: settings, where the run goes, what is shown.
struct StageInvocation<Method: Stage>: Sendable {
    /// The word after `align`; also the name of run directories.
    let command: String
    let settings: Method.Settings
    let training: TrainingSettings
    let out: String
    let store: String
    let threads: Int?
    let resumes: Bool
    let isDryRun: Bool
    let isJSON: Bool
    let sampleTokens: Int
    /// The words of the command line, for run.json.
    let words: [String]

    /// - Parameter preset: Settings before the command line has spoken.
    init(_ arguments: Arguments, preset: Method.Settings, training: (Method.Settings) -> TrainingSettings) throws(UsageError) {
        command = arguments.usage.name
        resumes = arguments.isOn("resume")
        isDryRun = arguments.isOn("dry-run")
        isJSON = arguments.isOn("json")
        store = arguments.optionalText("store") ?? "runs/align.sqlite"
        threads = try arguments.optionalInteger("threads", in: 1...1024, expected: ModelChoice.threadsFlag.expected)
        sampleTokens = Method.producesLanguageModel
            ? try arguments.integer("sample-tokens", in: 0...100_000, default: 96, expected: "a number of tokens, such as 96") : 0
        words = CommandLine.arguments
        if let given = arguments.optionalText("out") { out = given } else { out = try RunFolders.folder(for: command, resumes: resumes) }

        var settings = preset
        if resumes, let saved = try? RunDirectory.record(at: out)["settings"]?.object {
            // The run's own settings, so that nothing need be typed again; what is typed must agree with them.
            do throws(SettingError) { try settings.apply(saved) } catch { throw .badConfig(file: out + "/run.json", reason: "\(error)") }
        }
        try Self.apply(arguments, to: &settings)
        do throws(SettingError) { try settings.validate() } catch { throw UsageError(error, command: command) }
        self.settings = settings
        self.training = training(settings)
    }

    private static func apply(_ arguments: Arguments, to settings: inout Method.Settings) throws(UsageError) {
        let command = arguments.usage.name
        do throws(SettingError) {
            for field in Method.Settings.fields {
                if let texts = arguments.values[field.name] {
                    if case .list = field.kind { try field.set(.array(texts.map { .string($0) }), in: &settings) } else if let text = texts.last {
                        try field.set(text: text, in: &settings)
                    }
                } else if let value = arguments.config[field.name] {
                    try field.set(value, in: &settings)
                }
            }
        } catch { throw UsageError(error, command: command) }
    }

    // MARK: Running

    /// What the stage is handed, but for the store and for who listens; no weights are read yet.
    /// - Parameter model: Where settings name none.
    func context(on compute: Compute, model: String) -> StageContext {
        var context = StageContext(runPath: out, resumes: resumes, compute: compute) { path, settings in
            try ModelSource(try Checkpoint.open(try ModelChoice.resolve(path)), compute: compute, precision: settings.arithmetic(on: compute), settings: settings)
        }
        context.defaultModel = model
        context.openRollouts = { policy, source in
            guard let transformer = policy as? Transformer else {
                throw RolloutError.cannotSynchronize(engine: source.path, reason: "it is no transformer of this program", remedy: "Name another model.")
            }
            return LocalRollouts(Decoder(transformer), text: try Checkpoint.open(source.path).text, name: source.path)
        }
        let (precision, store) = (training.arithmetic(on: compute), store)
        context.openReward = { text in
            let spec = try RewardSpec(text)
            return try spec.make(RewardScoring.context(spec, compute: compute, precision: precision, store: store))
        }
        context.isCancelled = { Interrupt.isRequested }
        context.record = [
            ("align", .string(Align.version)), ("command", .string(command)), ("arguments", .array(words.map { .string($0) })),
            ("started", .string(Self.now)),
        ]
        return context
    }

    func run() async throws {
        let compute = try Compute(threads: threads)
        let model = try ModelChoice.resolve(training.model)
        var context = context(on: compute, model: model)
        let stage = Method(settings)
        if isDryRun {
            if FileManager.default.fileExists(atPath: store) { context.pairs = try PreferenceStore(path: store) }
            let preflight = try stage.preflight(in: context)
            return try Output.write(isJSON ? PreflightText(preflight).json.text(pretty: true) + "\n" : PreflightText(preflight).text)
        }
        try RunDirectory.check(out, resumes: resumes)  // before the minutes that data and samples take
        Interrupt.install()
        let store = try PreferenceStore(path: store)
        context.referenceCache = store
        context.ledger = store
        context.samples = store
        context.pairs = store
        let sampler = HeldOutSampler(model: model, out: out, limit: sampleTokens, settings: training, compute: compute)
        let progress = StageProgress()
        context.report = { event in
            progress.show(event)
            if case let .preflight(preflight) = event { sampler.before(preflight.heldOutPrompts) }
        }
        let outcome = try await stage.run(in: context)
        guard outcome.status != .interrupted else {
            sampler.save()
            try? RunReportFile.write(at: out)
            throw CommandError.interrupted(run: out)
        }
        if let path = outcome.modelPath { sampler.after(path, step: outcome.steps) }
        sampler.save()
        try RunReportFile.write(at: out)
        let summary = StageSummary(outcome: outcome, samples: sampler.samples)
        try Output.write(isJSON ? summary.json.text(pretty: true) + "\n" : summary.text)
    }

    private static var now: String { ISO8601DateFormatter().string(from: Date()) }
}

extension TrainingSettings {
    /// What products take.
    func arithmetic(on compute: Compute) -> Precision {
        switch precision {
        case .auto: compute.defaultPrecision
        case .fp32: .fp32
        case .bf16: .bf16
        }
    }
}

extension UsageError {
    /// A setting that cannot be, said of the flag that gave it.
    init(_ error: SettingError, command: String) {
        self =
            switch error {
            case let .badValue(setting, found, expected): .badValue(command: command, flag: setting, found: found, expected: expected)
            case let .unknown(setting, nearest): .unknownFlag(command: command, flag: "--" + setting, value: nil, nearest: nearest.map { "--" + $0 })
            case let .missing(setting, placeholder, help): .missingFlag(command: command, form: "--\(setting) \(placeholder)", help: help)
            case let .conflict(settings, reason): .conflict(command: command, flags: settings, reason: reason)
            }
    }
}

/// Names of run directories that nobody chose.
enum RunFolders {
    /// `runs/<stage>-<n>`: the first that is free, or the last that is there when resuming.
    static func folder(for stage: String, resumes: Bool, under folder: String = "runs") throws(UsageError) -> String {
        let taken = entries(of: folder).compactMap { $0.hasPrefix(stage + "-") ? Int($0.dropFirst(stage.count + 1)) : nil }
        if !resumes { return "\(folder)/\(stage)-\((taken.max() ?? 0) + 1)" }
        guard let last = taken.filter({ RunDirectory.exists(at: "\(folder)/\(stage)-\($0)") }).max() else {
            throw .conflict(command: stage, flags: ["resume"], reason: "there is no run of this stage in \(folder)/; name one with --out DIR")
        }
        return "\(folder)/\(stage)-\(last)"
    }
}
