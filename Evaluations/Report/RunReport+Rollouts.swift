import Serialization

/// What online stages add to a report: completions by step with what they were worth, and the reward against what it must not be bought with.
extension RunReport {
    /// A sampled completion that a step learned from.
    public struct Rollout: Sendable, Equatable {
        public var step: Int
        public var prompt: String, completion: String
        /// nil where nobody scored it.
        public var reward: Double?
        /// Mean over its tokens.
        public var advantage: Double?
        /// What the reward is made of, by name.
        public var parts: [(name: String, value: Double)]

        public init(step: Int, prompt: String, completion: String, reward: Double?, advantage: Double?, parts: [(name: String, value: Double)] = []) {
            (self.step, self.prompt, self.completion, self.reward, self.advantage, self.parts) = (step, prompt, completion, reward, advantage, parts)
        }

        /// A line of completions.jsonl.
        public init?(json: JSON) {
            guard let step = json["step"]?.int, let prompt = json["prompt"], let completion = json["completion"]?.string else { return nil }
            let parts = (json.object ?? JSONObject()).members.compactMap { key, value in
                key.hasPrefix("reward/") ? value.double.map { (name: String(key.dropFirst("reward/".count)), value: $0) } : nil
            }
            self.init(
                step: step, prompt: Self.text(prompt), completion: completion, reward: json["reward"]?.double, advantage: json["advantage"]?.double, parts: parts)
        }

        /// A text as it is, messages with their roles, ids as numbers.
        private static func text(_ prompt: JSON) -> String {
            if let text = prompt.string { return text }
            return (prompt.array ?? []).map { part in
                part["content"]?.string.map { "\(part["role"]?.string ?? "?"): \($0)" } ?? part.text()
            }.joined(separator: prompt.array?.first?.object == nil ? " " : "\n")
        }

        public static func == (a: Rollout, b: Rollout) -> Bool {
            (a.step, a.prompt, a.completion, a.reward, a.advantage) == (b.step, b.prompt, b.completion, b.reward, b.advantage)
                && a.parts.elementsEqual(b.parts) { $0 == $1 }
        }
    }

    /// Steps that are shown: evenly spaced, the first and the last among them.
    private static let shownSteps = 8

    var rolloutSection: String {
        guard !rollouts.isEmpty else { return "" }
        var byStep: [Int: [Rollout]] = [:]
        for rollout in rollouts { byStep[rollout.step, default: []].append(rollout) }
        let steps = byStep.keys.sorted()
        let last = steps.count - 1
        let shown = last < Self.shownSteps ? steps : (0..<Self.shownSteps).map { steps[$0 * last / (Self.shownSteps - 1)] }
        let tables = shown.map { step in
            let rows = (byStep[step] ?? []).map { rollout in
                let parts = rollout.parts.map { "<br>\(Self.escaped($0.name)) \(SVGPlot.label($0.value))" }.joined()
                return "<tr><td><pre>\(Self.escaped(rollout.prompt))</pre></td><td><pre>\(Self.escaped(rollout.completion))</pre></td>"
                    + "<td>\(rollout.reward.map(SVGPlot.label) ?? "")\(parts)</td><td>\(rollout.advantage.map(SVGPlot.label) ?? "")</td></tr>"
            }
            return "<h3>Step \(step)</h3><table><tr><th>prompt</th><th>completion</th><th>reward</th><th>advantage</th></tr>\(rows.joined())</table>"
        }
        let note = shown.count < steps.count ? "<p>\(shown.count) of \(steps.count) steps; all are in completions.jsonl.</p>" : ""
        return "<h2>Sampled completions</h2>\(note)" + tables.joined()
    }

    /// The reward against length, repetition, KL and the held-out reward, evaluation by evaluation, or step by step where there are none.
    var watch: String {
        let isEvaluated = points("eval_reward").count > 1
        let prefix = isEvaluated ? "eval_" : ""
        let against: [(title: String, key: String, axis: String)] = [
            ("KL", prefix + "objective/kl", "KL"), ("length", prefix + "completions/mean_length", "tokens"),
            ("repetition", prefix + "completions/repetition", "share"), ("held-out reward", "eval_heldout_reward", "reward"),
        ]
        return against.map { title, key, axis in
            let pairs = metrics.compactMap { line -> (x: Double, y: Double)? in
                guard let x = line[key]?.double, let y = line[prefix + "reward"]?.double, x.isFinite, y.isFinite else { return nil }
                return (x, y)
            }
            guard pairs.count > 1 else { return "" }
            let plot = SVGPlot(series: [.init(name: isEvaluated ? "held-out prompts, in order" : "sampled, in order", points: pairs)], axis: axis)
            return "\n<figure><figcaption>Reward against \(title)</figcaption>\(plot.svg)</figure>"
        }.joined()
    }
}
