import Foundation
import Serialization
import Tensors

/// Compares this build with golden numbers of other implementations.
struct VerifyCommand: Command {
    static let usage = Usage(
        "verify", "Compare this build with golden numbers, case by case.",
        [
            .optional("data", "DIR", "what paths in goldens that begin with shared/data/ resolve against", default: "data beside DIR"),
            .optional("model", "PATH", "the real model whose numbers a golden holds", default: "the cached SmolLM2"),
            .list("only", "PART", "only this part, such as models"),
            .optional("threads", "N", "threads to compute with", default: "one a processor"),
            .switched("json", "print one JSON object"),
        ],
        positionals: [Positional(placeholder: "DIR", help: "folder of goldens, one folder a part", count: .one)],
        example: "align verify shared/fixtures",
        notes: """
            Every case prints its largest error and its tolerance: the golden's own, else its part's. Parts are \
            \(VerifyParts.all.map { $0.folder }.joined(separator: ", ")).
            Exits with 0 if all cases that ran passed, 1 if one failed or a golden cannot be read, 66 if nothing ran.
            """)

    let folder: String
    let data: String?
    let model: String?
    let only: [String]
    let threads: Int?
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        folder = arguments.positionals[0]
        data = arguments.optionalText("data")
        model = arguments.optionalText("model")
        only = arguments.list("only")
        threads = try arguments.optionalInteger("threads", in: 1...1024, expected: "a number of threads, such as 2")
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        guard isFolder(folder) else { throw CommandError.missingFile(path: folder, what: "a folder of goldens") }
        if let model, !fileExists(model) { throw CommandError.missingFile(path: model, what: "a model") }
        let beside = URL(fileURLWithPath: folder).standardizedFileURL.deletingLastPathComponent().path
        let compute = try Compute(threads: threads)
        var lost: Output.Failure?
        let context = VerifyContext(data: data ?? existing(beside + "/data"), model: model, compute: compute) { result in
            guard !isJSON, lost == nil else { return }
            do throws(Output.Failure) { try Output.line(result.line) } catch { lost = error }
        }
        let folders = entries(of: folder).filter { isFolder("\(folder)/\($0)") && !$0.hasPrefix(".") && (only.isEmpty || only.contains($0)) }
        for part in VerifyParts.all where folders.contains(part.folder) { part.init().run("\(folder)/\(part.folder)", context) }
        for name in folders where !VerifyParts.all.contains(where: { $0.folder == name }) {
            UncoveredPart.run("\(folder)/\(name)", named: name, context)
        }
        if let lost { throw lost }
        for path in context.uncompared { Output.warn("nothing was compared with \(path)") }

        if isJSON {
            let counts = VerifyCase.Verdict.allCases.map { ($0.rawValue, JSON.integer(context.count($0))) }
            try Output.line(JSON.object(JSONObject([("cases", .array(context.cases.map(\.json)))] + counts)).text(pretty: true))
        } else {
            try Output.line(context.summary)
        }
        if context.count(.failed) > 0 { throw CommandError.failed }
        if context.count(.passed) == 0 { throw CommandError.nothingRan(path: folder) }
    }

    private func existing(_ path: String) -> String? { isFolder(path) ? path : nil }
}
