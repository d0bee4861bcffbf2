/// Whether a worked solution ends in the reference's answer, as GSM8K and MATH are graded.
struct MathRule: RewardRule {
    static let name = "math"
    static let options = ["strict"]
    static let help =
        "1 if the final answer (#### N, \\boxed{N}, \"A: N\", \"the answer is N\", else the last number) is the reference's, else 0 (strict=true: only marked answers count)"
    let isStrict: Bool

    init(_ options: RewardOptions) throws(RewardError) { isStrict = try options.isOn("strict") }

    func score(_ item: RewardItem, index: Int) throws(RewardError) -> RewardScore {
        let reference = MathAnswer(reference: try item.requiredReference(Self.name, index: index))
        let answer = MathAnswer(solution: item.completion, takesLastNumber: !isStrict)
        let isRight = answer?.agrees(with: reference) ?? false
        return RewardScore(isRight ? 1 : 0, components: [.init("marked", answer?.isMarked == true ? 1 : 0)])
    }
}
