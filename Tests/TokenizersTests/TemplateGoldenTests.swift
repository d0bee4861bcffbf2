import Foundation
import Serialization
import Testing

@testable import Tokenizers

@Suite("Chat templates, golden") struct TemplateGoldenTests {
    /// 2026-01-15T09:05:00, the moment the goldens were made for.
    static var clock: tm {
        var clock = tm()
        (clock.tm_year, clock.tm_mon, clock.tm_mday, clock.tm_hour, clock.tm_min, clock.tm_wday, clock.tm_yday) = (126, 0, 15, 9, 5, 4, 14)
        return clock
    }

    static func outcome(_ source: String, _ golden: JSON, messages: [JSON], tools: JSON?, prompt: Bool) -> Result<ChatTemplate.Rendering, TemplateError> {
        var variables: [String: JSON] = [:]
        for key in ["bos_token", "eos_token"] { if let value = golden[key], !value.isNull { variables[key] = value } }
        do throws(TemplateError) {
            let template = try ChatTemplate(source: source)
            return .success(
                try template.rendering(messages: messages, tools: tools, addGenerationPrompt: prompt, variables: variables, clock: clock))
        } catch {
            return .failure(error)
        }
    }

    @Test("every case of every template", arguments: SharedFiles.names(in: "fixtures/templates", suffix: ".golden.json"))
    func template(name: String) throws {
        let folder = "fixtures/templates/"
        guard let source = SharedFiles.text(folder + name + ".jinja"), let golden = try SharedFiles.json(folder + name + ".golden.json") else { return }
        var passed = 0
        let cases = golden["cases"]?.array ?? []
        for (index, item) in cases.enumerated() {
            let tools = item["tools"].flatMap { $0.isNull ? nil : $0 }
            let outcome = Self.outcome(
                source, golden, messages: item["messages"]?.array ?? [], tools: tools, prompt: item["add_generation_prompt"]?.bool ?? false)
            let label = "\(name)[\(index)] \(item["name"]?.string ?? "")"
            switch outcome {
            case let .success(rendering):
                guard let expected = item["rendered"]?.string else {
                    Issue.record("\(label): rendered \(rendering.text.debugDescription), expected the error \(item["error"]?.text() ?? "?")")
                    continue
                }
                let matches = same(rendering.text, expected)
                #expect(matches, "\(label): \(rendering.text.debugDescription) instead of \(expected.debugDescription)")
                let spans = (item["generation_spans"]?.array ?? []).map { $0.array?.compactMap(\.int) ?? [] }
                let found = rendering.generationSpans.map { [Self.scalars(rendering.text, $0.lowerBound), Self.scalars(rendering.text, $0.upperBound)] }
                let agrees = found == spans || item["generation_spans"] == nil && found.allSatisfy { $0[0] == $0[1] }
                #expect(agrees, "\(label): spans \(found) instead of \(spans)")
                if matches && agrees { passed += 1 }
            case let .failure(error):
                guard let expected = item["error"] else {
                    Issue.record("\(label): \(error), expected \(item["rendered"]?.string?.debugDescription ?? "?")")
                    continue
                }
                if expected["kind"]?.string == "raise_exception" {
                    #expect(error == .raised(message: expected["message"]?.string ?? ""), "\(label): \(error)")
                }
                passed += 1
            }
        }
        print("\(name): \(passed) of \(cases.count)")
    }

    static func scalars(_ text: String, _ bytes: Int) -> Int { text.utf8.prefix(bytes).reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) } }

    @Test("every one-line template") func snippets() throws {
        guard let golden = try SharedFiles.json("fixtures/templates/snippets.json") else { return }
        let settings: JSON = ["bos_token": "<s>", "eos_token": "</s>"]
        let cases = golden["cases"]?.array ?? []
        var passed = 0
        for item in cases {
            let source = item["template"]?.string ?? ""
            let outcome = Self.outcome(source, settings, messages: golden["messages"]?.array ?? [], tools: nil, prompt: false)
            switch (outcome, item["rendered"]?.string) {
            case let (.success(rendering), expected?):
                let matches = same(rendering.text, expected)
                #expect(matches, "\(source): \(rendering.text.debugDescription) instead of \(expected.debugDescription)")
                if matches { passed += 1 }
            case (.failure, nil): passed += 1
            case let (.success(rendering), nil): Issue.record("\(source): \(rendering.text.debugDescription), expected an error")
            case let (.failure(error), expected?): Issue.record("\(source): \(error), expected \(expected.debugDescription)")
            }
        }
        print("snippets: \(passed) of \(cases.count)")
    }
}
