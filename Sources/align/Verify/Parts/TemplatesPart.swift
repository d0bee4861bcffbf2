import Foundation
import Serialization
import Tokenizers

/// `templates/`: chat templates rendered exactly, and the engine's single features.
struct TemplatesPart: VerifyPart {
    static let folder = "templates"

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".golden.json") {
            let label = "templates/\(name.dropLast(12))"
            context.guarded(label) {
                let file = try GoldenFile("\(folder)/\(name)")
                let path = "\(folder)/\(try file.root.member("template").text())"
                guard let data = FileManager.default.contents(atPath: path) else { throw GoldenError.unreadable(file: path, reason: "no such file") }
                let source = String(decoding: data, as: UTF8.self)
                context.test(label) { recorder in
                    for (i, node) in try file.root.member("cases").elements().enumerated() {
                        let what = node.json["name"]?.string ?? "case \(i)"
                        try compare(source, node, shared: file.root, what, &recorder)
                    }
                }
                context.remember(uncompared: file.uncompared(), of: label)
            }
        }
        let snippets = "\(folder)/snippets.json"
        guard fileExists(snippets) else { return }
        context.guarded("templates/snippets") {
            let file = try GoldenFile(snippets)
            for (i, node) in try file.root.member("cases").elements().enumerated() {
                context.test("templates/snippet \(i)") {
                    try compare(try node.member("template").text(), node, shared: file.root, "snippet", &$0)
                }
            }
        }
    }

    private func compare(_ source: String, _ node: GoldenNode, shared: GoldenNode, _ what: String, _ recorder: inout CaseRecorder) throws {
        let messages = try (node.optional("messages") ?? shared.member("messages")).elements().map(\.json)
        for key in ["messages", "tools", "documents"] { node.optional(key)?.markRead() }
        var variables: [String: JSON] = ["bos_token": "<s>", "eos_token": "</s>"]
        for key in ["bos_token", "eos_token"] { if let text = shared.json[key] { variables[key] = text } }
        variables["documents"] = .null
        let now = try shared.optional("now")?.text() ?? ""
        let adds = try node.optional("add_generation_prompt")?.bool() ?? false
        var rendered: RenderedTemplate?
        var fault: TemplateError?
        do throws(TemplateError) {
            rendered = try RenderedTemplate(source, messages: messages, tools: node.json["tools"], adds: adds, variables: variables, now: now)
        } catch { fault = error }

        guard let error = node.optional("error") else {
            let golden = try node.member("rendered").text()
            guard let rendered else { return recorder.fail("\(what): rendered", found: fault.map { "\($0)" } ?? "nothing", golden: golden) }
            if !golden.unicodeScalars.elementsEqual(rendered.text.unicodeScalars) {
                recorder.fail("\(what): rendered", found: difference(rendered.text, golden), golden: difference(golden, rendered.text))
            } else {
                recorder.equal(what, true, golden: true)
            }
            if let spans = node.optional("generation_spans") { recorder.equal("\(what): generation_spans", rendered.spans, golden: try spans.integerRows()) }
            return
        }
        guard let fault else { return recorder.fail("\(what): error", found: rendered?.text ?? "", golden: error.json.text()) }
        if try error.member("kind").text() == "raise_exception" {
            recorder.equal("\(what): message", RenderedTemplate.raisedMessage(fault), golden: try error.member("message").text())
        } else {
            recorder.equal("\(what): an error", true, golden: true)
        }
    }

    /// The part of `text` from a little before where it parts from `other`.
    private func difference(_ text: String, _ other: String) -> String {
        let shared = zip(text, other).prefix { $0 == $1 }.count
        return "… " + text.dropFirst(max(0, shared - 20)).prefix(120)
    }
}
