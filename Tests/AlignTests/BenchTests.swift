import Checkpoints
import Foundation
import Models
import Serialization
import Tensors
import Testing
import Training

@testable import align

@Suite("align bench") struct BenchTests {
    /// A run of `parts` on a tiny model, as JSON.
    private func bench(_ folder: TinyFolder, _ words: String...) throws -> Child.Result {
        try Child(
            ["bench"] + words + [
                "--model", folder.model, "--rounds", "1", "--pairs", "2", "--prompt-tokens", "6", "--completion-tokens", "5", "--threads", "2", "--json",
            ]
        ).wait()
    }

    private func values(_ json: JSON, _ part: String) throws -> [JSON] {
        try #require(json["figures"]?.array).filter { $0["part"]?.string == part }
    }

    @Test("every part gives its figures, and ceilings come first") func parts() throws {
        let folder = try TinyFolder()
        let result = try bench(folder)
        #expect(result.code == 0, "exit \(result.code): \(result.err)")
        let json = try JSON.parse(result.out)
        #expect(json["format"] == "align-bench" && json["version"] == 1 && json["setting"]?["threads"] == 2)
        let figures = try #require(json["figures"]?.array)
        #expect(figures.first?["part"] == "machine")
        for figure in figures {
            let rounds = try #require(figure["values"]?.array)
            #expect((rounds.count == 1 || figure["part"] == "machine") && rounds.numbers.allSatisfy { $0.isFinite && $0 > 0 }, "\(figure)")
            #expect(Figure(json: figure) != nil, "\(figure)")
        }
        let parts = figures.compactMap { $0["part"]?.string }.reduce(into: [String]()) { if $0.last != $1 { $0.append($1) } }
        #expect(parts == ["machine", "kernels", "train", "decode", "load", "tokenize"])
        // (part, name) says which figure it is.
        #expect(Set(figures.map { "\($0["part"]!) \($0["name"]!)" }).count == figures.count)

        #expect(json["drift"]?["memory"]?.double ?? 0 > 0 && json["drift"]?.object?.count == 2)

        // A DPO step and an SFT step; only the former shares prompts: 2·2·11 plain tokens, 2·16 unique ones.
        let train = try values(json, "train")
        #expect(train.compactMap { $0["unit"]?.string } == ["tokens/s", "tokens/s", "GFLOP/s", "tokens/s", "GFLOP/s", "GB", "GB"])
        #expect(train[1]["note"]?.string?.hasPrefix("1.38 plain tokens") == true, "\(train[1])")
        let shares = train.prefix(5).compactMap { $0["ceiling"]?["share"]?.double }
        #expect(shares.count == 5 && abs(shares[0] - shares[1]) < 1e-9 * shares[0] && abs(shares[0] - shares[2]) < 1e-9 * shares[0], "\(shares)")
        // A prompt; 1, 4, 8 and 32 at a time; whole completions of 1 and 32.
        #expect(try values(json, "decode").count == 7)
        #expect(try values(json, "tokenize").count == 3)
        #expect(try values(json, "load").compactMap { $0["unit"]?.string } == ["s", "s", "GB/s", "s", "GB/s"])
        // Five shapes, three products each, own in one or two precisions and OpenBLAS's; attention twice, AdamW, norms twice, activation.
        let kernels = try values(json, "kernels").count
        #expect(kernels == 15 * 2 + 5 || kernels == 15 * 3 + 5, "\(kernels)")
    }

