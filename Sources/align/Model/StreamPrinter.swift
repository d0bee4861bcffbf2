import Models
import Tokenizers

/// Prints a completion as its tokens come; keeps the failure of standard output for whoever can throw it.
final class StreamPrinter {
    private var text: CompletionText?
    private let hidden: Set<Int32>
    private let least: Int
    private var count = 0
    private var failure: Output.Failure?
    private var isFirst = true
    private var endsLine = false

    /// - Parameters:
    ///   - tokenizer: nil prints ids.
    ///   - sampling: What ends a completion is no part of its text.
    init(_ tokenizer: Tokenizer?, _ sampling: Sampling) {
        text = tokenizer.map { CompletionText($0, stopStrings: sampling.stopStrings) }
        (hidden, least) = (Set(sampling.stopIDs), sampling.minNewTokens)
    }

    /// - Returns: Whether there is someone to print for.
    func print(_ token: Int32) -> Bool {
        guard failure == nil else { return false }
        count += 1
        if text == nil { write((isFirst ? "" : " ") + "\(token)") } else if !hidden.contains(token) { write(text?.append(token, mayStop: count >= least) ?? "") }
        isFirst = false
        return failure == nil
    }

    /// What is left of the text, and the end of the line.
    func finish() throws(Output.Failure) {
        write(text?.finish() ?? "")
        if !endsLine { write("\n") }
        if let failure { throw failure }
    }

    private func write(_ text: String) {
        guard failure == nil, !text.isEmpty else { return }
        endsLine = text.hasSuffix("\n")
        do throws(Output.Failure) { try Output.write(text) } catch { failure = error }
    }
}
