/// How far a sitting has come.
public struct LabelProgress: Sendable, Equatable {
    public var done: Int
    public var wanted: Int
    /// Votes of this sitting, undone ones subtracted, and its seconds.
    public var votes: Int
    public var seconds: Double

    public init(done: Int, wanted: Int, votes: Int, seconds: Double) {
        (self.done, self.wanted, self.votes, self.seconds) = (done, wanted, votes, seconds)
    }

    public var share: Double { wanted == 0 ? 1 : Double(done) / Double(wanted) }
    /// A minute; nil until there is something to tell it by.
    public var rate: Double? { votes > 0 && seconds > 0 ? Double(votes) * 60 / seconds : nil }
    public var secondsLeft: Double? { rate.map { Double(max(0, wanted - done)) / $0 * 60 } }

    /// `━━━━━─────`
    public func bar(width: Int) -> String {
        let filled = Int((share * Double(width)).rounded(.down))
        return String(repeating: "━", count: min(width, filled)) + String(repeating: "─", count: max(0, width - filled))
    }

    /// `12 of 50   24 %`: what is known of answers that a program gives.
    public var counts: String { "\(done) of \(wanted)   \(Int(share * 100)) %" }

    /// `12 of 50   24 %   6.1 a minute, 6m20s left`
    public var text: String {
        var text = counts
        if let rate, let left = secondsLeft {
            let tenths = Int((rate * 10).rounded()), whole = Int(left.rounded())
            let time = whole >= 3600 ? "\(whole / 3600)h\(two(whole / 60 % 60))m" : "\(whole / 60)m\(two(whole % 60))s"
            text += "   \(tenths / 10).\(tenths % 10) a minute, \(time) left"
        }
        return text
    }

    private func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
