import Foundation
import Serialization
import Testing

@testable import PreferenceData

/// The public data sets of the shared folder, imported and exported. What is expected is counted here with Foundation's JSON, apart from the
/// importer: rows that are no use are those whose completion is missing, empty, no text, or equal to its rival.
@Suite("Import of public data") struct ImportSharedTests {
    /// Rows of a file as Foundation reads them.
    static func rows(_ path: String) throws -> [[String: Any]] {
        var bytes = try Array(Data(contentsOf: URL(fileURLWithPath: path)))
        if Inflate.isGzip(bytes) { bytes = try Inflate.gunzip(bytes, limit: 1 << 30) }
        if bytes.first(where: { $0 != 0x20 && $0 != 0x0A }) == UInt8(ascii: "[") {
            return try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [[String: Any]])
        }
        return try bytes.split(separator: 0x0A).map { try #require(try JSONSerialization.jsonObject(with: Data($0)) as? [String: Any]) }
    }

    static func isText(_ value: Any?) -> Bool { (value as? String).map { !$0.allSatisfy(\.isWhitespace) } ?? false }
    static func isPair(_ a: Any?, _ b: Any?) -> Bool { isText(a) && isText(b) && (a as? String)?.utf8.elementsEqual((b as? String ?? "").utf8) == false }
    static func text(_ value: Any?) -> String { value as? String ?? "" }
    /// A row's identity, for counting different ones.
    static func key(_ values: Any?...) throws -> String {
        String(decoding: try JSONSerialization.data(withJSONObject: values.map { $0 ?? NSNull() }, options: [.sortedKeys, .fragmentsAllowed]), as: UTF8.self)
    }

    /// Votes of a row; of one annotator two are the same if they say the same of the same two answers, in whichever order they stand.
    static func judgments(_ row: [String: Any], _ first: String, _ second: String, labels: [String], _ winners: [Int: Int]) throws -> [String]? {
        guard isPair(row[first], row[second]) else { return nil }
        let answers = [text(row[first]), text(row[second])]
        return try labels.map { label in
            let winner = (row[label] as? Int).flatMap { winners[$0] }.map { answers[$0 - 1] }
            return try key(row["prompt"], row["instruction"], row["input"], answers.sorted(), winner, label)
        }
    }

