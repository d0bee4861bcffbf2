import Checkpoints
import Foundation
import Models
import Serialization
import Tensors
import Testing
import Training

@testable import align

/// `align reward`, and what is done with its result, run as its users run it.
@Suite("align reward") struct RewardCommandTests {
    let place: KilledFolder
    init() throws { place = try KilledFolder() }

    private func train(_ run: String, _ more: [String] = []) throws {
        var words = place.words(run, more)
        let sample = try #require(words.firstIndex(of: "--sample-tokens"))
        words.removeSubrange(sample...sample + 1)
        let result = try Child(["reward"] + words).wait()
        #expect(result.code == 0, "exit \(result.code): \(result.err)")
    }

    private func scores(_ words: [String], precision: Precision = .fp32) throws -> [JSON] {
        let result = try Child(["score", "--precision", precision.rawValue] + words).wait()
        #expect(result.code == 0, "exit \(result.code): \(result.err)")
        return try result.json()
    }

    @Test("a trained model scores what its tokens score in the library, and depends on nothing else", arguments: Precision.allCases)
    func scored(precision: Precision) throws {
        try train("run", ["--precision", precision.rawValue])
        let model = "\(place.path)/run/model"
        let found = try scores(["--model", model, "--pairs", place.pairs], precision: precision)
        #expect(found.count == 14)
        let checkpoint = try Checkpoint.open(model)
        #expect(checkpoint.config.scoreOutputs == 1 && checkpoint.config.architecture == "LlamaForSequenceClassification")
        let source = ModelSource(checkpoint, compute: try Compute(threads: 1), precision: precision, recompute: false)
        let policy = try source.load(false)
        let rows = try RowLoading.pairs([place.pairs], source: source, settings: TrainingSettings(learningRate: 0)).rows
        for (json, row) in zip(found, rows) {
            for (side, completion) in [("chosen", row.chosen), ("rejected", row.rejected)] {
                var alone = SegmentTree()
                alone.addReadout(segment: alone.append(row.prompt + completion))
                let expected = try policy.scores(of: alone).readouts
                #expect(json[side]?["reward"]?.double == expected[0], "\(row.origin) \(side): \(json[side]?["reward"]?.double ?? .nan) and \(expected[0])")
            }
        }
    }

    @Test("a head from a file is the head; the same seed draws the same one") func heads() throws {
        try train("drawn", ["--learning-rate", "0"])
        try train("again", ["--learning-rate", "0", "--threads", "1"])
        func head(_ run: String) throws -> [Float] { try SafetensorsFile(path: "\(place.path)/\(run)/model/model.safetensors").floats("score.weight") }
        let drawn = try head("drawn")
        #expect(try drawn == head("again") && drawn.contains { $0 != 0 }, "\(drawn.prefix(4))")
        try train("given", ["--learning-rate", "0", "--head", "\(place.path)/drawn/model/model.safetensors", "--seed", "9"])
        #expect(try head("given") == drawn)
        try train("zero", ["--learning-rate", "0", "--head-init", "zero"])
        #expect(try head("zero").allSatisfy { $0 == 0 })
        let other = try Child(["reward"] + place.words("none", ["--head", "\(place.folder.model)/model.safetensors"]).filter { $0 != "--sample-tokens" && $0 != "0" }).wait()
        #expect(other.code == 65 && other.err.contains("score.weight"), "exit \(other.code): \(other.err)")
    }

    @Test("two threads do what one does, bit for bit; with or without shared prompts the first loss is one", arguments: Precision.allCases)
    func equal(precision: Precision) throws {
        try train("one", ["--precision", precision.rawValue, "--threads", "1"])
        try train("two", ["--precision", precision.rawValue, "--threads", "2"])
        let differences = try place.differences("one", "two")
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
        try train("copied", ["--precision", precision.rawValue, "--no-prefix-sharing"])
        let (a, b) = (try place.metrics("one"), try place.metrics("copied"))
        for key in ["eval_loss", "eval_accuracy", "eval_margin"] {
            #expect(a[0][key] == b[0][key] && a[0][key] != nil, "\(key): \(a[0][key]?.text() ?? "absent") and \(b[0][key]?.text() ?? "absent")")
        }
    }

    @Test("weights stored as bf16 are told to be rounded, and pass the test of what was written") func rounded() throws {
        var words = place.words("run", ["--save-dtype", "BF16"])
        let sample = try #require(words.firstIndex(of: "--sample-tokens"))
        words.removeSubrange(sample...sample + 1)
        let result = try Child(["reward"] + words).wait()
        #expect(result.code == 0 && result.err.contains("stored as BF16"), "exit \(result.code): \(result.err)")
    }

