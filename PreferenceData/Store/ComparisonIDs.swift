/// Ids of comparisons, 64 hexadecimal digits each, in 32 bytes of memory: a run may train on millions.
public struct ComparisonIDs: RandomAccessCollection, Sendable {
    private var packed: [UInt8] = []
    /// By position, ids that somebody else's program wrote in other characters.
    private var others: [Int: String] = [:]
    public init() {}

    public var startIndex: Int { 0 }
    public var endIndex: Int { packed.count / 32 }

    public subscript(position: Int) -> String {
        if let other = others[position] { return other }
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: packed[32 * position..<32 * (position + 1)].flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    public mutating func append(_ id: String) {
        let digits = id.utf8.compactMap { byte -> UInt8? in
            switch byte {
            case 48...57: byte - 48
            case 97...102: byte - 87
            default: nil
            }
        }
        guard id.utf8.count == 64, digits.count == 64 else {
            others[endIndex] = id
            packed += [UInt8](repeating: 0, count: 32)
            return
        }
        for i in stride(from: 0, to: 64, by: 2) { packed.append(digits[i] << 4 | digits[i + 1]) }
    }
}
