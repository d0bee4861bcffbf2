import Foundation
import Serialization
import Tokenizers

/// `templates/`: chat templates rendered exactly, and the engine's single features.
struct TemplatesPart: VerifyPart {
    static let folder = "templates"

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".json") {
            let label = "templates/\(name.hasSuffix(".golden.json") ? name.dropLast(12) : name.dropLast(5))"
            context.guarded(label) {
                let golden = try TemplateGolden(GoldenFile("\(folder)/\(name)"))
                if let template = golden.file.root.optional("template") {
                    let stated = try template.text()
                    let isShared = stated.hasPrefix("shared/data/")
                    guard let path = isShared ? context.dataPath(stated) : "\(folder)/\(stated)", let data = FileManager.default.contents(atPath: path) else {
                        return context.report(.missing(label, stated, remedy: isShared ? "name its folder with --data" : nil))
                    }
                    let source = String(decoding: data, as: UTF8.self)
                    if let feature = golden.unsupported(source) {
                        for node in golden.cases { node.markRead() }
                        return context.report(.notYet(label, feature))
                    }
                    context.test(label) { recorder in
                        for (i, node) in golden.cases.enumerated() {
                            try golden.compare(source, node, "case \(i)" + (node.json["name"]?.string.map { ", \($0)" } ?? ""), &recorder)
                        }
                    }
                } else {
                    for (i, node) in golden.cases.enumerated() {
                        context.test("\(label) \(i)") {
                            let source = try node.member("template").text()
                            try golden.compare(source, node, source, &$0)
                        }
                    }
                }
                context.remember(uncompared: golden.file.uncompared(), of: label)
            }
        }
    }
}

/// Conversations with what a template makes of each: of one template, or of one a case.
struct TemplateGolden {
    let file: GoldenFile
    let cases: [GoldenNode]
    private let clock: tm?
    /// Whether the file marks what the model is to write; where no case does, nothing is said about it.
    private let marksGeneration: Bool

    init(_ file: GoldenFile) throws {
        self.file = file
        cases = try file.root.member("cases").elements()
        if cases.isEmpty { throw GoldenError.wrongKind(file: file.path, path: "/cases", found: "empty", expected: "cases") }
        marksGeneration = cases.contains { $0.json["generation_spans"] != nil }
        guard let now = file.root.optional("now") else {
            clock = nil
            return
        }
        guard let moment = RenderedTemplate.clock(try now.text()) else {
            throw GoldenError.wrongKind(file: file.path, path: "/now", found: now.json.text(), expected: "a moment such as \"2026-01-15T09:05:00\"")
        }
        clock = moment
    }

    /// What of Jinja a template needs that this build does not have; nil if nothing, or if it is not meant to be rendered.
    func unsupported(_ source: String) -> String? {
        guard cases.contains(where: { $0.json["rendered"]?.string != nil }) else { return nil }
        do throws(TemplateError) { _ = try ChatTemplate(source: source) } catch {
            if case .unsupported = error { return "\(error)" }
        }
        return nil
    }

    func compare(_ source: String, _ node: GoldenNode, _ what: String, _ recorder: inout CaseRecorder) throws {
        let shared = file.root
        let conversation = try node.optional("messages") ?? shared.member("messages")
        for key in ["messages", "tools", "documents"] { (node.optional(key) ?? shared.optional(key))?.markRead() }
        let rendered = render(
            source, messages: try conversation.elements().map(\.json), tools: (node.optional("tools") ?? shared.optional("tools"))?.json,
            adds: try (node.optional("add_generation_prompt") ?? shared.optional("add_generation_prompt"))?.bool() ?? false,
            variables: variables(node))
        if let error = node.optional("error") {
            try compare(rendered, error: error, what, &recorder)
        } else {
            try compare(rendered, text: try node.member("rendered").text(), spans: node.optional("generation_spans"), what, &recorder)
        }
    }

    /// What templates find beside the conversation.
    private func variables(_ node: GoldenNode) -> [String: JSON] {
        var variables: [String: JSON] = ["bos_token": "<s>", "eos_token": "</s>", "documents": .null]
        for key in variables.keys { if let value = node.json[key] ?? file.json[key] { variables[key] = value } }
        return variables
    }

    private func render(
        _ source: String, messages: [JSON], tools: JSON?, adds: Bool, variables: [String: JSON]
    ) -> Result<RenderedTemplate, TemplateError> {
        do throws(TemplateError) {
            return .success(try RenderedTemplate(source, messages: messages, tools: tools, adds: adds, variables: variables, clock: clock))
        } catch {
            return .failure(error)
        }
    }

    private func compare(
        _ outcome: Result<RenderedTemplate, TemplateError>, text golden: String, spans: GoldenNode?, _ what: String,
        _ recorder: inout CaseRecorder
    ) throws {
        let stated = try spans?.integerRows() ?? []
        switch outcome {
        case let .failure(error): recorder.fail("\(what): rendered", found: "\(error)", golden: golden)
        case let .success(rendered):
            if golden.unicodeScalars.elementsEqual(rendered.text.unicodeScalars) {
                recorder.equal(what, true, golden: true)
            } else {
                recorder.fail("\(what): rendered", found: difference(rendered.text, golden), golden: difference(golden, rendered.text))
            }
            if marksGeneration { recorder.equal("\(what): generation_spans", rendered.spans, golden: stated.filter { $0.first != $0.last }) }
        }
    }

    private func compare(
        _ outcome: Result<RenderedTemplate, TemplateError>, error: GoldenNode, _ what: String, _ recorder: inout CaseRecorder
    ) throws {
        // Other errors than the template's own may be any.
        let isRaised = try error.member("kind").text() == "raise_exception"
        let golden = isRaised ? try error.member("message").text() : error.json.text()
        switch outcome {
        case let .success(rendered): recorder.fail("\(what): error", found: rendered.text, golden: golden)
        case let .failure(fault):
            guard isRaised else { return recorder.equal("\(what): an error", true, golden: true) }
            let found = RenderedTemplate.raisedMessage(fault) ?? "\(fault)"
            if found.unicodeScalars.elementsEqual(golden.unicodeScalars) {
                recorder.equal("\(what): message", true, golden: true)
            } else {
                recorder.fail("\(what): message", found: found, golden: golden)
            }
        }
    }

    /// The part of `text` from a little before where it parts from `other`.
    private func difference(_ text: String, _ other: String) -> String {
        let shared = zip(text.unicodeScalars, other.unicodeScalars).prefix { $0 == $1 }.count
        var excerpt = String.UnicodeScalarView()
        excerpt.append(contentsOf: text.unicodeScalars.dropFirst(max(0, shared - 20)).prefix(120))
        return "… " + String(excerpt)
    }
}
