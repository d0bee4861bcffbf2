import Serialization
import Testing

@testable import Evaluations

@Suite("Pairwise accuracy") struct PairwiseAccuracyTests {
    @Test("ties count one half") func ties() {
        // 2 wins, 1 tie, 1 loss: (2 + ½)/4 = 0.625; margins 1, 2, 0, −1: mean 0.5
        let accuracy = PairwiseAccuracy([(chosen: 1, rejected: 0), (chosen: 3, rejected: 1), (chosen: 2, rejected: 2), (chosen: 0, rejected: 1)])
        #expect(accuracy == PairwiseAccuracy(wins: 2, ties: 1, losses: 1, meanMargin: 0.5))
        #expect(accuracy.accuracy == 0.625)
    }

    @Test("an untrained policy, which is its own reference, has one half") func undecided() {
        #expect(PairwiseAccuracy((0..<40).map { _ in (chosen: 0.0, rejected: 0.0) }).accuracy == 0.5)
        #expect(PairwiseAccuracy([(chosen: Double, rejected: Double)]()).accuracy == 0.5 && PairwiseAccuracy([(chosen: Double, rejected: Double)]()).interval() == 0...1)
    }

    @Test("Wilson's interval, worked by hand") func wilson() {
        // p = 0.8, n = 10, z = 1.96: z² = 3.8416; centre 0.8 + 0.19208 = 0.99208;
        // spread 1.96·√(0.016 + 0.009604) = 1.96·0.160012 = 0.313624; scale 1.38416
        // → (0.678456/1.38416, 1.305704/1.38416) = (0.490157, 0.943319)
        let interval = PairwiseAccuracy.wilson(share: 0.8, of: 10, z: 1.96)
        #expect(abs(interval.lowerBound - 0.490157) < 1e-5, "\(interval.lowerBound), by hand 0.490157")
        #expect(abs(interval.upperBound - 0.943319) < 1e-5, "\(interval.upperBound), by hand 0.943319")
        #expect(PairwiseAccuracy.wilson(share: 1, of: 3).upperBound == 1 && PairwiseAccuracy.wilson(share: 0, of: 3).lowerBound == 0)
    }

    @Test("length-matched pairs") func lengths() {
        #expect(PairwiseAccuracy.lengthMatched([(10, 12), (10, 13), (100, 20), (0, 0), (0, 1)]) == [0, 3])
    }

    @Test("swapping the sides mirrors it") func mirrored() {
        let pairs: [(chosen: Double, rejected: Double)] = [(1, 0), (0.5, 0.75), (2, 2), (-3, 1), (0, -0.25)]
        let (a, b) = (PairwiseAccuracy(pairs), PairwiseAccuracy(pairs.map { ($0.rejected, $0.chosen) }))
        #expect(abs(a.accuracy + b.accuracy - 1) < 1e-12 && abs(a.meanMargin + b.meanMargin) < 1e-12)
    }
}

@Suite("Run report") struct RunReportTests {
    static let report = RunReport(
        record: JSONObject([
            ("stage", "dpo"), ("status", "finished"), ("settings", ["learning-rate": 1e-6, "pairs": ["a<b>.jsonl"]]),
            ("inputs", ["model": "abc"]),
            ("outcome", ["before": ["eval_accuracy": 0.5], "after": ["eval_accuracy": 0.875]]),
        ]),
        metrics: [
            ["step": 1, "loss": 0.7, "rewards/margins": 0.0], ["step": 2, "loss": 0.6, "rewards/margins": 0.2],
            ["step": 2, "eval_loss": 0.65, "eval_accuracy": 0.875], ["step": 3, "loss": nil],
        ],
        samples: [.init(step: 0, prompt: "Why?", completion: "Well <script>"), .init(step: 2, prompt: "Why?", completion: "Because.")])

    @Test("it holds curves, held-out numbers, samples and settings") func content() {
        let html = Self.report.html
        for part in ["<svg", "<polyline", ">Loss<", ">Reward margin<", ">Accuracy<", "0.875", "before training", "after step 2", "Because.", "learning-rate", "1e-06"] {
            #expect(html.contains(part), "\(part) is not in the report")
        }
    }

    @Test("text from outside stays text, and nothing is fetched") func safe() {
        let html = Self.report.html
        #expect(!html.contains("<script") && html.contains("Well &lt;script&gt;") && html.contains("a&lt;b&gt;.jsonl"))
        #expect(!html.contains("http") && !html.contains("src="))
    }

    @Test("an online run shows what was sampled by step, with reward and advantage, and the reward against what may buy it") func online() throws {
        let lines: [JSON] = (1...20).map { step in
            [
                "step": .integer(step), "prompt": [["role": "user", "content": .string("Q<\(step)>")]], "completion": .string("A & B \(step)."), "reward": .number(Double(step) / 8),
                "advantage": -0.375, "reward/rule:length": 17.0,
            ]
        }
        let rollouts = lines.compactMap { RunReport.Rollout(json: $0) }
        #expect(rollouts.count == 20 && RunReport.Rollout(json: ["step": 1, "prompt": "x"]) == nil)
        let metrics: [JSON] = (0..<3).map { step in
            [
                "step": .integer(step), "eval_reward": .number(Double(step)), "eval_heldout_reward": .number(-Double(step)), "eval_objective/kl": .number(2 * Double(step)),
                "eval_completions/mean_length": 20, "eval_completions/repetition": 0.1,
            ]
        }
        let html = RunReport(record: JSONObject([("stage", "ppo")]), metrics: metrics, samples: [], rollouts: rollouts).html
        for part in [
            "user: Q&lt;1&gt;", "user: Q&lt;20&gt;", "A &amp; B 20.", "<h3>Step 20</h3>", "-0.375", "rule:length 17", "8 of 20 steps", "Reward against KL",
            "Reward against length", "Reward against repetition", "Reward against held-out reward", ">KL 4<",
        ] { #expect(html.contains(part), "\(part) is not in the report") }
        #expect(html.components(separatedBy: "<h3>Step ").count == 9, "\(html.components(separatedBy: "<h3>Step ").count - 1) steps")
        #expect(!html.contains("Q<1>"))
    }

    @Test("a run without metrics has a report too") func empty() {
        let html = RunReport(record: JSONObject(), metrics: [], samples: []).html
        #expect(html.contains("</html>") && !html.contains("<svg"))
    }

    @Test("long curves are thinned, their mean kept") func thinned() {
        let plot = SVGPlot(series: [.init(name: "x", points: (0..<6000).map { (Double($0), Double($0 % 2)) })])
        #expect(plot.series[0].points.count == 600)
        #expect(plot.series[0].points.allSatisfy { abs($0.y - 0.5) < 1e-12 })
    }
}
