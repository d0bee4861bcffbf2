import Foundation
import Serialization
import Testing

@testable import Models

@Suite("Judges") struct JudgeTests {
    private func judge(_ verdict: @escaping @Sendable (String, FakeServer.Request) -> String) throws -> FakeServer {
        try FakeServer { request in
            if request.path == "/v1/models" { return .json(200, FakeServer.models) }
            return .json(200, FakeServer.completion(request, text: verdict(request.body?["messages"]?[1]?["content"]?.string ?? "", request)))
        }
    }
    /// The part of a judge's prompt that shows one answer.
    private static func answer(_ name: String, in prompt: String) -> String {
        let start = prompt.components(separatedBy: "<\(name)>\n")
        return start.count < 2 ? "" : start[1].components(separatedBy: "\n</\(name)>")[0]
    }

    @Test("verdicts are the last in double brackets") func verdicts() {
        for (text, expected) in [("x [[A]]", 1.0), ("[[B]]", 0), ("[[A]] no, [[C]]", 0.5), ("[[a]]", 1), ("A is better", nil), ("[[A]", nil), ("[[D]] or [[ B ]]", 0)] as [(String, Double?)] {
            #expect(JudgePrompt.preference(text) == expected, "\(text)")
        }
        for (text, expected) in [("[[7]]", 7.0), ("Rating: [[8.5]]", 8.5), ("[[9/10]]", 9), ("[[rating: 3]]", 3), ("[[11]]", nil), ("7", nil), ("[[0]] hm [[2]]", 2)] as [(String, Double?)] {
            #expect(JudgePrompt.rating(text) == expected, "\(text)")
        }
    }

    @Test("pairs are shown in both orders, and a liking for a place cancels out") func pairs() async throws {
        // Prefers the longer answer; between equals, whatever stands first.
        let fake = try judge { prompt, _ in
            let (a, b) = (Self.answer("answer A", in: prompt), Self.answer("answer B", in: prompt))
            return a.count >= b.count ? "so [[A]]" : "so [[B]]"
        }
        defer { fake.stop() }
        let reward = try RewardSpec("judge:\(fake.address)#tiny,mode=pair").make(RewardContext())
        let scores = try await reward.scores(of: [item("long answer", reference: "short"), item("no", reference: "longer"), item("same", reference: "size")])
        #expect(scores.map(\.value) == [1, 0, 0.5], "\(scores)")
        // The last judge said A twice: inconsistent, and the first place won both.
        #expect(scores[2].components == [.init("consistent", 0), .init("first_place_share", 1)] && scores[0].components == [.init("consistent", 1), .init("first_place_share", 0.5)], "\(scores)")
        #expect(fake.requests.count == 7)
    }

    @Test("ratings see the question, the answer and the reference") func ratings() async throws {
        let fake = try judge { prompt, _ in
            prompt.contains("how?") && Self.answer("answer", in: prompt) == "thus" && Self.answer("reference answer", in: prompt) == "so" ? "[[9]]" : "[[1]]"
        }
        defer { fake.stop() }
        #expect(try await score("judge:\(fake.address)", item("thus", reference: "so", prompt: "how?")) == 9)
    }

    @Test("a judge without a verdict is asked again, then named") func silentJudge() async throws {
        let fake = try judge { prompt, request in Self.answer("answer", in: prompt) == "b" && request.body?["temperature"] == 0.7 ? "[[4]]" : "I think it is good." }
        defer { fake.stop() }
        #expect(try await score("judge:\(fake.address)", item("b")) == 4)
        await #expect { _ = try await score("judge:\(fake.address)", item("c")) } throws: { "\($0)".contains("no verdict in 3") && "\($0)".contains("good.") }
    }

    @Test("a judge that is not there, has another model, or lacks what it compares with") func absent() async throws {
        var context = RewardContext()
        context.retry.attempts = 1
        await #expect { _ = try await score("judge:http://127.0.0.1:1#m", item("a"), context) } throws: { "\($0)".contains("cannot connect") }
        let fake = try judge { _, _ in "[[A]]" }
        defer { fake.stop() }
        await #expect { _ = try await score("judge:\(fake.address)#other", item("a")) } throws: { "\($0)".contains("\"tiny\"") }
        await #expect { _ = try await score("judge:\(fake.address),mode=pair", item("a")) } throws: { "\($0)".contains("reference") }
    }
}
