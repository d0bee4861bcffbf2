import Tokenizers

/// Prints a completion as its tokens come; keeps the failure of standard output for whoever can throw it.
final class StreamPrinter {
    private var decoder: StreamingDecoder?
    private let hidden: Set<Int32>
    private var failure: Output.Failure?
    private var isFirst = true
    private var endsLine = false

    /// - Parameters:
    ///   - tokenizer: nil prints ids.
    ///   - hides: Tokens that end a completion, and are no part of its text.
    init(_ tokenizer: Tokenizer?, hides hidden: [Int32]) {
        decoder = tokenizer.map { StreamingDecoder($0) }
        self.hidden = Set(hidden)
    }

    /// - Returns: Whether there is someone to print for.
    func print(_ token: Int32) -> Bool {
        guard failure == nil else { return false }
        if decoder == nil { write((isFirst ? "" : " ") + "\(token)") } else if !hidden.contains(token) { write(decoder?.append(token) ?? "") }
        isFirst = false
        return failure == nil
    }

    /// What is left of the text, and the end of the line.
    func finish() throws(Output.Failure) {
        write(decoder?.finish() ?? "")
        if !endsLine { write("\n") }
        if let failure { throw failure }
    }

    private func write(_ text: String) {
        guard failure == nil, !text.isEmpty else { return }
        endsLine = text.hasSuffix("\n")
        do throws(Output.Failure) { try Output.write(text) } catch { failure = error }
    }
}
