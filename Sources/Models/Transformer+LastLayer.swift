import Tensors

/// Rows of a pack whose hidden states somebody reads. The last layer owes the others its keys and values alone: queries, attention and the
/// feed-forward part, two thirds of its work and more, are left out for them.
///
/// A row's bits are the same as if all were computed.
struct RowsRead {
    /// In order, each once.
    let rows: [Int32]
    /// The same as stretches of neighbours.
    let runs: [Range<Int>]

    /// nil where leaving out would not pay: most rows are read, or they lie so scattered that every few of them ask for a segment's keys anew.
    init?(_ points: some Sequence<Int32>, of count: Int) {
        var isRead = [Bool](repeating: false, count: count)
        for point in points { isRead[Int(point)] = true }
        var runs: [Range<Int>] = []
        for row in isRead.indices where isRead[row] {
            if let last = runs.last, last.upperBound == row { runs[runs.count - 1] = last.lowerBound..<row + 1 } else { runs.append(row..<row + 1) }
        }
        rows = isRead.indices.filter { isRead[$0] }.map(Int32.init)
        self.runs = runs
        guard 4 * rows.count <= 3 * count, 32 * runs.count <= count else { return nil }
    }

    /// Those that a batch scores or reads out.
    init?(_ batch: SegmentTree) { self.init([batch.predictors, batch.readoutPoints].joined(), of: batch.tokenCount) }

    /// The parts of segments whose queries are read, with all that they see.
    func parts(of segments: [AttentionSegment]) -> [AttentionSegment] {
        segments.flatMap { segment in
            runs.compactMap { run in
                let part = run.clamped(to: segment.queries)
                return part.isEmpty ? nil : segment.part(part)
            }
        }
    }

    func keys(_ dropoutKeys: [UInt64]?) -> [UInt64]? { dropoutKeys.map { keys in rows.map { keys[Int($0)] } } }
}

extension AttentionSegment {
    /// Some of the queries, which see their own segment's earlier rows as a range before them.
    fileprivate func part(_ part: Range<Int>) -> AttentionSegment {
        guard let own = keys.last, part != queries else { return self }
        let first = own.lowerBound + part.lowerBound - queries.lowerBound
        let before = own.lowerBound..<first
        return AttentionSegment(queries: part, keys: keys.dropLast() + (before.isEmpty ? [] : [before]) + [first..<first + part.count])
    }
}

/// What the last layer's backward needs where only some rows were computed: activations after attention, of these rows alone.
struct LastLayer {
    let read: RowsRead
    let activations: LayerActivations
}

extension Transformer {
    /// The last block for the rows that are read: `output` gets them and keeps what it held elsewhere.
    func forwardLast(
        _ read: RowsRead, _ a: LayerActivations, rotation: Rotation, plan: AttentionPlan, dropoutKeys: [UInt64]? = nil, into output: Matrix
    ) -> LastLayer {
        let index = layers.count - 1
        var part = plan
        part.segments = read.parts(of: plan.segments)
        attend(index, a, rotation: rotation, plan: part, dropoutKeys: dropoutKeys)
        let rows = read.rows.count
        let input = workspace.matrix("last.input", rows: rows, columns: config.hiddenSize)
        let b = activations("last", rows: rows, input: input)
        guard rows > 0 else { return LastLayer(read: read, activations: b) }
        gatherRows(a.input, read.rows, into: input, on: compute)
        gatherRows(a.attended, read.rows, into: b.attended, on: compute)
        let narrow = workspace.matrix("last.output", rows: rows, columns: config.hiddenSize)
        feed(index, b, dropoutKeys: read.keys(dropoutKeys), into: narrow)
        replaceRows(read.rows, of: output, with: narrow, on: compute)
        return LastLayer(read: read, activations: b)
    }

    /// Backward of `forwardLast`; `dx` is zero in rows that nobody read.
    func backwardLast(_ last: LastLayer, _ a: LayerActivations, rotation: Rotation, trees: [[AttentionSegment]], dropoutKeys: [UInt64]?, isLast: Bool, dx: Matrix) {
        let (index, rows) = (layers.count - 1, last.read.rows)
        let dAttended = workspace.operand("dAttended", rows: dx.rows, columns: attentionWidth, precision: precision)
        if !rows.isEmpty {
            let narrow = workspace.matrix("last.dx", rows: rows.count, columns: config.hiddenSize)
            gatherRows(dx, rows, into: narrow, on: compute)
            let dNarrow = workspace.operand("last.dAttended", rows: rows.count, columns: attentionWidth, precision: precision)
            feedBackward(index, last.activations, dropoutKeys: last.read.keys(dropoutKeys), dx: narrow, dAttended: dNarrow)
            replaceRows(rows, of: dx, with: narrow, on: compute)
            replaceRows(rows, of: dAttended, with: dNarrow, on: compute)
        }
        // Queries that were left out have no gradient.
        clear(queryKeyValueGradient(dx.rows).columns(0..<attentionWidth), on: compute)
        let parts = trees.map { last.read.parts(of: $0) }.filter { !$0.isEmpty }
        attendBackward(index, a, dAttended: dAttended, rotation: rotation, trees: parts, dropoutKeys: dropoutKeys, isLast: isLast, dx: dx)
    }
}
