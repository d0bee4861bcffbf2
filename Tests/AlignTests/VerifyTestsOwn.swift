import Foundation
import Serialization
import Testing

@testable import align

/// Goldens made here, from the formulas as they are written: what `verify` says of them needs no other file.
enum OwnGoldens {
    /// Three pairs of other lengths than the shared golden's.
    static func losses(seed: UInt64) -> JSON {
        var random = SeededNumbers(seed: seed)
        let lengths = [2, 5, 1, 3, 3, 4], T = 6, B = 3
        func rows() -> [[Double]] {
            lengths.map { n in (0..<T).map { $0 < n ? -Double.random(in: 0.05...3, using: &random) : 0 } }
        }
        let (policy, reference) = (rows(), rows())
        // log π − log π_ref of each answer.
        let ratios = zip(policy, reference).map { $0.reduce(0, +) - $1.reduce(0, +) }
        func padded(_ row: Int, _ value: Double) -> JSON { .array((0..<T).map { .number($0 < lengths[row] ? value : 0) }) }
        func example(
            _ type: String, _ parameters: JSONObject, beta: Double, _ losses: [Double]?, loss: Double, chosen: [Double], rejected: [Double]
        ) -> JSON {
            [
                "loss_type": .string(type), "params": .object(parameters), "loss": .number(loss),
                "per_example_loss": losses.map { .array($0.map { .number($0) }) } ?? .null,
                "rewards_chosen": .array((0..<B).map { .number(beta * ratios[$0]) }),
                "rewards_rejected": .array((0..<B).map { .number(beta * ratios[B + $0]) }),
                "grad_chosen": .array((0..<B).map { padded($0, chosen[$0]) }),
                "grad_rejected": .array((0..<B).map { padded(B + $0, rejected[$0]) }),
            ]
        }
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
        func softplus(_ x: Double) -> Double { log(1 + exp(x)) }
        func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

        // DPO with a share e of turned labels: −(1 − e)·log σ(βh) − e·log σ(−βh); its derivative by h is β·(σ(βh) − 1 + e).
        func dpo(_ type: String, beta: Double, smoothing e: Double, _ parameters: JSONObject) -> JSON {
            let h = (0..<B).map { ratios[$0] - ratios[B + $0] }
            let losses = h.map { (1 - e) * softplus(-beta * $0) + e * softplus(beta * $0) }
            let slopes = h.map { beta * (sigmoid(beta * $0) - 1 + e) / Double(B) }
            return example(type, parameters, beta: beta, losses, loss: mean(losses), chosen: slopes, rejected: slopes.map { -$0 })
        }
        // IPO: (h − 1/2β)², h of sums or of means over tokens.
        func ipo(_ type: String, beta: Double, ofMeans: Bool) -> JSON {
            func divisor(_ row: Int) -> Double { ofMeans ? Double(lengths[row]) : 1 }
            let distances = (0..<B).map { ratios[$0] / divisor($0) - ratios[B + $0] / divisor(B + $0) - 1 / (2 * beta) }
            let losses = distances.map { $0 * $0 }
            return example(
                type, JSONObject([("beta", .number(beta))]), beta: beta, losses, loss: mean(losses),
                chosen: (0..<B).map { 2 * distances[$0] / Double(B) / divisor($0) },
                rejected: (0..<B).map { -2 * distances[$0] / Double(B) / divisor(B + $0) })
        }
        let tokens = Double(lengths.prefix(B).reduce(0, +))
        let sft = example(
            "sft", JSONObject([("beta", 0.3)]), beta: 0.3, nil, loss: -policy.prefix(B).joined().reduce(0, +) / tokens,
            chosen: [Double](repeating: -1 / tokens, count: B), rejected: [Double](repeating: 0, count: B))
        func numbers(_ rows: [[Double]]) -> JSON { .array(rows.map { .array($0.map { .number($0) }) }) }
        return [
            "B": .integer(B), "T": .integer(T), "policy_logps": numbers(policy), "reference_logps": numbers(reference),
            "mask": .array(lengths.map { n in .array((0..<T).map { .integer($0 < n ? 1 : 0) }) }), "tolerance": ["loss": 1e-6, "grad": 1e-6],
            "cases": [
                dpo("sigmoid", beta: 0.2, smoothing: 0, JSONObject([("beta", 0.2)])),
                dpo("cdpo", beta: 0.7, smoothing: 0.15, JSONObject([("beta", 0.7), ("label_smoothing", 0.15)])),
                ipo("ipo", beta: 0.3, ofMeans: true), ipo("ipo_sum", beta: 0.4, ofMeans: false), sft,
                ["loss_type": "some_other", "params": ["beta": 0.1], "loss": 1],
            ],
        ]
    }

    /// Plain and linearly scaled frequencies of a head of 20, and a scaling that no build knows.
    static var rope: JSON {
        func example(_ name: String, _ parameters: JSON, base: Double, factor: Double) -> JSON {
            let inverse = (0..<10).map { JSON.number(pow(base, -Double($0) / 10) / factor) }
            return [
                "name": .string(name), "rope_parameters": parameters, "head_dim": 20, "max_position_embeddings": 512, "seq_len": nil,
                "inv_freq": .array(inverse), "attention_factor": 1.0,
            ]
        }
        return [
            "cases": [
                example("plain", ["rope_type": "default", "rope_theta": 5000.0], base: 5000, factor: 1),
                example("stretched", ["rope_type": "linear", "rope_theta": 20000.0, "factor": 3.0], base: 20000, factor: 3),
                example("unknown", ["rope_type": "of_tomorrow", "rope_theta": 20000.0], base: 20000, factor: 1),
            ]
        ]
    }
}

