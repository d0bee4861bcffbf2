import Tokenizers

/// A completion's text as its tokens come, up to the first stop string; text that may be the beginning of one is held back.
public struct CompletionText: Sendable {
    private var decoder: StreamingDecoder
    private let stops: [(text: String, bytes: [UInt8])]
    private var pending: [UInt8] = []
    /// The stop string that appeared; of several in one piece the first, of those at one place the longest.
    public private(set) var stop: String?

    /// - Parameter stopStrings: Empty ones count for nothing.
    public init(_ tokenizer: Tokenizer, stopStrings: [String]) {
        decoder = StreamingDecoder(tokenizer)
        stops = stopStrings.filter { !$0.isEmpty }.map { ($0, Array($0.utf8)) }
    }

    /// The whole text of a finished completion.
    public static func of(_ tokens: [Int32], _ tokenizer: Tokenizer, _ sampling: Sampling) -> String {
        guard !sampling.stopStrings.isEmpty else { return tokenizer.decode(tokens, skipSpecialTokens: true) }
        var (text, result) = (CompletionText(tokenizer, stopStrings: sampling.stopStrings), "")
        for (index, token) in tokens.enumerated() { result += text.append(token, mayStop: index + 1 >= sampling.minNewTokens) }
        return result + text.finish()
    }

    /// - Parameter mayStop: Whether stop strings count yet; what is let pass never completes one later.
    /// - Returns: Text that is certain now.
    public mutating func append(_ token: Int32, mayStop: Bool = true) -> String {
        guard stop == nil else { return "" }
        pending += decoder.append(token).utf8
        guard mayStop else { return release(pending.count) }
        guard let match = firstMatch else { return release(pending.count - heldBack) }
        stop = match.text
        defer { pending = [] }
        return release(match.at)
    }

    /// What was held back when no more tokens come.
    public mutating func finish() -> String {
        guard stop == nil else { return "" }
        pending += decoder.finish().utf8
        return release(pending.count)
    }

    private mutating func release(_ count: Int) -> String {
        defer { pending.removeFirst(count) }
        return String(decoding: pending[..<count], as: UTF8.self)
    }

    private var firstMatch: (at: Int, text: String)? {
        for at in pending.indices {
            let here = stops.filter { pending[at...].starts(with: $0.bytes) }
            if let longest = here.max(by: { $0.bytes.count < $1.bytes.count }) { return (at, longest.text) }
        }
        return nil
    }

    /// Bytes at the end that begin a stop string.
    private var heldBack: Int {
        let longest = stops.map { $0.bytes.count - 1 }.max() ?? 0
        for count in stride(from: min(longest, pending.count), to: 0, by: -1) where stops.contains(where: { $0.bytes.starts(with: pending.suffix(count)) }) {
            return count
        }
        return 0
    }
}
