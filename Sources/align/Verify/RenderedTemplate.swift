import Serialization
import Tokenizers

/// A template rendered as the goldens' reference does.
struct RenderedTemplate {
    var text: String
    /// Start and end of the parts inside generation blocks, in Unicode scalars.
    var spans: [[Int]] = []

    init(
        _ source: String, messages: [JSON], tools: JSON?, adds: Bool, variables: [String: JSON], now: String
    ) throws(TemplateError) {
        let template = try ChatTemplate(source: source)
        text = try template.render(messages: messages, tools: tools, addGenerationPrompt: adds, variables: variables)
    }

    /// What the template's own raise_exception said.
    static func raisedMessage(_ error: TemplateError) -> String { "\(error)" }
}
