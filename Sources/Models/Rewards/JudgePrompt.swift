/// What a judge is asked, and how its verdict is read.
enum JudgePrompt {
    static func pair(question: String, a: String, b: String) -> (system: String, user: String) {
        let system = """
            You are a fair judge of two assistants' answers to one request. Say which answer serves the person who asked better: does it do what was asked, \
            is it correct, helpful, clear, and deep enough for the request? Neither the order of the answers, nor their length, nor their style \
            of self-introduction counts. Compare them in a few sentences first. Then end with your verdict on a line of its own, exactly one of: \
            [[A]] if answer A is better, [[B]] if answer B is better, [[C]] if they are equally good.
            """
        return (system, "<request>\n\(question)\n</request>\n\n<answer A>\n\(a)\n</answer A>\n\n<answer B>\n\(b)\n</answer B>")
    }

    static func single(question: String, answer: String, reference: String?) -> (system: String, user: String) {
        let against = reference == nil ? "" : " A reference answer is given: what it says is right; find the answer's mistakes by comparing."
        let system = """
            You are a fair judge of an assistant's answer. Does it do what was asked, is it correct, helpful, clear, and deep enough for the request?\(against) \
            Explain in a few sentences first. Then end with a rating from 1 (useless) to 10 (could not be better) on a line of its own, \
            exactly in this form: [[rating]], for example [[5]].
            """
        let given = reference.map { "<reference answer>\n\($0)\n</reference answer>\n\n" } ?? ""
        return (system, "<request>\n\(question)\n</request>\n\n\(given)<answer>\n\(answer)\n</answer>")
    }

    /// The last verdict: 1 for `[[A]]`, 0 for `[[B]]`, ½ for `[[C]]`; nil where there is none.
    static func preference(_ judgement: String) -> Double? {
        marks(judgement).reversed().lazy.compactMap { ["A": 1.0, "B": 0.0, "C": 0.5][$0.uppercased()] }.first
    }

    /// The last rating from 1 to 10: `[[7]]`, `[[7.5]]`, `[[8/10]]`, `[[rating: 8]]`.
    static func rating(_ judgement: String) -> Double? {
        marks(judgement).reversed().lazy.compactMap { mark in
            let number = (mark.split(separator: ":").last ?? "").split(separator: "/").first.map { $0.trimmingSpaces }
            return number.flatMap { Double($0) }.flatMap { (1...10).contains($0) ? $0 : nil }
        }.first
    }

    /// What stands in double brackets, in order.
    private static func marks(_ text: String) -> [String] {
        var marks: [String] = []
        var rest = Substring(text)
        while let open = rest.firstRange(of: "[["), let close = rest[open.upperBound...].firstRange(of: "]]") {
            marks.append(String(rest[open.upperBound..<close.lowerBound].trimmingSpaces))
            rest = rest[close.upperBound...]
        }
        return marks
    }
}
