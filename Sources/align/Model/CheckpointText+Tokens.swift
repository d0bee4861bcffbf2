import Checkpoints
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
        let tokenizer = try requiredTokenizer()
        var ids = tokenizer.encode(text, addSpecialTokens: true)
        // Some tokenizers close every text; a prompt goes on.
        if let eos = tokenizer.eosID, ids.last == eos, tokenizer.encode(text).last != eos { ids.removeLast() }
        return ids
    }
}
