import Foundation

/// A file of records, and how much of it is wanted.
///
/// - weight 1: every row once.
/// - weight below 1: that share of the rows, rounded to a whole number of them. A hash of seed, file number and row number
///   says which, so they are the same in every run; they stay in the file's order.
/// - weight above 1: the whole file so many times, then the share that the fraction says: 2.25 is two copies and a quarter.
public struct RecordFile: Sendable, Equatable {
    public var path: String
    public var weight: Double

    static let largestWeight = 1000.0

    public init(path: String, weight: Double = 1) {
        self.path = path
        self.weight = weight
    }

    /// A file as a command line names it: `file.jsonl` or `file.jsonl:0.5`.
    ///
    /// Only a trailing colon and number count as a weight, and only where no file of the whole name exists.
    /// A weight that cannot be used is refused when the file is read.
    public static func parse(_ text: String) -> RecordFile {
        guard let colon = text.lastIndex(of: ":"), colon > text.startIndex else { return RecordFile(path: text) }
        let number = text[text.index(after: colon)...]
        let isNumber = number.utf8.allSatisfy { "0123456789.eE+-".utf8.contains($0) }
        guard isNumber, let weight = Double(String(number)), !FileManager.default.fileExists(atPath: text) else {
            return RecordFile(path: text)
        }
        return RecordFile(path: String(text[..<colon]), weight: weight)
    }

    /// The numbers of the rows, of `count`, that the weight's fraction takes, in order.
    func share(of count: Int, fileNumber: Int, seed: UInt64) -> [Int] {
        let share = Int((Double(count) * (weight - Double(Int(weight)))).rounded())
        guard share > 0 else { return [] }
        let stream = SplitMix64.mix(SplitMix64.mix(seed) &+ UInt64(fileNumber))
        let hashes = (0..<count).map { (hash: SplitMix64.mix(stream &+ UInt64($0)), row: $0) }
        return hashes.sorted { ($0.hash, $0.row) < ($1.hash, $1.row) }.prefix(share).map(\.row).sorted()
    }
}
