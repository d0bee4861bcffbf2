import Foundation
import Serialization
import Testing

@testable import Models

@Suite("Reward specifications") struct RewardSpecTests {
    /// Scores what its folder is called: a length, say.
    private final class Named: Reward {
        let name: String
        init(_ name: String) { self.name = name }
        func scores(of items: [RewardItem]) -> [RewardScore] { items.map { _ in RewardScore(Double(name) ?? 0) } }
    }
    private var context: RewardContext {
        var context = RewardContext()
        context.loadModel = { Named($0) }
        return context
    }

    @Test("terms, weights, options and bounds are cut where they stand") func parts() throws {
        let spec = try RewardSpec("0.7*model:/a+b/c,d + 0.3*rule:length,min=20,clip=0..0.5+exec:./p --x=1,2 'a+b',timeout=3+human;clip=-5..5")
        #expect(spec.terms.map(\.kind) == ["model", "rule", "exec", "human"] && spec.terms.map(\.weight) == [0.7, 0.3, 1, 1])
        #expect(spec.terms.map(\.argument) == ["/a+b/c,d", "length", "./p --x=1,2 'a+b'", ""])
        #expect(spec.terms[1].options.text("min") == "20" && spec.terms[1].clip == 0...0.5 && spec.terms[2].options.text("timeout") == "3" && spec.clip == -5...5)
        #expect(try RewardSpec("rule:regex,pattern=a+,b=c").terms[0].options.text("pattern") == "a+,b=c")
        #expect(try RewardSpec("judge:http://h:1/v1#m+x,mode=pair").terms[0].argument == "http://h:1/v1#m+x")
        #expect(try RewardSpec("-1e-1*rule:repetition").terms[0].weight == -0.1)
    }

    @Test("what cannot be read is named", arguments: [
        "", "rule", "rule:", "rule:maths", "length", "0.5*", "rule:length,mim=3", "model:", "exec:", "rule:math;clip=5..1", "rule:math,clip=x", "rule:stop+", "rule:nothing+rule:math", "human:x,y=1",
    ])
    func bad(spec: String) {
        #expect(throws: RewardError.self, "\"\(spec)\"") { _ = try RewardSpec(spec).make(context) }
    }

    @Test("options are checked", arguments: [
        "rule:length", "rule:length,min=x", "rule:length,min=3,max=2", "rule:regex", "rule:regex,pattern=(", "rule:exact,in=sky", "rule:format,tags=<x>", "rule:math,strict=perhaps",
        "exec:cat,timeout=0", "model:1|2,combine=median",
    ])
    func badOptions(spec: String) {
        #expect(throws: RewardError.self, "\"\(spec)\"") { _ = try RewardSpec(spec).make(context) }
    }

    @Test("sums weigh bounded parts and name them") func sums() async throws {
        // 0.5·clip(8, −2..2) + 2·1 − 0.25 = 2.75; bounded to 2.5.
        let spec = "0.5*model:8,clip=-2..2+2*rule:exact+rule:repetition"
        let text = item("a b c a b c", reference: "a b c a b c")
        #expect(try await score(spec, text, context) == 2.75)
        #expect(try await score(spec + ";clip=-2.5..2.5", text, context) == 2.5)
        let parts = try await RewardSpec(spec).make(context).scores(of: [text])[0].components
        #expect(parts == [.init("8", 8, isReward: true), .init("rule:exact", 1, isReward: true), .init("rule:repetition", -0.25, isReward: true)], "\(parts)")
    }

    @Test("a part that fails leaves the sums before it") func partial() async throws {
        let items = [item("x", finish: .length), item("x", finish: .stopToken(nil)), item("x")]
        do {
            _ = try await RewardSpec("model:2+rule:stop").make(context).scores(of: items)
            Issue.record("no error")
        } catch let failure as RewardFailure { #expect(failure.done.map(\.value) == [2, 3], "\(failure.done)") }
    }

    @Test("ensembles", arguments: [("mean", 2.0), ("min", 1), ("mean-std:0.5", 2 - 0.5 * (2.0 / 3).squareRoot())])
    func ensemble(combine: String, expected: Double) async throws {
        // 1, 2, 3: mean 2, σ² = 2/3.
        let value = try await score("model:1|2|3,combine=\(combine)", item("x"), context)
        #expect(abs(value - expected) < 1e-12, "\(value), expected \(expected)")
    }

    @Test("labels of people: those that are there count, the rest is waited for") func human() async throws {
        struct Queue: HumanQueue {
            func scores(of items: [RewardItem]) -> [Double?] { items.map { $0.completion == "new" ? nil : 0.5 } }
        }
        var context = RewardContext()
        context.labels = Queue()
        #expect(try await score("human", item("old"), context) == 0.5)
        do {
            _ = try await RewardSpec("human").make(context).scores(of: [item("old"), item("new"), item("old")])
            Issue.record("no error")
        } catch let failure as RewardFailure {
            #expect(failure.reason == .awaitingLabels(queued: 1, of: 3) && failure.done == [RewardScore(0.5)], "\(failure)")
        }
        #expect(throws: RewardError.self) { _ = try RewardSpec("human").make(RewardContext()) }
    }
}
