import Serialization
import Testing

@testable import Tokenizers

@Suite("Assistant spans") struct AssistantSpanTests {
    private func parts(_ source: String, _ messages: [JSON], _ variables: [String: JSON] = [:]) throws -> [String] {
        let (text, spans) = try ChatTemplate(source: source).assistantSpans(messages: messages, variables: variables)
        #expect(text == (try ChatTemplate(source: source).render(messages: messages, addGenerationPrompt: false, variables: variables)))
        let bytes = Array(text.utf8)
        return spans.map { String(decoding: bytes[$0], as: UTF8.self) }
    }
    private let talk = TemplateTests.messages(("user", "Hi"), ("assistant", "Grüezi 🙂"), ("user", "And?"), ("assistant", "Bye "))

    @Test("ChatML: a turn is its text and its end token, without the line end") func chatML() throws {
        #expect(try parts(TemplateTests.chatML, talk) == ["Grüezi 🙂<|im_end|>", "Bye <|im_end|>"])
        #expect(try parts(TemplateTests.chatML, TemplateTests.messages(("user", "x"))) == [])
        #expect(try parts(TemplateTests.chatML, TemplateTests.messages(("user", "x"), ("assistant", ""))) == ["<|im_end|>"])
        #expect(try ChatTemplate(source: TemplateTests.chatML).isPrefixPreserving(messages: talk, turn: 1))
    }

    @Test("a template without an end token keeps all that the turn adds") func withoutEnd() throws {
        let source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
        #expect(try parts(source, talk) == ["Grüezi 🙂\n\n", "Bye \n\n"])
    }

    @Test("generation blocks rule where there are some") func generation() throws {
        let source =
            "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content }}|{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
        #expect(try ChatTemplate(source: source).marksGeneration)
        #expect(try parts(source, talk) == ["Grüezi 🙂|", "Bye |"])
        #expect(!(try ChatTemplate(source: TemplateTests.chatML).marksGeneration))
    }

    @Test("a template that rewrites earlier turns is refused") func rewriting() throws {
        // The last message alone is marked, so what was rendered for one is not how two begin.
        let source = "{% for m in messages %}{{ '*' if loop.last }}{{ m.content }};{% endfor %}"
        do {
            _ = try ChatTemplate(source: source).assistantSpans(messages: talk)
            Issue.record("accepted")
        } catch TemplateError.notPrefixPreserving(let turn, let rendered, let found) {
            #expect(turn == 1)
            #expect(rendered.hasPrefix("*Hi") && found.hasPrefix("Hi"))
        }
        #expect(!(try ChatTemplate(source: source).isPrefixPreserving(messages: talk, turn: 1)))
    }

    @Test("the golden templates agree with their training variants") func golden() throws {
        guard let plain = SharedFiles.text("fixtures/templates/llama3.jinja"), let marked = SharedFiles.text("fixtures/templates/llama3_training.jinja") else { return }
        let variables: [String: JSON] = ["bos_token": "<s>"]
        #expect(try parts(plain, talk, variables) == (try parts(marked, talk, variables)))
        #expect(try parts(plain, talk, variables) == ["Grüezi 🙂<|eot_id|>", "Bye<|eot_id|>"])
    }

    @Test("spans meet token boundaries: the mask is made of whole tokens") func tokens() throws {
        guard let json = try SharedFiles.json("fixtures/tokenizers/smollm2/tokenizer.json"), let source = SharedFiles.text("fixtures/templates/smollm2.jinja") else { return }
        let tokenizer = try Tokenizer(json: json, config: nil, file: "smollm2")
        let (text, spans) = try ChatTemplate(source: source).assistantSpans(messages: talk)
        let tokens = tokenizer.encodeWithOffsets(text)
        for span in spans {
            let inside = tokens.filter { $0.range.overlaps(span) }
            #expect(inside.first?.range.lowerBound == span.lowerBound && inside.last?.range.upperBound == span.upperBound)
            #expect(tokenizer.token(inside.last?.id ?? -1) == "<|im_end|>")
        }
    }
}
