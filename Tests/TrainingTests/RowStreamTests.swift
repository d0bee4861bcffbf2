import Foundation
import Models
import PreferenceData
import Serialization
import Tensors
import Testing

@testable import Training

/// Rows that wait in a file are the rows they were, cost no memory, and are missed when they are gone.
@Suite("Streamed rows") struct RowStreamTests {
    let workshop: Workshop
    init() throws { workshop = try Workshop() }

    /// Token ids of a row, drawn from its number.
    static func ids(_ row: Int, _ salt: Int, _ count: Int) -> [Int32] { (0..<count).map { Int32((row * 7 + salt * 5 + $0 * 3) % 11) } }
    static func pair(_ row: Int) -> PairRow {
        var pair = PairRow(prompt: ids(row, 1, row % 5), chosen: ids(row, 2, 2 + row % 4), rejected: ids(row, 3, 1 + row % 6), origin: "f:\(row)")
        if row % 3 == 0 { pair.chosenMask = pair.chosen.indices.map { $0 % 2 == 0 } }
        return pair
    }

    func list<Row: TokenRow>(_ rows: [Row], memory: Int = 0) throws -> (RowList<Row>, ScratchFile) {
        let scratch = ScratchFile(near: workshop.path, memoryLimit: memory)
        var list = RowList<Row>(scratch)
        for row in rows { try list.append(row) }
        return (list, scratch)
    }