    @Test("an ensemble's score is made of its members'") func ensembles() throws {
        try train("a")
        try train("b", ["--seed", "5"])
        let paths = ["a", "b"].map { "\(place.path)/\($0)/model" }
        let (a, b) = (try scores(["--model", paths[0], "--pairs", place.pairs]), try scores(["--model", paths[1], "--pairs", place.pairs]))
        let both = paths.joined(separator: ",")
        let least = try scores(["--model", both, "--ensemble", "min", "--pairs", place.pairs])
        let spread = try scores(["--model", both, "--ensemble", "mean-std:0.5", "--pairs", place.pairs])
        #expect(least.count == 14 && spread.count == 14)
        for i in least.indices {
            let (x, y) = (a[i]["chosen"]?["reward"]?.double ?? .nan, b[i]["chosen"]?["reward"]?.double ?? .nan)
            #expect(least[i]["chosen"]?["reward"]?.double == min(x, y))
            let expected = (x + y) / 2 - 0.5 * abs(x - y) / 2
            #expect(abs((spread[i]["chosen"]?["reward"]?.double ?? .nan) - expected) < 1e-12, "\(spread[i].text()) and \(expected)")
        }
    }

    @Test("align eval reward: accuracy as the scores say, sections as the table says") func evaluated() throws {
        try train("run")
        let model = "\(place.path)/run/model"
        let subsets = ["alpacaeval-easy", "donotanswer", "hep-go", "unheard-of"]
        let rows = (0..<24).map { i -> JSON in
            ["prompt_ids": [.integer(i)], "chosen_ids": .array((0...i % 5).map { .integer($0 + i) }), "rejected_ids": [.integer(i + 40), .integer(i + 1)], "subset": .string(subsets[i % 4])]
        }
        let file = try place.folder.write("bench.jsonl", rows.map { $0.text() + "\n" }.joined())
        let page = place.path + "/eval.html"
        let result = try Child(["eval", "reward", "--model", model, "--data", file, "--precision", "fp32", "--json", "--report", page]).wait()
        #expect(result.code == 0 && result.err.contains("unheard-of"), "exit \(result.code): \(result.err)")
        let json = try JSON.parse(Array(result.out.utf8))
        let margins = try scores(["--model", model, "--pairs", file]).map { $0["margin"]?.double ?? .nan }
        let hits = margins.map { $0 > 0 ? 1.0 : $0 < 0 ? 0 : 0.5 }
        #expect(json["all"]?["accuracy"]?.double == hits.reduce(0, +) / 24, "\(json["all"]?.text() ?? "absent")")
        func accuracy(_ subset: Int) -> Double { stride(from: subset, to: 24, by: 4).map { hits[$0] }.reduce(0, +) / 6 }
        let score = (accuracy(0) + accuracy(1) + accuracy(2)) / 3
        #expect(abs((json["rewardbench"]?["score"]?.double ?? .nan) - score) < 1e-12, "\(json["rewardbench"]?.text() ?? "absent") and \(score)")
        #expect(json["rewardbench"]?["sections"]?["Safety"]?["accuracy"]?.double == accuracy(1))
        #expect(try String(contentsOfFile: page, encoding: .utf8).contains("<svg"))
    }

    @Test("what cannot be is refused with its code", arguments: [
        (["eval", "rewards", "--model", "MODEL", "--data", "x"], 64), (["eval", "reward", "--model", "MODEL", "--data", "PAIRS"], 65),
        (["eval", "reward", "--model", "MODEL"], 64), (["score", "--model", "MODEL", "--ensemble", "min", "--pairs", "PAIRS"], 64),
        (["score", "--model", "MODEL,MODEL", "--pairs", "PAIRS"], 65), (["score", "--model", "MODEL", "--standardize", "--pairs", "PAIRS"], 65),
        (["reward", "--pairs", "PAIRS", "--model", "MODEL", "--loss", "regression", "--margin", "llama2-small"], 64),
        (["reward", "--pairs", "PAIRS", "--model", "MODEL", "--margin", "llama2-small", "--dry-run"], 65),
        (["reward", "--pairs", "PAIRS", "--model", "MODEL", "--sample-tokens", "5"], 64),
    ]) func refused(words: [String], code: Int) throws {
        let result = try Child(words.map { $0.replacing("MODEL", with: place.folder.model).replacing("PAIRS", with: place.pairs) }).wait()
        #expect(Int(result.code) == code && !result.err.isEmpty, "exit \(result.code): \(result.err)")
    }
}