    @Test("every loss is there, held against DPO's step") func losses() throws {
        let folder = try TinyFolder()
        let result = try bench(folder, "losses")
        #expect(result.code == 0, "exit \(result.code): \(result.err)")
        let figures = try values(JSON.parse(result.out), "losses")
        #expect(figures.compactMap { $0["name"]?.string } == PreferenceLoss.all.map(\.name) + ["reward model"], "\(figures)")
        for figure in figures { #expect(figure["unit"] == "tokens/s" && figure["note"]?.string?.contains(" of DPO's; the loss itself") == true, "\(figure)") }
    }

    @Test("one part alone; its phases add up to no more than the step") func profile() throws {
        let folder = try TinyFolder()
        let result = try bench(folder, "train", "--profile")
        #expect(result.code == 0, "exit \(result.code): \(result.err)")
        let json = try JSON.parse(result.out)
        let profiles = try #require(json["profile"]?.array)
        #expect(profiles.count == 2)
        for profile in profiles {
            let (whole, sum) = (try #require(profile["seconds"]?.double), try #require(profile["phases_seconds"]?.double))
            let phases = try #require(profile["phases"]?.array)
            #expect(phases.last?["name"] == "other")
            let all = phases.compactMap { $0["seconds"]?.double }.reduce(0, +)
            #expect(sum > 0 && sum <= whole, "phases \(sum), whole \(whole)")
            #expect(abs(all - whole) < 1e-9 + 1e-6 * whole, "phases and other \(all), whole \(whole)")
            #expect(profile["adds_up"]?.bool == ((whole - sum) / whole <= Profile.tolerance))
        }
        #expect(try values(json, "decode").isEmpty)
    }

    @Test("a profile's table: phases in descending order, the rest as other") func profileTable() {
        // 0.6 + 0.3 of 1 s leave 10 %; 0.66 + 0.3 leave 4 %.
        let short = Profile("step", whole: 1, phases: [.attention: 0.3, .products: 0.6])
        #expect(!short.addsUp && abs(short.other - 0.1) < 1e-12)
        #expect(short.phases.map(\.phase) == [.products, .attention])
        #expect(short.lines.last?.contains("add up to 90.0 %: NOT within 5 %") == true, "\(short.lines)")
        let full = Profile("step", whole: 1, phases: [.attention: 0.3, .products: 0.66])
        #expect(full.addsUp && full.lines.last?.contains("96.0 %: within 5 %") == true, "\(full.lines)")
    }

    @Test("a file compared with itself: 1.00 everywhere") func itself() throws {
        let folder = try TinyFolder()
        let first = try bench(folder, "train", "decode")
        let file = try folder.write("bench.json", first.out)
        let result = try Child.run("bench", "--compare", file, "--measured", file)
        #expect(result.code == 0, "exit \(result.code): \(result.err)")
        let json = try JSON.parse(try Child.run("bench", "--compare", file, "--measured", file, "--json").out)
        let rows = try #require(json["comparison"]?["figures"]?.array)
        #expect(rows.count == (try BenchReport(file: file)).figures.count && rows.allSatisfy { $0["ratio"]?.double == 1 }, "\(rows)")
        #expect(rows.allSatisfy { $0["normalised"]?.isNull == true || $0["normalised"]?.double == 1 } && rows.contains { $0["normalised"]?.double == 1 })
        for key in ["only_old", "only_new", "differences"] { #expect(json["comparison"]?[key] == .array([])) }
        #expect(result.lines.count { $0.hasSuffix("1.00") || $0.hasSuffix("1.00           -") } == rows.count, "\(result.out)")
    }

    @Test("ratios, and what is left of them when the machine changed") func ratios() {
        func report(_ ceiling: Double, _ value: Double, threads: Int, _ more: Figure) -> BenchReport {
            let limit = Ceiling(name: "memory", value: ceiling, unit: "GB/s").limiting(perUnit: 0.5)
            return BenchReport(setting: JSONObject([("threads", .integer(threads))]), figures: [Figure("decoding", [value], "tokens/s", limit: limit), more])
        }
        // 30 → 45 tokens/s is 1.5; the machine read 20 → 40 GB/s, so of that 0.75 are left.
        let comparison = Comparison(
            old: report(20, 30, threads: 1, Figure("a", [1], "s")), new: report(40, 45, threads: 2, Figure("b", [1], "s")))
        #expect(comparison.rows.count == 1 && comparison.rows[0].ratio == 1.5 && comparison.rows[0].normalised == 0.75, "\(comparison.rows)")
        #expect(comparison.onlyOld == [": a (s)"] && comparison.onlyNew == [": b (s)"])
        #expect(comparison.differences == ["threads: 1 then, 2 now"])
    }

    @Test("a file that is no earlier result: exit 65, saying what was found and expected", arguments: [
        ("{\"format\": \"align-bench\", ", "bench.json:1: not JSON"), ("[1, 2]", "at the top"), ("{\"figures\": []}", "JSON without \"format\""),
        ("{\"format\": \"other\"}", "\"format\": \"other\""), ("{\"format\": \"align-bench\", \"version\": 9}", "\"version\": 9"),
        ("{\"format\": \"align-bench\", \"version\": 1, \"figures\": 3}", "\"figures\""),
        ("{\"format\": \"align-bench\", \"version\": 1, \"figures\": [{\"name\": \"x\"}]}", "figures[0]"),
    ]) func brokenFile(text: String, found: String) throws {
        let folder = try TinyFolder()
        let file = try folder.write("bench.json", text)
        let result = try Child.run("bench", "train", "--compare", file, "--model", folder.model)
        #expect(result.code == 65 && result.err.contains(file) && result.err.contains(found) && result.err.contains("expected"), "exit \(result.code): \(result.err)")
        #expect(result.out.isEmpty)
    }

    @Test("a file that is not there: exit 66") func missingFile() throws {
        let result = try Child.run("bench", "--compare", "/nowhere/bench.json", "--measured", "/nowhere/bench.json")
        #expect(result.code == 66 && result.err.contains("/nowhere/bench.json"), "exit \(result.code): \(result.err)")
        #expect(try Child.run("bench", "--model", "/nowhere/model").code == 66)
    }

    @Test("words that cannot be: exit 64", arguments: [
        ["kernel"], ["train", "sleep"], ["--rounds", "0"], ["--pairs", "x"], ["--prompt-tokens", "0"], ["--completion-tokens", "-1"], ["--threads", "0"],
        ["--precision", "int8"], ["decode", "--profile"], ["--plot", "x.svg"], ["--measured", "x.json"], ["train", "--compare", "a", "--measured", "b"],
        ["--only", "train"], ["--compare"],
    ]) func badWords(words: [String]) throws {
        let result = try Child(["bench"] + words).wait()
        #expect(result.code == 64 && result.err.contains("align bench"), "exit \(result.code): \(result.err)")
    }

    @Test("a misspelt part names the nearest; the example parses") func nearestPart() throws {
        #expect(throws: UsageError.badArgument(
            command: "bench", placeholder: "PART", found: "trian", expected: "one of kernels, train, losses, decode, load, tokenize, growth", nearest: "train")
        ) { try BenchCommand.parse(["trian"]) }
        let command = try BenchCommand.parse(BenchCommand.usage.example.split(separator: " ").dropFirst(2).map(String.init))
        #expect(command.parts.map { $0.name } == ["train", "decode"] && command.settings.rounds == 7 && command.old == "before.json")
    }

    @Test("bytes of a decoding step: matrices as they are kept, the embedding only as head") func bytesPerStep() throws {
        let folder = try TinyFolder()
        let checkpoint = try Checkpoint.open(folder.model)
        // A layer: 32·(32 + 2·16) + 32·32 + 3·32·48 elements; two layers, the tied head of 258·32.
        let matrices = 2 * (2048 + 1024 + 4608) + 258 * 32
        for (precision, bytes) in [(Precision.bf16, 2), (.fp32, 4)] {
            let decoder = try Decoder(Transformer(checkpoint, compute: Compute(threads: 1), precision: precision, trains: false))
            #expect(decoder.weightBytes == bytes * matrices)
        }
    }

    @Test("text to tokenize is the same each time") func text() {
        let first = BenchText.documents(bytes: 1 << 15)
        #expect(first == BenchText.documents(bytes: 1 << 15) && first.count == 16)
        #expect(first.allSatisfy { $0.utf8.count >= 2048 } && Set(first).count == 16)
    }

    @Test("growth's models have the sizes that are said, and its plot a panel an axis") func growth() throws {
        let sizes = try GrowthModel.all.map { try $0.config().parameterCount / 1_000_000 }
        #expect(sizes == [5, 15, 46, 134, 361], "\(sizes)")
        let panel = GrowthPlot.Panel(title: "threads", points: [(1, 10), (2, 20)])
        let svg = GrowthPlot(panels: [panel, GrowthPlot.Panel(title: "rows", points: [(4, 3)]), GrowthPlot.Panel(title: "none", points: [])]).svg
        #expect(svg.hasPrefix("<svg xmlns") && svg.components(separatedBy: "<circle").count == 4 && !svg.contains("nan") && !svg.contains("none</text>"))
    }
}