    @Test("every kind of row comes back as it was, from memory and from the file", arguments: [0, 100, 1 << 20]) func roundTrip(memory: Int) throws {
        func expectSame<Row: TokenRow & Equatable>(_ rows: [Row]) throws {
            let (list, scratch) = try list(rows, memory: memory)
            #expect(try list.prefix(rows.count) == rows && list.count == rows.count)
            #expect(scratch.sizes.memory <= max(memory, 0), "\(scratch.sizes.memory) bytes in memory, \(memory) were allowed")
            #expect(try list.hash() == RowList(rows).hash())
            for (number, row) in rows.enumerated() { #expect(list.tokens(of: number) == row.tokenCount) }
            #expect(try list.filter { $0 % 2 == 1 }.prefix(rows.count) == rows.indices.filter { $0 % 2 == 1 }.map { rows[$0] })
        }
        try expectSame((0..<40).map(Self.pair))
        try expectSame((0..<9).map { row in
            var unpaired = UnpairedRow(prompt: Self.ids(row, 1, row), completion: Self.ids(row, 2, 3), isDesirable: row % 2 == 0, origin: "é\(row)")
            if row % 4 == 1 { unpaired.mask = [true, false, true] }
            return unpaired
        })
        try expectSame((1..<9).map { SupervisedRow(tokens: Self.ids($0, 1, $0), mask: (0..<$0).map { $0 % 2 == 0 }) })
        let labels: [(RewardLabel, [[Int]]?)] = [
            (.preference(margin: -0.5, probability: 0.75), nil), (.ranking([2, 1]), nil), (.scores([[1.5, nil], [nil, -2]]), nil), (.steps([0, nil, 1]), [[0, 1, 2], []]),
        ]
        try expectSame(labels.map { label, points in
            RewardRow(prompt: [1, 2], completions: [[3, 4, 5], [6]], points: points, label: label, grades: [[1, nil], []], origin: "r")
        })
    }

    @Test("prompts of online stages come back with all that rewards may know of them") func prompts() throws {
        let messages = try JSON.parse(#"[{"role": "user", "content": "a\n\"b\"", "weight": 1.0, "n": 3}]"#).array ?? []
        let rows = [
            PromptRow(tokens: [1], content: .text("é"), answer: "42", origin: "a"), PromptRow(tokens: [2, 3], content: .messages(messages), answer: nil, origin: "b"),
            PromptRow(tokens: [], content: .tokens([7, 8]), answer: "", origin: "c"),
        ]
        let (list, _) = try list(rows)
        for (number, row) in rows.enumerated() {
            let found = try list.row(number)
            #expect(found.tokens == row.tokens && found.content == row.content && found.answer == row.answer && found.origin == row.origin, "\(found)")
        }
    }

    @Test("a run whose rows wait in a file is, bit for bit, one whose rows are in memory", arguments: ["sigmoid", "aot", "kto", "bco", "moving", "sft", "reward"])
    func sameRun(_ method: String) async throws {
        func run(_ name: String, memory: Int) async throws -> StageOutcome {
            var context = try workshop.context(TableModels(), run: name)
            context.rowMemory = memory
            var training = TrainingSettings(learningRate: 0.05)
            (training.model, training.batchSize, training.accumulationSteps, training.epochs) = ("seed:3", 2, 2, 3)
            (training.evalSplit, training.evalSteps) = (0.2, 2)
            if method == "sft" {
                var settings = SupervisedSettings()
                settings.training = training
                settings.data = [try workshop.write("sft.jsonl", (0..<14).map { row in
                    ["input_ids": .array(Self.ids(row, 1, 3 + row % 4).map { .integer(Int($0)) }), "loss_mask": .array((0..<3 + row % 4).map { .integer($0 % 2) })]
                })]
                return try await SupervisedFineTuning(settings).run(in: context)
            }
            if method == "reward" {
                var settings = RewardSettings()
                (settings.training, settings.pairs) = (training, [try workshop.pairs(13)])
                return try await RewardModelling(settings).run(in: context)
            }
            var settings = PreferenceSettings()
            (settings.training, settings.pairs) = (training, [try workshop.pairs(13)])
            if method == "kto" {
                // Of a mixed file, and a share of another: the order is labels, chosen sides, rejected sides, file by file and copy by copy.
                let labelled: [JSON] = [["prompt_ids": [1, 2], "completion_ids": [3, 4], "label": true], ["prompt_ids": [5], "completion_ids": [6], "label": false]]
                settings.pairs += [try workshop.write("labelled.jsonl", labelled) + ":2.5"]
            }
            if method == "moving" { (settings.movesReference, settings.referenceInterval) = (true, 1) } else { settings.loss = method }
            return try await PreferenceOptimization(settings).run(in: context)
        }
        let (streamed, held) = (try await run("streamed", memory: 0), try await run("held", memory: 1 << 30))
        #expect(streamed.training == held.training && streamed.after == held.after, "\(streamed.training) and \(held.training)")
        #expect(try workshop.metrics("streamed") == workshop.metrics("held"))
        #expect(try TableModels.bytes(workshop.path + "/streamed/model") == TableModels.bytes(workshop.path + "/held/model"))
        let names = try FileManager.default.contentsOfDirectory(atPath: workshop.path)
        #expect(!names.contains { $0.hasPrefix(".align-rows") }, "\(names)")
    }

    @Test("ten times the rows take 16 bytes each of memory, and a step's rows") func memory() throws {
        let long = (0..<200).map { _ in Int32(5) }
        func memory(_ count: Int) throws -> (idle: Int, held: Int, file: Int) {
            let (list, _) = try list((0..<count).map { PairRow(prompt: long, chosen: long, rejected: [Int32($0 % 11)], origin: "f:\($0)") })
            let held = try list.holding([0, count - 1, count / 2, 0])
            #expect(held[count / 2].chosen == long)
            return (list.memory, held.memory, list.fileBytes)
        }
        let (few, many) = (try memory(300), try memory(3000))
        #expect(few.idle == 16 * 300 && many.idle == 16 * 3000, "\(few.idle) and \(many.idle) bytes")
        #expect(many.held - many.idle < 3 * 2000 && many.held - many.idle > 3 * 1600, "\(many.held - many.idle) bytes of three rows of 401 tokens")
        #expect(many.file > 3000 * 1600, "\(many.file) bytes in the file")
    }

    @Test("a scratch file that is cut or overwritten ends the run with an error that says so") func damage() throws {
        let rows = (0..<50).map(Self.pair)
        let (list, scratch) = try list(rows)
        let task = PairTask(list, reference: rows.map { _ in (0, 0) }, objective: DPO(), sharesPrefixes: true, isReferenced: false)
        #expect(try task.holding([49]).batch([49]).plainTokenCount == rows[49].plainTokens)
        #expect(ftruncate(scratch.descriptor, off_t(scratch.sizes.file - 5)) == 0)
        #expect(try task.holding([48]).totals(of: 48).pairs == 1)
        #expect { try task.holding([49]) } throws: { error in
            guard case let .lostRows(_, offset, needed, available)? = error as? RunError else { return false }
            return available == needed - 5 && offset > 0 && "\(error)".contains(workshop.path)
        }
        let noise = [UInt8](repeating: 0xFF, count: scratch.sizes.file - 5)
        #expect(pwrite(scratch.descriptor, noise, noise.count, 0) == noise.count)
        for row in 0..<49 { #expect(throws: RunError.self) { try task.holding([row]) } }
        #expect(ftruncate(scratch.descriptor, 0) == 0)
        #expect(throws: RunError.self) { try list.hash() }
    }
}