extension VerifyTests {
    private func compares(_ golden: JSON, _ name: String, passed: Int, keys: [String]) throws {
        let part = String(name.split(separator: "/")[0])
        let folder = try GoldenFolder()
        defer { folder.remove() }
        try folder.write(golden, name)
        let cases = try folder.verify(only: part)
        #expect(cases.count { $0.verdict == .passed } == passed && cases.count { $0.verdict == .notYet } == 1 && cases.count == passed + 1, "\(cases)")
        #expect(cases.allSatisfy { $0.verdict == .notYet || $0.error != nil && $0.tolerance == 1e-6 }, "\(cases)")
        // Every number in turn, not a sample of them.
        for number in golden.numbers() {
            guard number.path.count > 2, let index = Int(number.path[1]), index < passed, keys.contains(number.path[2]),
                let changed = number.value.changed(place: 0)
            else { continue }
            try folder.write(golden.replacing(number.path, by: changed), name)
            #expect(try folder.fails(part), "\(number.path.joined(separator: "/")): \(number.value.text()) became \(changed.text())")
        }
    }

    @Test("losses of formulas written here pass, and fail with one digit changed", arguments: [1, 2, 3] as [UInt64])
    func ownLosses(seed: UInt64) throws {
        let keys = ["loss", "per_example_loss", "rewards_chosen", "rewards_rejected", "grad_chosen", "grad_rejected"]
        try compares(OwnGoldens.losses(seed: seed), "losses/dpo.json", passed: 5, keys: keys)
        try compares(OwnGoldens.losses(seed: seed), "losses/of_another_name.json", passed: 5, keys: ["loss"])
    }

    @Test("rotary frequencies of formulas written here pass, and fail with one digit changed") func ownRope() throws {
        try compares(OwnGoldens.rope, "rope/frequencies.json", passed: 2, keys: ["inv_freq", "attention_factor"])
    }

    // MARK: Exit codes

    @Test("the exit code says what came of it: 0, 1 for a failure or a golden that cannot be read, 66 if nothing ran") func exitCodes() async throws {
        let folder = try GoldenFolder()
        defer { folder.remove() }
        func code() async -> ExitCode { await Align.run(["verify", folder.path, "--threads", "1"]) }
        #expect(await code() == .noInput)
        #expect(await Align.run(["verify", folder.path + "/nowhere"]) == .noInput)

        try folder.write(["cases": [["name": "a"], ["name": "b"]]], "merge/golden.json")
        #expect(await code() == .noInput)  // nothing but "not yet"
        try folder.write(OwnGoldens.rope, "rope/rope.json")
        #expect(await code() == .ok)
        #expect(await Align.run(["verify", folder.path, "--only", "merge"]) == .noInput)

        let whole = Array(OwnGoldens.rope.text().utf8)
        try folder.write(Array(whole.prefix(whole.count / 2)), "rope/rope.json")
        #expect(await code() == .failed)
        try folder.write(["cases": "none"], "rope/rope.json")
        #expect(await code() == .failed)
        try folder.write(OwnGoldens.rope.replacing(["cases", "0", "inv_freq", "3"], by: 0.5), "rope/rope.json")
        #expect(await code() == .failed)
        // A damaged golden counts even where this build compares nothing with it.
        try folder.write(OwnGoldens.rope, "rope/rope.json")
        try folder.write([0x7B], "merge/golden.json")
        #expect(await code() == .failed)
    }

    @Test("what a golden is about may be missing: that is skipped, and nothing passed") func missingFiles() throws {
        let folder = try GoldenFolder()
        defer { folder.remove() }
        func only(_ part: String) throws -> String { try folder.verify(only: part).map { "\($0.verdict.rawValue): \($0.detail)" }.joined(separator: "\n") }
        try folder.write(["file": "Absent.gguf", "prompts": [["prompt": "a", "prompt_ids": [1]]]], "gguf/absent.json")
        #expect(try only("gguf").hasPrefix("skipped: skipped: file missing (Absent.gguf"))
        try folder.write(["template": "absent.jinja", "cases": [["messages": [], "rendered": ""]]], "templates/absent.golden.json")
        #expect(try only("templates").hasPrefix("skipped: skipped: file missing ("))
        try folder.write(["tokenizer": "shared/data/tokenizers/absent/tokenizer.json.gz"], "tokenizers/data--absent.golden.json")
        #expect(try only("tokenizers").hasPrefix("skipped: skipped: file missing (shared/data/tokenizers/absent/tokenizer.json.gz"))
        try folder.write(["loss": 1], "models/absent/golden.json")
        try folder.write(["model_type": "llama"], "models/absent/config.json")
        #expect(try only("models").hasPrefix("skipped: skipped: file missing ("))
        // With weights, one golden file of two is a damaged golden.
        try folder.write([0], "models/absent/model.safetensors")
        #expect(try only("models").hasPrefix("failed: "))
    }
}
