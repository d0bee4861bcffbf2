import Foundation
import Serialization
import Testing

@testable import align

@Suite("Data commands") struct DataCommandTests {
    let folder: TinyFolder
    var store: String { folder.path + "/s.sqlite" }

    init() throws { folder = try TinyFolder() }

    /// Runs `align data …` on this test's store and reads its JSON.
    func data(_ words: String...) throws -> (result: Child.Result, json: JSON) {
        let result = try Child(["data"] + words + ["--store", store, "--json"]).wait()
        return (result, result.out.isEmpty ? .null : try JSON.parse(result.out))
    }

    static let rows = (0..<10).map { #"{"prompt": "q\#($0)", "chosen": "yes \#($0)", "rejected": "no"}"# }.joined(separator: "\n")

    @Test("a file goes in, comes out, and goes in again without anything new") func roundTrip() throws {
        let file = try folder.write("prefs.jsonl", Self.rows)
        let first = try data("import", file)
        let report = try #require(first.json["files"]?.array?.first)
        #expect(first.result.code == 0 && report["rows"]?.int == 10 && report["new"]?["comparisons"]?.int == 10, "\(first.result)")
        let out = folder.path + "/out.jsonl"
        let export = try Child(["data", "export", "--store", store, "--out", out]).wait()
        #expect(export.code == 0 && export.out.isEmpty, "\(export)")
        #expect(try Child(["data", "export", "--store", store, "--out", out]).wait().code == 74, "an existing file is kept")
        let again = try #require(try data("import", out).json["files"]?.array?.first)
        #expect(again["known"]?["comparisons"]?.int == 10 && again["new"]?.object?.isEmpty == true, "\(again.text())")
        let pairs = try Child(["data", "export", "--store", store, "--shape", "pairs"]).wait()
        #expect(try pairs.json().count == 10 && pairs.out == String(contentsOfFile: out, encoding: .utf8), "\(pairs.out.prefix(200))")
        #expect(try data("stats").json["counts"]?["comparisons"]?.int == 10)
        #expect(try data("check").result.code == 0)
    }

    @Test("bad rows: stop takes nothing and exits with 65, skip lists them, check finds them all") func badRows() throws {
        let file = try folder.write("prefs.jsonl", Self.rows + "\n{\"prompt\": 3}\nno row\n")
        let stop = try Child(["data", "import", file, "--store", store]).wait()
        #expect(stop.code == 65 && stop.err.contains("\(file):11: ") && stop.err.contains("\(file):12: ") && stop.err.contains("--on-bad-row skip"), "\(stop)")
        let skip = try #require(try data("import", file, "--on-bad-row", "skip").json["files"]?.array?.first)
        #expect(skip["bad"]?.int == 2 && skip["bad_rows"]?.array?.compactMap { $0["line"]?.int } == [11, 12] && skip["new"]?["comparisons"]?.int == 10, "\(skip.text())")
        let check = try Child(["data", "check", file]).wait()
        #expect(check.code == 65 && check.lines.count == 3 && check.lines[0].hasPrefix("\(file):11: "), "\(check)")
        #expect(try Child(["data", "check", folder.path + "/none"]).wait().code == 66)
        #expect(try Child(["data", "check", folder.path]).wait().code == 66)
        #expect(try Child(["data", "stats", "--store", folder.path + "/none.sqlite"]).wait().code == 66)
        #expect(!FileManager.default.fileExists(atPath: folder.path + "/none.sqlite"), "looking made a store")
    }

    @Test("what was imported is trained on without --pairs, held-out splits are not, and an empty store says what to do") func training() throws {
        func dryRun(_ more: String...) throws -> Child.Result {
            try Child(["dpo", "--model", folder.model, "--store", store, "--out", folder.path + "/run", "--dry-run", "--json", "--threads", "1"] + more).wait()
        }
        let empty = try dryRun()
        #expect(empty.code == 66 && empty.err.contains("align data import"), "\(empty)")
        _ = try data("import", try folder.write("prefs.jsonl", Self.rows))
        #expect(try JSON.parse(dryRun().out)["rows"]?.int == 10)
        #expect(try data("split", "--shares", "train=0.7,test=0.3").json["splits"]?["test"]?.int == 3)
        #expect(try JSON.parse(dryRun().out)["rows"]?.int == 7)
        #expect(try JSON.parse(dryRun("--split", "test").out)["rows"]?.int == 3)
        #expect(try dryRun("--split", "none").code == 66 && dryRun("--split", "test", "--pairs", "x").code == 64)
        let run = try Child([
            "dpo", "--model", folder.model, "--store", store, "--out", folder.path + "/run", "--max-steps", "2", "--sample-tokens", "0", "--threads", "1", "--json",
        ]).wait()
        #expect(run.code == 0, "\(run.err)")
        let lineage = try data("stats").json["counts"]
        #expect(lineage?["runs"]?.int == 1, "\(lineage?.text() ?? "")")
        // What a run trained on stays, whatever is removed as a duplicate.
        let more = try folder.write("more.jsonl", #"{"prompt": "Q1!", "chosen": "Yes 1", "rejected": "No."}"#)
        _ = try data("import", more)
        #expect(try data("dedup").json["near-duplicates"]?.int == 1)
    }

    @Test("scores become pairs, another store is merged, shares must add up") func pairsAndMerge() throws {
        let scored = (0..<4).map { #"{"prompt": "q\#($0)", "completions": ["first thing", "second matter"], "scores": [\#($0), 1]}"# }.joined(separator: "\n")
        _ = try data("import", try folder.write("scored.jsonl", scored))
        let built = try data("pairs").json
        #expect(built["new"]?.int == 3 && built["dropped"]?.object?.count == 1, "\(built.text())")
        let other = folder.path + "/other.sqlite"
        let merge = try Child(["data", "merge", store, "--store", other, "--json"]).wait()
        #expect(try merge.code == 0 && JSON.parse(merge.out)["merged"]?.array?.first?["new"]?["comparison"]?.int == 3, "\(merge)")
        #expect(try Child(["data", "split", "--shares", "a=0.5", "--store", store]).wait().code == 64)
        #expect(try data("pairs", "--reward", "none").result.code == 64)
    }
}
