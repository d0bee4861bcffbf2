import Foundation
import Serialization
import Testing

@testable import Models

func item(_ completion: String, reference: String? = nil, tokens: [Int32]? = nil, finish: FinishReason? = nil, prompt: String = "q") -> RewardItem {
    RewardItem(prompt: .text(prompt), completion: completion, tokens: tokens, finishReason: finish, reference: reference)
}

/// The value of one completion under a specification.
func score(_ spec: String, _ item: RewardItem, _ context: RewardContext = RewardContext()) async throws -> Double {
    try await RewardSpec(spec).make(context).scores(of: [item])[0].value
}

@Suite("Rule rewards") struct RuleRewardTests {
    @Test("exact answers", arguments: [
        ("rule:exact", " Paris\n", "Paris", 1.0), ("rule:exact", "paris", "Paris", 0), ("rule:exact,case=ignore", "paris", "Paris", 1),
        ("rule:exact,in=last-line", "It is\nParis ", "Paris", 1), ("rule:exact,in=anywhere", "It is Paris.", "Paris", 1), ("rule:exact,in=anywhere", "It is", "", 0),
    ])
    func exact(spec: String, completion: String, reference: String, expected: Double) async throws {
        let value = try await score(spec, item(completion, reference: reference))
        #expect(value == expected, "\(spec) of \"\(completion)\": \(value), expected \(expected)")
    }

    @Test("math answers in every dress", arguments: [
        ("so it is 42.\n#### 42", "42", 1.0), ("#### 1,234", "1234", 1), ("#### $70,000.00", "#### 70000", 1), ("The answer is 18 dollars.", "18", 1),
        ("the answer is: x = 7. Check: 3 + 4", "7", 1), ("Thus \\boxed{\\frac{1}{2}}.", "0.5", 1), ("\\boxed{1{,}000}", "1000", 1), ("\\boxed{x^2+1}", "x^2+1", 1),
        ("\\boxed{x^2+1}", "x^2 + 1", 1), ("\\boxed{x^2+1}", "x^2 + 2", 0), ("A: 18", "Janet sells 9.\nA: 18", 1), ("first 3, then 5, so 15", "15", 1), ("15 cups, of which 3", "15", 0), ("#### -3", "-3", 1),
        ("5-3 makes 2", "-3", 0), ("10 - 3", "3", 1), ("#### 3/4", "0.75", 1), ("#### 50%", "50", 1), ("no idea", "1", 0), ("", "1", 0), ("#### 41\nno: #### 42", "42", 1),
        ("\\boxed{(A)}", "A", 1), ("#### 0.1", "0.10", 1), ("#### 1000001", "1000002", 0), ("12,34", "34", 1), ("The answer is 1/0", "1", 1),
    ])
    func math(completion: String, reference: String, expected: Double) async throws {
        let value = try await score("rule:math", item(completion, reference: reference))
        #expect(value == expected, "\"\(completion)\" against \"\(reference)\": \(value), expected \(expected)")
    }

    @Test("strict math takes marked answers alone") func strictMath() async throws {
        #expect(try await score("rule:math,strict=true", item("so 15", reference: "15")) == 0)
        #expect(try await score("rule:math,strict=true", item("#### 15", reference: "15")) == 1)
    }

    @Test("GSM8K: every reference agrees with itself, and with its calculator", .enabled(if: SharedFiles.isThere, "no shared data: set ALIGN_SHARED"), arguments: ["gsm8k.train.jsonl", "gsm8k.test.jsonl"])
    func gsm8kReferences(file: String) throws {
        var wrong: [String] = []
        let rows = try SharedFiles.rows(file)
        for row in rows {
            let solution = row["answer"]?.string ?? ""
            let last = solution.components(separatedBy: "#### ").last ?? ""
            let answer = MathAnswer(solution: solution, takesLastNumber: false)
            let expected = Double(last.replacingOccurrences(of: ",", with: ""))
            if answer?.number != expected || answer?.agrees(with: MathAnswer(reference: last)) != true { wrong.append("\(last): \(String(describing: answer))") }
        }
        #expect(rows.count >= 660 && wrong.isEmpty, "\(wrong.count) of \(rows.count): \(wrong.prefix(3))")
    }