    /// A file, what its rows come to, and by which fields two good ones are the same; nil of a row that is no use.
    static let files: [(name: String, kind: StoredRow.Kind, keys: @Sendable ([String: Any]) throws -> [String]?)] = [
        ("preferences/hh-helpful-base.train.jsonl", .comparisons, { try $0.distinct("chosen", "rejected") }),
        ("preferences/hh-helpful-base.test.jsonl", .comparisons, { try $0.distinct("chosen", "rejected") }),
        ("preferences/hh-harmless-base.train.jsonl.gz", .comparisons, { try $0.distinct("chosen", "rejected") }),
        ("preferences/hh-harmless-base.test.jsonl", .comparisons, { try $0.distinct("chosen", "rejected") }),
        ("preferences/hhh-alignment.jsonl", .comparisons, { isPair($0["chosen"], $0["rejected"]) ? try [key($0["prompt"], $0["chosen"], $0["rejected"])] : nil }),
        ("preferences/rasbt-instruction-preference.json", .comparisons, { isPair($0["chosen"], $0["rejected"]) ? try [key($0["instruction"], $0["input"], $0["chosen"], $0["rejected"])] : nil }),
        ("preferences/stack-exchange-paired-tiny.json", .comparisons, { try [key($0["question"], $0["response_j"], $0["response_k"])] }),
        ("preferences/llamafactory-dpo-en-demo.json", .comparisons, { try [key($0["conversations"], $0["chosen"], $0["rejected"])] }),
        ("preferences/llamafactory-kto-en-demo.json", .labels, { try [key($0["messages"], $0["label"])] }),
        ("preferences/autoj-pairwise.jsonl.gz", .votes, { try judgments($0, "response_1", "response_2", labels: ["label"], [0: 1, 1: 2]) }),
        ("preferences/llmbar.jsonl", .votes, { try judgments($0, "output_1", "output_2", labels: ["label"], [1: 1, 2: 2]) }),
        ("preferences/mtbench-human-200.jsonl", .votes, { try judgments($0, "output_1", "output_2", labels: ["label"], [1: 1, 2: 2]) }),
        ("preferences/pandalm-human.jsonl", .votes, { try judgments($0, "response1", "response2", labels: ["annotator1", "annotator2", "annotator3"], [1: 1, 2: 2]) }),
        ("instructions/alpaca-gpt4-en-demo.json", .examples, { isText($0["output"]) ? try [key($0["instruction"], $0["input"], $0["output"])] : nil }),
        ("instructions/rasbt-instruction-data.json", .examples, { isText($0["output"]) ? try [key($0["instruction"], $0["input"], $0["output"])] : nil }),
        ("instructions/dolly-hhrlhf-1000.jsonl", .examples, { isText($0["response"]) ? try [key($0["prompt"], $0["response"])] : nil }),
        ("instructions/fastchat-dummy-conversation.json", .examples, { try [key($0["conversations"])] }),
        ("instructions/glaive-toolcall-en-demo.json.gz", .examples, { try [key($0["conversations"], $0["tools"])] }),
        ("instructions/self-instruct-seed-tasks.jsonl", .examples, { try [key($0["instruction"], $0["instances"])] }),
        ("instructions/self-instruct-user-oriented.jsonl", .examples, { try [key($0["instruction"], $0["instances"])] }),
        ("evaluation/gsm8k.test.jsonl", .examples, { try [key($0["question"], $0["answer"])] }),
    ]

    @Test("every row is taken in or named, and comes back with the same ids", arguments: files.indices) func file(index: Int) throws {
        let (name, kind, keysOfRow) = Self.files[index]
        guard let path = shared(name)?.first?.path else { return }
        let rows = try Self.rows(path)
        let good = try rows.compactMap(keysOfRow)
        let keys = good.flatMap { $0 }
        try withTemporaryFolder { folder in
            let store = try PreferenceStore(path: folder + "/a.sqlite")
            let report = try store.importFile(path, onBadRow: .skip, at: "2026-01-01T00:00:00Z")
            print("\(name): \(report.rows) rows, \(report.badRowCount) bad, new \(report.counts.new), known \(report.counts.known)",
                report.badRows.prefix(2).map { "\($0.line): \($0.reason)" })
            #expect(report.rows == rows.count && report.badRowCount == rows.count - good.count, "\(report.rows) rows and \(report.badRowCount) bad, \(rows.count) and \(rows.count - good.count) counted")
            let (new, known) = (report.counts.new[kind, default: 0], report.counts.known[kind, default: 0])
            #expect(new + known == keys.count, "\(new) + \(known) \(kind), \(keys.count) counted")
            // Of judgments that name nobody each is somebody's: only PandaLM's say who.
            let different = kind == .votes && !name.contains("pandalm") ? keys.count : Set(keys).count
            #expect(new == different, "\(new) new \(kind), \(different) different ones counted")
            try expectRoundTrip(store, folder)
            let again = try store.importFile(path, onBadRow: .skip, at: "2027-01-01T00:00:00Z")
            #expect(again.counts.newRows == 0, "\(again.counts.new) when imported again")
            try store.check()
        }
    }

