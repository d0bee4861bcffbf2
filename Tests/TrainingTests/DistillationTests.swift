import Foundation
import Models
import Serialization
import Synchronization
import Tensors
import Testing

@testable import Training

@Suite("On-policy distillation") struct DistillationTests {
    let workshop: Workshop
    init() throws { workshop = try Workshop() }

    private func settings(beta: Double, share: Double, steps: Int = 200, rate: Double = 0.1) throws -> DistillationSettings {
        var settings = DistillationSettings()
        let rows: [JSON] = (0..<8).map { index in
            ["input_ids": .array([index, index + 1, (index + 3) % 11, (index * 2) % 11].map { .integer($0) }), "loss_mask": [0, 1, 1, 1]]
        }
        settings.data = [try workshop.write("rows.jsonl", rows)]
        (settings.teacher, settings.beta, settings.onPolicyShare, settings.maxNewTokens) = ("seed:8", beta, share, 4)
        settings.temperature = 1
        settings.training.model = "seed:3"
        settings.training.maxSteps = steps
        settings.training.learningRate = rate
        settings.training.maxGradientNorm = 0
        settings.training.batchSize = 4
        settings.training.saveSteps = 3
        return settings
    }

    private func run(
        _ settings: DistillationSettings, _ name: String, resumes: Bool = false, isCancelled: @escaping @Sendable () -> Bool = { false }
    ) async throws -> StageOutcome {
        var context = try workshop.online(TableModels(), run: name, resumes: resumes, rewards: [:])
        context.isCancelled = isCancelled
        return try await OnPolicyDistillation(settings).run(in: context)
    }

