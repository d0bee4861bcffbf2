/// The one batch shape: token segments packed without padding, each attending to its ancestors and causally to itself.
///
/// A document is a root; a preference pair is a prompt with two children, so that the prompt is computed once for both;
/// n samples of one prompt are n children. Positions continue from the parent.
public struct SegmentTree: Sendable {
    public struct Segment: Sendable, Equatable {
        /// Index of the segment it continues; nil for a root.
        public var parent: Int?
        /// Its tokens in the pack.
        public var range: Range<Int>
        /// Position of its first token, counted from the root's.
        public var firstPosition: Int
    }

    public private(set) var tokens: [Int32] = []
    public private(set) var positions: [Int32] = []
    public private(set) var segments: [Segment] = []
    /// Token index whose hidden state predicts each scored token, and that token: in the order of rows.
    public private(set) var predictors: [Int32] = []
    public private(set) var targets: [Int32] = []
    public private(set) var rowOffsets: [Int] = [0]
    /// Tokens at whose hidden states a score head is read, in the order they were asked for.
    public private(set) var readoutPoints: [Int32] = []
    /// Whether a segment has children, in the order of segments.
    private var isInner: [Bool] = []
    /// Divides the logits of scored tokens: that at which the rows were sampled where ratios are taken, else 1.
    public var temperature: Double

    public init(temperature: Double = 1) {
        precondition(temperature > 0, "temperature \(temperature)")
        self.temperature = temperature
    }

    public var tokenCount: Int { tokens.count }
    public var scoredTokenCount: Int { targets.count }
    public var rowCount: Int { rowOffsets.count - 1 }
    /// Tokens that an implementation without shared prefixes would process: each leaf's whole chain.
    public private(set) var plainTokenCount = 0

    /// Appends a segment and returns its index.
    public mutating func append(_ ids: [Int32], parent: Int? = nil) -> Int {
        precondition(parent.map { segments.indices.contains($0) } ?? true, "parent \(parent ?? -1) of \(segments.count) segments")
        let first = parent.map { segments[$0].firstPosition + segments[$0].range.count } ?? 0
        if let parent, !isInner[parent] {  // its tokens count with each of its leaves from now on
            isInner[parent] = true
            plainTokenCount -= first
        }
        isInner.append(false)
        plainTokenCount += first + ids.count
        segments.append(Segment(parent: parent, range: tokens.count..<tokens.count + ids.count, firstPosition: first))
        tokens += ids
        positions += ids.indices.map { Int32(first + $0) }
        return segments.count - 1
    }

    /// Declares one output row: the log-probs of the segment's tokens where `mask` is true (nil: all).
    ///
    /// A root's first token has no predecessor and so no log-prob; it is left out whatever the mask says.
    public mutating func addRow(segment: Int, mask: [Bool]? = nil) {
        let range = segments[segment].range
        precondition(mask.map { $0.count == range.count } ?? true, "mask of \(mask?.count ?? 0) for \(range.count) tokens")
        for i in range where mask?[i - range.lowerBound] ?? true {
            guard let predictor = i > range.lowerBound ? i - 1 : lastToken(of: segments[segment].parent) else { continue }
            predictors.append(Int32(predictor))
            targets.append(tokens[i])
        }
        rowOffsets.append(targets.count)
    }

    /// Asks for the score head's outputs at one token of `segment`.
    /// - Parameter offset: Of the token in the segment; nil is its last one (an empty segment's is its parent's).
    public mutating func addReadout(segment: Int, at offset: Int? = nil) {
        let range = segments[segment].range
        precondition(offset.map { $0 >= 0 && $0 < range.count } ?? true, "token \(offset ?? 0) of a segment of \(range.count)")
        guard let point = offset.map({ range.lowerBound + $0 }) ?? lastToken(of: segment) else {
            preconditionFailure("segment \(segment) and its ancestors have no token to read out")
        }
        readoutPoints.append(Int32(point))
    }

    /// The chain from the root to `segment`, leaving out empty segments other than itself.
    public func chain(of segment: Int) -> [Int] {
        var chain = [segment]
        var next = segments[segment].parent
        while let s = next {
            if !segments[s].range.isEmpty { chain.append(s) }
            next = segments[s].parent
        }
        return chain.reversed()
    }

    /// Segments grouped by their root, in order.
    public var trees: [[Int]] {
        var root: [Int] = []
        var groups: [[Int]] = []
        for (index, segment) in segments.enumerated() {
            if let parent = segment.parent {
                root.append(root[parent])
                groups[root[index]].append(index)
            } else {
                root.append(groups.count)
                groups.append([index])
            }
        }
        return groups
    }

    private func lastToken(of segment: Int?) -> Int? {
        guard let segment else { return nil }
        let range = segments[segment].range
        return range.isEmpty ? lastToken(of: segments[segment].parent) : range.upperBound - 1
    }
}
