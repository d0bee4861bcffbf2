import Models
import Serialization
import Tensors
import Tokenizers

/// A training procedure: where data comes from, what is updated, when to stop. The loop it
/// is handed owns batching, clipping, the optimizer step, checkpoints and progress.
public protocol Stage: Sendable {
    /// One `Codable` value with defaults: flags, help, JSON config and run record all derive from it.
    associatedtype Settings: StageSettings
    static var name: String { get }
    /// One line for the list of commands.
    static var summary: String { get }
    /// Whether its result predicts tokens, so that completions before and after can be shown.
    static var producesLanguageModel: Bool { get }
    init(_ settings: Settings)
    /// Looks at data and model, and measures one micro-step, without training or writing anything: `--dry-run`.
    func preflight(in context: StageContext) throws -> Preflight
    func run(in context: StageContext) async throws -> StageOutcome
}

extension Stage {
    public static var producesLanguageModel: Bool { true }
}

/// What a stage works with; the command line makes it, and tests make it of a table.
public struct StageContext: Sendable {
    /// The run directory.
    public var runPath: String
    public var resumes: Bool
    public var compute: Compute
    /// Makes a model known without reading its weights.
    public var openModel: @Sendable (_ path: String, _ settings: TrainingSettings) throws -> ModelSource
    /// Used where `--model` is absent.
    public var defaultModel: String?
    public var referenceCache: (any ReferenceCache)?
    /// Makes an engine that samples from the policy it is handed; online stages need one.
    public var openRollouts: (@Sendable (_ policy: any TrainablePolicy, _ source: ModelSource) throws -> any Rollouts)?
    /// Makes the reward that a specification names.
    public var openReward: (@Sendable (_ spec: String) throws -> any Reward)?
    /// Where sampled completions and their scores outlive the run; the preference store.
    public var samples: (any SampleLedger)?
    /// Where runs are remembered; the preference store.
    public var ledger: (any RunLedger)?
    /// Pairs of those who name no file; the preference store.
    public var pairs: (any PairSource)?
    /// Bytes of token rows that stay in memory; the others wait in a file without a name beside the run.
    public var rowMemory = 16 << 20
    /// Members that the caller adds to run.json: program version, arguments, date.
    public var record: [(String, JSON)] = []
    public var report: @Sendable (StageEvent) -> Void = { _ in }
    public var isCancelled: @Sendable () -> Bool = { false }

    public init(
        runPath: String, resumes: Bool = false, compute: Compute,
        openModel: @escaping @Sendable (_ path: String, _ settings: TrainingSettings) throws -> ModelSource
    ) {
        self.runPath = runPath
        self.resumes = resumes
        self.compute = compute
        self.openModel = openModel
    }
}

/// A model before its weights are in memory: what data preparation needs is at hand, the rest comes when asked for.
public struct ModelSource: Sendable {
    public var path: String
    public var tokenizer: Tokenizer?
    public var template: ChatTemplate?
    /// What templates may name: `bos_token`, `eos_token`, ….
    public var templateVariables: [String: JSON] = [:]
    /// Ids that end an answer.
    public var stopIDs: [Int32] = []
    /// Token ids lie below it.
    public var vocabularySize: Int
    /// Whether it has a language head: log-probs and logits are to be had.
    public var predictsTokens = true
    /// Longest chain of tokens; nil if the model does not say.
    public var maxPositions: Int?
    /// `bf16` or `fp32`, and the kernels behind it: they decide the bits of a log-prob.
    public var precision: String
    public var kernels: String
    public var numericsVersion: Int
    /// Content hash of config and weights.
    public var contentHash: @Sendable () throws -> String
    /// Reads the weights; gradients are allocated only if it trains.
    public var load: @Sendable (_ trains: Bool) throws -> any TrainablePolicy
    /// Reads the weights of a model that only says what it thinks of tokens, such as a reference or a teacher: the same numbers as `load`
    /// gives, bit for bit, in less memory where that can be had.
    public var loadFrozen: @Sendable () throws -> any Policy
    /// Writes a policy of this model as a Hugging Face folder, weights of type `dtype`; the folder must not exist.
    public var save: @Sendable (_ policy: any TrainablePolicy, _ dtype: String, _ folder: String) throws -> Void
    /// Reads the weights in `folder`, a result of `save`, into a policy of this model.
    public var restore: @Sendable (_ policy: any TrainablePolicy, _ folder: String) throws -> Void
    /// The same backbone with a score head in place of its language head; nil where there is none to be had.
    public var scoring: (@Sendable (ScoreHead) throws -> ModelSource)?
    /// Whether an adapter of the model trains: the model itself then stays what it was, and is its own reference.
    public var isAdapted = false
    /// Bytes that the process takes with such a model, and a micro-step of so many tokens and log-probs.
    public var memoryEstimate: @Sendable (_ use: Use, _ tokens: Int, _ scoredTokens: Int) -> Int?

    /// What becomes of a model's weights.
    public enum Use: Sendable {
        /// They train: `load(true)`.
        case training
        /// They follow another model's: `load(false)`.
        case following
        /// They stay: `loadFrozen()`.
        case frozen
    }

    public init(
        path: String, tokenizer: Tokenizer?, template: ChatTemplate?, vocabularySize: Int, maxPositions: Int?, precision: String,
        kernels: String, numericsVersion: Int, contentHash: @escaping @Sendable () throws -> String,
        load: @escaping @Sendable (_ trains: Bool) throws -> any TrainablePolicy,
        save: @escaping @Sendable (_ policy: any TrainablePolicy, _ dtype: String, _ folder: String) throws -> Void,
        restore: @escaping @Sendable (_ policy: any TrainablePolicy, _ folder: String) throws -> Void,
        memoryEstimate: @escaping @Sendable (_ use: Use, _ tokens: Int, _ scoredTokens: Int) -> Int? = { _, _, _ in nil }
    ) {
        self.path = path
        self.tokenizer = tokenizer
        self.template = template
        self.vocabularySize = vocabularySize
        self.maxPositions = maxPositions
        self.precision = precision
        self.kernels = kernels
        self.numericsVersion = numericsVersion
        self.contentHash = contentHash
        self.load = load
        loadFrozen = { try load(false) }
        self.save = save
        self.restore = restore
        self.memoryEstimate = memoryEstimate
    }

    /// Key of this model's log-probs.
    func identity() throws -> ReferenceIdentity {
        ReferenceIdentity(model: try contentHash(), precision: precision, kernels: kernels, numerics: numericsVersion)
    }
}