    private func student(_ outcome: StageOutcome) throws -> TablePolicy {
        let policy = TablePolicy(vocabulary: 11, seed: 0)
        try TableModels.read(policy, #require(outcome.modelPath))
        return policy
    }

    @Test("the student becomes the teacher, whatever the divergence and whoever writes", arguments: [0, 0.3, 1], [0, 0.5, 1]) func learns(beta: Double, share: Double) async throws {
        let outcome = try await run(settings(beta: beta, share: share), "learn")
        let (found, teacher, start) = (try student(outcome), TablePolicy(vocabulary: 11, seed: 8), TablePolicy(vocabulary: 11, seed: 3))
        for previous in 1..<8 {
            let expected = teacher.logSoftmax(previous).map(exp)
            let distance = Bandit.distance(found.logSoftmax(previous).map(exp), expected)
            #expect(distance < 0.05, "after \(previous): \(distance) from the teacher")
            #expect(Bandit.distance(start.logSoftmax(previous).map(exp), expected) > 0.1, "nothing to learn after \(previous)")
        }
        let losses = try workshop.metrics("learn").compactMap { $0["loss"]?.double }
        #expect((losses.last ?? 1) < (losses.first ?? 0) / 20, "loss \(losses.first ?? -1) at first, \(losses.last ?? -1) at last")
        let own = try workshop.metrics("learn").compactMap { $0["on_policy"]?.double }
        let found2 = mean(own)
        #expect(share == 0.5 ? abs(found2 - 0.5) < 0.12 : found2 == share, "\(found2) of the steps were the student's")
    }

    @Test("a teacher that is the student teaches nothing", arguments: [0, 0.3, 1]) func same(beta: Double) async throws {
        var settings = try settings(beta: beta, share: 0.5, steps: 6, rate: 1e-3)
        settings.teacher = "seed:3"
        settings.training.adamEpsilon = 1  // or Adam would turn rounding into whole steps
        let outcome = try await run(settings, "same")
        for line in try workshop.metrics("same") {
            #expect(abs(line["loss"]?.double ?? 1) < 1e-12 && (line["grad_norm"]?.double ?? 1) < 1e-8, "loss \(line["loss"]?.double ?? .nan), norm \(line["grad_norm"]?.double ?? .nan)")
        }
        let start = TablePolicy(vocabulary: 11, seed: 3), found = try student(outcome)
        #expect(zip(found.array, start.array).allSatisfy { abs($0 - $1) < 1e-9 })
    }

    @Test("a run that was stopped and resumed ends with the same bytes as one that was not") func resumed() async throws {
        var settings = try settings(beta: 0.4, share: 0.6, steps: 10)
        settings.training.evalSplit = 0.25
        settings.training.evalSteps = 4
        let whole = try await run(settings, "whole")
        let passes = Mutex(0)
        let cut = try await run(settings, "cut", isCancelled: { passes.withLock { $0 += 1; return $0 > 22 } })
        #expect(cut.status == .interrupted && cut.steps > 0 && cut.steps < 10, "\(cut.status) after \(cut.steps)")
        let resumed = try await run(settings, "cut", resumes: true)
        #expect(try TableModels.bytes(#require(whole.modelPath)) == TableModels.bytes(#require(resumed.modelPath)))
        let (a, b) = (try workshop.metrics("whole"), try workshop.metrics("cut"))
        #expect(a == b, "\(a.count) lines and \(b.count)")
        #expect((whole.after["eval_loss"] ?? 1) < (whole.before["eval_loss"] ?? 0), "held-out loss \(whole.before["eval_loss"] ?? -1), then \(whole.after["eval_loss"] ?? -1)")
    }

    @Test("rows of a chunk are what they are alone", arguments: [0, 0.3, 1]) func rows(beta: Double) throws {
        let objective = GKD(beta: beta, temperature: 1.4)
        var stream = RandomStream(seed: 4, stream: 2, index: 0)
        let (student, teacher) = (Matrix(rows: 7, columns: 13), Matrix(rows: 7, columns: 13))
        for i in 0..<7 * 13 { (student.pointer[i], teacher.pointer[i]) = (Float(stream.normal()), Float(stream.normal())) }
        func row(_ matrix: Matrix, _ i: Int) -> [Double] { (0..<13).map { Double(matrix.pointer[i * matrix.stride + $0]) } }
        let alone = (0..<7).map { objective.token(student: row(student, $0), teacher: row(teacher, $0), label: 0) }
        let values = objective.rows(student: student, teacher: teacher, weights: (1...7).map { 0.1 * Double($0) }, on: try Compute())
        for i in 0..<7 {
            #expect(values[i] == alone[i].value, "row \(i): \(values[i]), \(alone[i].value)")
            for (found, expected) in zip(row(student, i), alone[i].gradient) { #expect(abs(found - expected * 0.1 * Double(i + 1)) < 1e-7, "row \(i): \(found), \(expected * 0.1 * Double(i + 1))") }
        }
    }

    @Test("the prompt of a row is what its last completion answers") func prompt() {
        let row = SupervisedRow(tokens: [1, 2, 3, 4, 5, 6], mask: [false, true, false, false, true, true])
        #expect(row.prompt == [1, 2, 3, 4], "\(row.prompt)")
        #expect(SupervisedRow(tokens: [1, 2], mask: [true, true]).prompt.isEmpty)
    }

    @Test("what cannot be is refused by name") func refused() async throws {
        var settings = try settings(beta: 0.5, share: 0.5, steps: 1)
        settings.teacher = nil
        #expect(throws: SettingError.self) { try settings.validate() }
        settings.teacher = "small"
        var context = try workshop.online(TableModels(), run: "refused", rewards: [:])
        context.openModel = { path, _ in path == "small" ? TableModels(vocabulary: 5).source("seed:1") : TableModels().source(path) }
        await #expect(throws: TrainingError.otherVocabulary(model: "seed:1", found: 5, expected: 11)) { try await OnPolicyDistillation(settings).run(in: context) }
        settings.teacher = "headless"
        context.openModel = { path, _ in
            var source = TableModels().source(path == "headless" ? "seed:8" : path)
            source.predictsTokens = path != "headless"
            return source
        }
        #expect(throws: ModelError.noLanguageHead(architecture: "seed:8")) { try OnPolicyDistillation(settings).preflight(in: context) }
        settings.teacher = "seed:8"
        settings.data = [try workshop.write("bare.jsonl", [["input_ids": [1, 2, 3]]])]
        await #expect(throws: TrainingError.self) { try await run(settings, "bare") }
        settings.onPolicyShare = 0
        #expect(try await run(settings, "bare-off").status == .finished)
    }
}
