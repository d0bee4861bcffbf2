import Tokenizers

extension GGUFVocabulary {
    /// The vocabulary that a GGUF file carries; nil if it has none. The file need not hold a model.
    public init?(_ file: GGUFFile) throws(CheckpointError) {
        guard let vocabulary = try GGUFLlama.vocabulary(file) else { return nil }
        self = vocabulary
    }
}