    @Test("GSM8K: 2640 solutions of models are graded as their labels say", .enabled(if: SharedFiles.isThere, "no shared data: set ALIGN_SHARED"), arguments: ["rule:math", "rule:math,strict=true"])
    func gsm8kSolutions(spec: String) async throws {
        let reward = try RewardSpec(spec).make(RewardContext())
        var (items, labels) = ([RewardItem](), [Bool]())
        for row in try SharedFiles.rows("gsm8k-model-solutions.jsonl.gz") {
            for model in ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"] {
                guard let said = row[model], let label = said["is_correct"]?.bool else { continue }
                items.append(item(said["solution"]?.string ?? "", reference: row["ground_truth"]?.string))
                labels.append(label)
            }
        }
        let scores = try await reward.scores(of: items)
        let wrong = zip(zip(items, scores), labels).filter { ($0.0.1.value == 1) != $0.1 }.map { "label \($0.1): …\($0.0.0.completion.suffix(60)) against …\($0.0.0.reference?.suffix(12) ?? "")" }
        #expect(items.count == 2640 && wrong.isEmpty, "\(wrong.count) of \(items.count): \(wrong.prefix(5))")
    }

    @Test("patterns", arguments: [
        ("rule:regex,pattern=\\d{3}", "ab 123", 1.0), ("rule:regex,pattern=\\d{3},match=whole", "ab 123", 0), ("rule:regex,pattern=[a-z ]+\\d{3},match=whole", "ab 123", 1),
        ("rule:regex,pattern=foo,bar,match=none", "foo bar", 1), ("rule:regex,pattern=FOO,case=ignore", "a foo", 1), ("rule:regex,pattern=a+b", "xaab", 1),
    ])
    func regex(spec: String, completion: String, expected: Double) async throws {
        let value = try await score(spec, item(completion))
        #expect(value == expected, "\(spec): \(value), expected \(expected)")
    }

    @Test("a pattern that backtracks without end is stopped, with the pattern named") func catastrophic() async throws {
        let text = String(repeating: "a", count: 40) + "!"
        await #expect { _ = try await score("rule:regex,pattern=^(a+)+$", item(text)) } throws: {
            guard let failure = $0 as? RewardFailure, case let .tooManySteps(_, 0, pattern, _) = failure.reason else { return false }
            return pattern == "^(a+)+$"
        }
    }

    @Test("JSON", arguments: [
        ("rule:json", "{\"a\": 1}", 1.0), ("rule:json", "{\"a\": 1", 0), ("rule:json", "3", 1), ("rule:json,kind=object", "[3]", 0), ("rule:json,kind=array", "[3]", 1),
        ("rule:json,keys=a|b", "{\"a\": 1, \"b\": 2}", 1), ("rule:json,keys=a|b", "{\"a\": 1}", 0), ("rule:json", "```json\n{}\n```", 0), ("rule:json,fenced=true", "Here:\n```json\n{}\n```", 1),
    ])
    func json(spec: String, completion: String, expected: Double) async throws {
        let value = try await score(spec, item(completion))
        #expect(value == expected, "\(spec) of \(completion): \(value), expected \(expected)")
    }

    @Test("lengths", arguments: [
        ("rule:length,min=2,max=3", "a b", 1.0), ("rule:length,min=2,max=3", "a", 0), ("rule:length,max=3", "a b c d", 0), ("rule:length,max=2,soft=4", "a b c", 0.75),
        ("rule:length,max=2,soft=2", "a b c d e", 0), ("rule:length,min=5,unit=characters", "hällo", 1), ("rule:length,min=3,soft=4,unit=tokens", "x", 0.75),
    ])
    func length(spec: String, completion: String, expected: Double) async throws {
        let value = try await score(spec, item(completion, tokens: [1, 2]))
        #expect(value == expected, "\(spec): \(value), expected \(expected)")
    }

    @Test("repetition") func repetition() async throws {
        // a b c a b c: four trigrams, three distinct.
        #expect(try await score("rule:repetition", item("a b c A b c")) == -0.25)
        #expect(try await score("rule:repetition,n=1,penalty=2", item("a a a a")) == -1.5)
        #expect(try await score("rule:repetition", item("a b")) == 0)
    }

    @Test("format tags", arguments: [
        ("rule:format", "<think>x</think> <answer>y</answer>", 1.0), ("rule:format", "<answer>y</answer><think>x</think>", 0), ("rule:format", "<think></think><answer>y</answer>", 0),
        ("rule:format", "<think>x</think>y", 0), ("rule:format,tags=think,outside=true", "<think>x</think>y", 1), ("rule:format,tags=think", "<think>x</think>y", 0),
        ("rule:format,partial=true", "<think>x</think>y", 0.5), ("rule:format", "<think>x</think><think>z</think><answer>y</answer>", 0),
    ])
    func format(spec: String, completion: String, expected: Double) async throws {
        let value = try await score(spec, item(completion))
        #expect(value == expected, "\(spec) of \(completion): \(value), expected \(expected)")
    }

    @Test("stops") func stops() async throws {
        #expect(try await score("rule:stop", item("x", finish: .stopToken(2))) == 1)
        #expect(try await score("rule:stop,missing=-1", item("x", finish: .length)) == -1)
        await #expect(throws: RewardFailure.self) { _ = try await score("rule:stop", item("x")) }
    }

    @Test("a missing reference is named with its completion, and the scores before it are kept") func missing() async throws {
        do {
            _ = try await RewardSpec("rule:math").make(RewardContext()).scores(of: [item("#### 1", reference: "1"), item("2")])
            Issue.record("no error")
        } catch let failure as RewardFailure {
            #expect(failure.done.map(\.value) == [1])
            guard case .missing(_, 1, _, _) = failure.reason else {
                Issue.record("\(failure)")
                return
            }
        }
    }
}