    @Test("trees and threads come apart into rankings and dialogues") func trees() throws {
        guard let trees = shared("instructions/oasst-ranked-trees-100.jsonl.gz")?.first?.path, let threads = shared("instructions/oasst-realistic-threads.json")?.first?.path
        else { return }
        // Counted by walking the trees: turns of the prompter with two or more different ranked replies, and with one reply.
        var (rankings, lone) = (Set<String>(), Set<String>())
        func walk(_ node: [String: Any], _ path: [String]) {
            let replies = node["replies"] as? [[String: Any]] ?? []
            let path = path + [Self.text(node["text"])]
            if Self.text(node["role"]) == "prompter" {
                let ranked = Set(replies.filter { $0["rank"] is Int }.map { Self.text($0["text"]) })
                if ranked.count > 1 { rankings.insert((path + ["|"] + ranked.sorted()).joined(separator: "\n")) }
                if replies.count == 1 { lone.insert((path + [Self.text(replies[0]["text"])]).joined(separator: "\n")) }
            }
            for reply in replies { walk(reply, path) }
        }
        for row in try Self.rows(trees) { walk(try #require(row["prompt"] as? [String: Any]), []) }
        // Threads: assistant messages that no later assistant message of the same branch follows.
        let messages = try Self.rows(threads)
        let parents = Dictionary(uniqueKeysWithValues: messages.map { (Self.text($0["user_message_id"]), $0["parent_message_id"] as? String) })
        let roles = Dictionary(uniqueKeysWithValues: messages.map { (Self.text($0["user_message_id"]), Self.text($0["role"])) })
        var followed: Set<String> = []
        for (id, role) in roles where role == "assistant" {
            var parent = parents[id] ?? nil
            while let id = parent {
                followed.insert(id)
                parent = parents[id] ?? nil
            }
        }
        let ends = roles.filter { $0.value == "assistant" && !followed.contains($0.key) }.count
        try withTemporaryFolder { folder in
            let store = try PreferenceStore(path: folder + "/a.sqlite")
            let first = try store.importFile(trees, at: "2026")
            #expect(first.rows == 100 && first.badRowCount == 0 && first.shapes.map(\.shape) == [.tree])
            #expect(first.counts.new[.votes] == rankings.count && rankings.count > 100, "\(first.counts.new), \(rankings.count) rankings counted")
            #expect(first.counts.new[.examples, default: 0] == lone.count, "\(first.counts.new), \(lone.count) lone replies counted")
            let second = try store.importFile(threads, at: "2026")
            print("trees: \(first.counts.new); threads: \(second.counts.new)")
            #expect(second.rows == 444 && second.badRowCount == 0 && second.counts.new[.examples] == ends, "\(second.counts.new), \(ends) ends of threads counted")
            try expectRoundTrip(store, folder)
        }
    }
}

extension [String: Any] {
    fileprivate func distinct(_ fields: String...) throws -> [String]? { try [ImportSharedTests.key(fields.map { self[$0] ?? NSNull() })] }
}

/// Exports everything, imports it into another store, and compares all ids and a second export.
func expectRoundTrip(_ store: PreferenceStore, _ folder: String) throws {
    let copy = try PreferenceStore(path: folder + "/copy-\(UUID().uuidString).sqlite")
    var lines: [String] = []
    try store.export(.all) { lines.append($0.text()) }
    let file = folder + "/export.jsonl"
    try Data(lines.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: file))
    guard !lines.isEmpty else { return }
    let report = try copy.importFile(file, at: "2026-02-02T00:00:00Z")
    #expect(report.rows == lines.count && report.badRowCount == 0)
    for table in ["prompt", "completion", "comparison", "example", "label", "task", "vote", "item"] {
        let column = table == "task" ? "prompt" : "id"
        let condition = table == "comparison" ? " WHERE origin <> 'votes'" : ""
        func ids(_ store: PreferenceStore) throws -> [String] {
            try store.withDatabase { database throws(StoreError) in
                var ids: [String] = []
                try database.query("SELECT \(column) FROM \(table)\(condition) ORDER BY 1") { row throws(StoreError) in ids.append(row.text(0)) }
                return ids
            }
        }
        let (before, after) = (try ids(store), try ids(copy))
        #expect(before == after, "\(table): \(before.count) ids became \(after.count), \(Set(before).symmetricDifference(after).count) differ")
    }
    var second: [String] = []
    try copy.export(.all) { second.append($0.text()) }
    #expect(second == lines, "\(second.count) lines after \(lines.count)")
}
