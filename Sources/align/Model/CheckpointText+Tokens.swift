import Checkpoints
import Models
import Serialization
import Tokenizers

extension CheckpointText {
    /// The tokenizer, for commands that do nothing without one.
    func requiredTokenizer() throws(CommandError) -> Tokenizer {
        guard let tokenizer else {
            throw .badData(path: path, reason: "it has no tokenizer, which text needs; put tokenizer.json beside the weights")
        }
        return tokenizer
    }

    /// The chat template, for commands that cannot do without one.
    func requiredTemplate() throws(CommandError) -> ChatTemplate {
        guard let chatTemplate else {
            let fault = chatTemplateFault.map { "its chat template cannot be used: \($0)" }
            throw .badData(path: path, reason: fault ?? "it has no chat template; give plain prompts, without --chat")
        }
        return chatTemplate
    }

    /// Tokens of a conversation up to where the assistant's next turn begins.
    func tokens(of messages: [JSON]) throws -> [Int32] {
        let tokenizer = try requiredTokenizer()
        return tokenizer.encode(try requiredTemplate().render(messages: messages, addGenerationPrompt: true, variables: tokenizer.templateVariables))
    }

    /// Tokens of raw text that is to be continued, with the begin-of-sequence token where the tokenizer adds one.
    func tokens(of text: String) throws(CommandError) -> [Int32] {
        try requiredTokenizer().promptTokens(text)
    }

    /// Tokens of a prompt and of the text that continues it. A token that would straddle both counts to the completion.
    /// - Parameter isChat: The prompt is a user message, the completion the assistant's answer, its end of turn included.
    func tokens(prompt: String, completion: String, isChat: Bool) throws -> (prompt: [Int32], completion: [Int32]) {
        let (start, whole): ([Int32], [Int32])
        if isChat {
            let question: JSON = ["role": "user", "content": .string(prompt)], answer: JSON = ["role": "assistant", "content": .string(completion)]
            let tokenizer = try requiredTokenizer()
            start = try tokens(of: [question])
            whole = tokenizer.encode(
                try requiredTemplate().render(messages: [question, answer], addGenerationPrompt: false, variables: tokenizer.templateVariables))
        } else {
            (start, whole) = (try tokens(of: prompt), try tokens(of: prompt + completion))
        }
        let shared = zip(start, whole).prefix { $0.0 == $0.1 }.count
        return (Array(whole[..<shared]), Array(whole[shared...]))
    }
}
