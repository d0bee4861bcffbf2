import Models
import Serialization

/// `sampling/sampling.json`: which tokens survive penalties and filters, with what probability, and what a uniform number draws.
struct SamplingPart: VerifyPart {
    static let folder = "sampling"

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".json") {
            context.guarded("sampling/\(name)") {
                let file = try GoldenFile("\(folder)/\(name)")
                let logits = try file.root.member("logits").elements(), history = try file.root.optional("history")?.ids() ?? []
                let tolerance = try Tolerance.absolute(file.root.optional("tolerance")?.optional("probabilities")?.number() ?? 1e-6)
                for (index, node) in try file.root.member("cases").elements().enumerated() {
                    context.test("sampling/\(index) \(Self.label(node))") { recorder in
                        let row = try Self.row(node, logits)
                        let found = TokenDistribution(
                            try logits[row].numbers().map { Float($0) }, sampling: try Self.sampling(node.member("settings")), prompt: history, compute: context.compute)
                        recorder.equal("kept", found.tokens, golden: try node.member("kept").ids())
                        recorder.compare("probabilities", found.probabilities, golden: try node.member("probabilities").numbers(), tolerance)
                        if let entropy = try node.optional("entropy")?.number() { recorder.compare("entropy", found.entropy, golden: entropy, .absolute(1e-5)) }
                    }
                }
                if let node = file.root.optional("inverse_cdf") {
                    context.test("sampling/inverse_cdf") { recorder in
                        let found = TokenDistribution(try logits[Self.row(node, logits)].numbers().map { Float($0) }, sampling: Sampling(), compute: context.compute)
                        let drawn = try node.member("uniform").numbers().map { found.token(at: $0) ?? -1 }
                        recorder.equal("tokens", drawn, golden: try node.member("token").ids())
                    }
                }
                context.remember(uncompared: file.uncompared(), of: "sampling/\(name)")
            }
        }
    }

    private static func row(_ node: GoldenNode, _ logits: [GoldenNode]) throws -> Int {
        let row = try node.member("logits")
        let index = try row.integer()
        guard logits.indices.contains(index) else { throw GoldenError.wrongKind(file: node.file.path, path: row.path, found: "\(index)", expected: "a row of \"logits\"") }
        return index
    }

    private static func label(_ node: GoldenNode) -> String {
        let settings = node.json["settings"]?.object?.members.map { "\($0.key) \($0.value.text())" } ?? []
        return settings.isEmpty ? "plain" : settings.joined(separator: " ")
    }

    /// - Throws: `GoldenError.wrongKind` for a rule that sampling does not have.
    private static func sampling(_ node: GoldenNode) throws -> Sampling {
        var sampling = Sampling()
        for member in node.json.object?.members ?? [] {
            let value = try node.member(member.key)
            switch member.key {
            case "temperature": sampling.temperature = try value.number()
            case "top_k": sampling.topK = try value.integer()
            case "top_p": sampling.topP = try value.number()
            case "min_p": sampling.minP = try value.number()
            case "typical_p": sampling.typicalP = try value.number()
            case "epsilon_cutoff": sampling.epsilonCutoff = try value.number()
            case "eta_cutoff": sampling.etaCutoff = try value.number()
            case "repetition_penalty": sampling.repetitionPenalty = try value.number()
            case "no_repeat_ngram": sampling.noRepeatNgram = try value.integer()
            default: throw GoldenError.wrongKind(file: node.file.path, path: value.path, found: "the rule \(member.key)", expected: "one that sampling has")
            }
        }
        return sampling
    }
}
