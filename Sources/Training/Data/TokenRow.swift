/// A row of token ids that a stage trains on.
protocol TokenRow: Sendable {
    /// What decides to which side of a split the row goes: rows with one prompt stay together.
    var splitKey: [Int32] { get }
    /// All tokens, parts apart, for the hash of the data.
    var parts: [[Int32]] { get }
    /// Of all parts, tokens that a batch would hold at most.
    var tokenCount: Int { get }
    func write(to bytes: inout RowBytes)
    /// Reads what `write` wrote.
    init(from parts: inout RowParts) throws(RowParts.Damaged)
}

private func ones(_ mask: [Bool]?) -> [Int32]? { mask?.map { $0 ? 1 : 0 } }

extension PairRow: TokenRow {
    var splitKey: [Int32] { prompt }
    var parts: [[Int32]] { [prompt, chosen, rejected] + [ones(chosenMask), ones(rejectedMask)].compactMap { $0 } }
    var tokenCount: Int { plainTokens }

    func write(to bytes: inout RowBytes) {
        for tokens in [prompt, chosen, rejected] { bytes.add(tokens) }
        for mask in [chosenMask, rejectedMask] { bytes.add(mask: mask) }
        bytes.add(origin)
    }

    init(from parts: inout RowParts) throws(RowParts.Damaged) {
        self.init(prompt: try parts.tokens(), chosen: try parts.tokens(), rejected: try parts.tokens())
        (chosenMask, rejectedMask) = (try parts.mask(), try parts.mask())
        origin = try parts.text()
    }
}

extension UnpairedRow: TokenRow {
    var splitKey: [Int32] { prompt }
    var parts: [[Int32]] { [prompt, completion, [isDesirable ? 1 : 0]] + [ones(mask)].compactMap { $0 } }
    var tokenCount: Int { prompt.count + completion.count }

    func write(to bytes: inout RowBytes) {
        bytes.add(prompt)
        bytes.add(completion)
        bytes.add(isDesirable)
        bytes.add(mask: mask)
        bytes.add(origin)
    }

    init(from parts: inout RowParts) throws(RowParts.Damaged) {
        self.init(prompt: try parts.tokens(), completion: try parts.tokens(), isDesirable: try parts.flag())
        mask = try parts.mask()
        origin = try parts.text()
    }
}

extension SupervisedRow: TokenRow {
    var splitKey: [Int32] { Array(tokens.prefix(mask.firstIndex(of: true) ?? tokens.count)) }
    var parts: [[Int32]] { [tokens, mask.map { $0 ? 1 : 0 }] }
    var tokenCount: Int { tokens.count }

    func write(to bytes: inout RowBytes) {
        bytes.add(tokens)
        bytes.add(mask: mask)
        bytes.add(origin)
    }

    init(from parts: inout RowParts) throws(RowParts.Damaged) {
        let tokens = try parts.tokens()
        guard let mask = try parts.mask(), mask.count == tokens.count else { throw RowParts.Damaged() }
        self.init(tokens: tokens, mask: mask, origin: try parts.text())
    }
}
