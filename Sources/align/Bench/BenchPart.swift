import Checkpoints
import Models
import Serialization
import Tensors

/// One group of figures.
protocol BenchPart {
    /// The word on the command line.
    static var name: String { get }
    /// What it measures, in help.
    static var summary: String { get }
    /// Whether it runs when no part is named.
    static var isDefault: Bool { get }
    /// Whether it measures the model's own weights or text; without such a part no model is opened.
    static var needsModel: Bool { get }
    init()
    /// Measures, telling every figure as it is done.
    func run(_ context: BenchContext) throws
}

extension BenchPart {
    static var isDefault: Bool { true }
    static var needsModel: Bool { true }
}

/// The parts, in the order in which they run: one line each.
enum BenchParts {
    static var all: [any BenchPart.Type] {
        [
            KernelsPart.self,
            TrainPart.self,
            LossStepsPart.self,
            DecodePart.self,
            LoadPart.self,
            TokenizePart.self,
            GrowthPart.self,
        ]
    }
    static var names: [String] { all.map { $0.name } }
}

/// What a run of the command is asked for.
struct BenchSettings {
    /// nil: not given.
    var rounds: Int?
    var pairs = 4
    var promptTokens = 200
    var completionTokens = 150
    var profiles = false
    var plot: String?
    /// Parts that were named, not taken by default.
    var named: [String] = []
}

/// What the parts share, and where their figures go.
final class BenchContext {
    let settings: BenchSettings
    let compute: Compute
    let precision: Precision
    /// Whose shapes the ceilings were measured on: the model's, or the base model's of `growth`.
    let config: ModelConfig
    /// nil where no part needs one.
    let checkpoint: Checkpoint?
    private let tell: (Figure) throws -> Void
    /// Prints a line that is no figure, where people read.
    let say: (String) throws -> Void
    private(set) var figures: [Figure] = []
    /// Further members of the JSON output.
    var extra = JSONObject()
    var part = ""
    var ceilings = Ceilings()

    init(
        settings: BenchSettings, compute: Compute, precision: Precision, config: ModelConfig, checkpoint: Checkpoint?,
        say: @escaping (String) throws -> Void, tell: @escaping (Figure) throws -> Void
    ) {
        (self.settings, self.compute, self.precision, self.config, self.checkpoint) = (settings, compute, precision, config, checkpoint)
        (self.say, self.tell) = (say, tell)
    }

    var rounds: Int { settings.rounds ?? 5 }
    func isNamed(_ part: any BenchPart.Type) -> Bool { settings.named.contains(part.name) }

    /// The model, for parts that need one.
    func model() throws -> Checkpoint {
        guard let checkpoint else { preconditionFailure("part \(part) needs a model and does not say so") }
        return checkpoint
    }

    func report(_ figure: Figure) throws {
        var figure = figure
        figure.part = part
        figures.append(figure)
        try tell(figure)
    }

    /// Matrix products at the run's precision.
    var productLimit: Ceiling? { ceilings.products[precision] }
}
