/// Per-token quantities of several completions, without padding: row r is `values[offsets[r]..<offsets[r + 1]]`.
public struct Ragged: Sendable, Equatable {
    public var values: [Double]
    public var offsets: [Int]

    public init(values: [Double] = [], offsets: [Int] = [0]) {
        precondition(offsets.first == 0 && offsets.last == values.count, "offsets end at \(offsets.last ?? -1), there are \(values.count) values")
        self.values = values
        self.offsets = offsets
    }

    public init(rows: [[Double]]) {
        values = rows.flatMap { $0 }
        offsets = rows.reduce(into: [0]) { $0.append($0.last! + $1.count) }
    }

    public var rows: Int { offsets.count - 1 }
    public func range(_ row: Int) -> Range<Int> { offsets[row]..<offsets[row + 1] }
    public func count(_ row: Int) -> Int { offsets[row + 1] - offsets[row] }
    public subscript(row: Int) -> ArraySlice<Double> { values[range(row)] }
    public func sum(_ row: Int) -> Double { self[row].reduce(0, +) }
}
