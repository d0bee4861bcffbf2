import PreferenceData

/// What data preparation found, before anything is trained: `--dry-run` prints it.
public struct Preflight: Sendable {
    /// A row that cannot be trained on, and why.
    public struct Dropped: Sendable, Equatable {
        public var origin: String, reason: String
        public init(origin: String, reason: String) { (self.origin, self.reason) = (origin, reason) }
    }
    /// Token counts of one part of the rows.
    public struct Lengths: Sendable, Equatable {
        public var name: String, minimum: Int, median: Int, maximum: Int, total: Int
        init(_ name: String, _ counts: [Int32]) {
            let sorted = counts.sorted()
            self.name = name
            (minimum, maximum) = (Int(sorted.first ?? 0), Int(sorted.last ?? 0))
            median = sorted.isEmpty ? 0 : Int(sorted[sorted.count / 2])
            total = counts.reduce(0) { $0 + Int($1) }
        }
    }

    public var stage = ""
    public var rows = 0
    public var evalRows = 0
    /// Record shapes found, with their counts.
    public var shapes: [(name: String, count: Int)] = []
    /// Rows left out by `--on-bad-row skip`: the first ones, and the number of all.
    public var badRows: [Dropped] = []
    public var badRowCount = 0
    /// Rows that there is nothing to train on in: the first ones, and the number of all.
    public var dropped: [Dropped] = []
    public var droppedCount = 0
    /// Rows of which a completion was cut to `--max-length`.
    public var truncated = 0
    /// Rows whose prompt and completion share a token across their boundary, so that the split moved to the left of it.
    public var boundaryMerges = 0
    /// Pairs whose two completions are the same tokens: they teach nothing.
    public var identicalPairs = 0
    /// `the model's chat template`, `none (raw text)`, `token ids`, …
    public var template = ""
    /// What else was decided about the rows, a line each.
    public var notes: [String] = []
    public var lengths: [Lengths] = []
    /// The first row as text; tokens the loss counts stand between ⟦ and ⟧.
    public var example = ""
    /// Prompt tokens of the first few held-out rows, for samples.
    public var heldOutPrompts: [[Int32]] = []
    public var stepsPerEpoch = 0
    public var steps = 0
    /// Plain tokens of one epoch.
    public var tokensPerEpoch = 0
    /// Bytes, for the largest micro-step; nil if the model does not say.
    public var memoryEstimate: Int?
    /// Bytes of the rows on the disk, until the run ends, and in memory: where each row lies, and what is not on the disk.
    public var rowsOnDisk = 0, rowsInMemory = 0
    /// Seconds, from one micro-step forward and backward; nil unless measured (`--dry-run`).
    public var timeEstimate: Double?

    public init() {}

    /// Rows that are listed one by one.
    private static let listed = 1000

    mutating func skip(_ row: Dropped) {
        badRowCount += 1
        if badRows.count < Self.listed { badRows.append(row) }
    }

    mutating func drop(_ row: Dropped) {
        droppedCount += 1
        if dropped.count < Self.listed { dropped.append(row) }
    }

    /// Takes in what was found in other rows.
    mutating func add(_ other: Preflight) {
        badRows += other.badRows
        badRowCount += other.badRowCount
        dropped += other.dropped
        droppedCount += other.droppedCount
        truncated += other.truncated
        boundaryMerges += other.boundaryMerges
    }

    /// What a reader tells of the rows, once all are read.
    mutating func note(_ report: ReadReport) {
        shapes = report.shapes.map { ($0.shape.rawValue, $0.count) }
        badRows = report.badRows.map { Dropped(origin: "\($0.file):\($0.line)", reason: "\($0.reason) \($0.remedy)") } + badRows
        badRowCount += report.badRowCount
    }
}
