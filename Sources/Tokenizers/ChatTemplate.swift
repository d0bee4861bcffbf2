import Foundation
import Serialization

/// A chat template: Jinja source that turns messages into the text a model was trained on.
///
/// The language is Jinja 3.1's as `transformers` sets it up: `trim_blocks` and `lstrip_blocks`, loop controls, `tojson` that keeps
/// characters as they are, `raise_exception`, `strftime_now` and `{% generation %}`. Templates may come from anywhere: rendering
/// is bounded in steps, depth and output, and can reach nothing but its variables.
public struct ChatTemplate: Sendable {
    /// The Jinja source.
    public let source: String
    /// What one rendering may cost.
    public var limits = TemplateLimits()
    let statements: [TemplateStatement]

    /// - Throws: `TemplateError.syntax` or `.unsupported` with the line, `.limit` for nesting that is too deep.
    public init(source: String) throws(TemplateError) {
        self.source = source
        statements = try TemplateParser.parse(source)
    }

    /// A rendered conversation.
    public struct Rendering: Sendable, Equatable {
        public var text: String
        /// UTF-8 byte ranges of `text` that the template marks as the model's own (`{% generation %}`).
        public var generationSpans: [Range<Int>]
    }

    /// Renders a conversation.
    /// - Parameters:
    ///   - messages: Objects with `role`, `content` and what else the template reads.
    ///   - tools: An array of tool definitions; absent tools are `none` in the template.
    ///   - addGenerationPrompt: End with the header of the turn that the model is to write.
    ///   - variables: Others that the template reads, such as `bos_token`, `eos_token`, `enable_thinking`.
    /// - Throws: `TemplateError`; `.raised` when the template itself refuses the conversation.
    public func render(
        messages: [JSON], tools: JSON? = nil, addGenerationPrompt: Bool, variables: [String: JSON] = [:]
    ) throws(TemplateError) -> String {
        try rendering(messages: messages, tools: tools, addGenerationPrompt: addGenerationPrompt, variables: variables).text
    }

    /// Renders a conversation, with the spans that the template marks as generated.
    /// - Throws: As `render`.
    public func rendering(
        messages: [JSON], tools: JSON? = nil, addGenerationPrompt: Bool, variables: [String: JSON] = [:]
    ) throws(TemplateError) -> Rendering {
        var now = time(nil)
        var clock = tm()
        localtime_r(&now, &clock)
        return try rendering(
            messages: messages, tools: tools, addGenerationPrompt: addGenerationPrompt, variables: variables, clock: clock)
    }

    /// Renders a conversation as if it were another moment, so that a dated prompt can be had again.
    /// - Parameter clock: What `strftime_now` takes as now.
    /// - Throws: As `render`.
    public func rendering(
        messages: [JSON], tools: JSON?, addGenerationPrompt: Bool, variables: [String: JSON], clock: tm
    ) throws(TemplateError) -> Rendering {
        var all: [String: TemplateValue] = [
            "tools": .none, "documents": .none, "add_generation_prompt": .bool(addGenerationPrompt),
            "messages": try TemplateValue(.array(messages)),
        ]
        for (name, value) in variables { all[name] = try TemplateValue(value) }
        if let tools { all["tools"] = try TemplateValue(tools) }
        let interpreter = TemplateInterpreter(limits: limits, clock: clock, variables: all)
        let text = try interpreter.run(statements)
        return Rendering(text: text, generationSpans: interpreter.generationSpans)
    }
}
