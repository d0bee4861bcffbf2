import Foundation
import Serialization

/// One line of a study's results: what an arm was worth at a step, of one seed.
public struct StudyLine: Sendable, Equatable {
    public var arm: String
    public var seed: Int
    /// Online steps behind it; of best-of-n, n.
    public var step: Int
    /// Completions sampled so far.
    public var rollouts: Int
    /// Nats a completion away from the start model.
    public var kl: Double?
    /// Means over completions.
    public var proxy: Double?, gold: Double?, length: Double?
    /// Other numbers of the arm, by name, in order.
    public var others: [(name: String, value: Double)]

    public init(
        arm: String, seed: Int, step: Int = 0, rollouts: Int = 0, kl: Double? = nil, proxy: Double? = nil, gold: Double? = nil, length: Double? = nil,
        others: [(name: String, value: Double)] = []
    ) {
        (self.arm, self.seed, self.step, self.rollouts) = (arm, seed, step, rollouts)
        (self.kl, self.proxy, self.gold, self.length, self.others) = (kl, proxy, gold, length, others)
    }

    public subscript(name: String) -> Double? { others.first { $0.name == name }?.value }

    public static func == (a: StudyLine, b: StudyLine) -> Bool { a.json == b.json }

    private static let known = ["arm", "seed", "step", "rollouts", "kl", "proxy", "gold", "length"]

    /// Numbers to five digits: finer than what is measured.
    public var json: JSON {
        var object = JSONObject([("arm", .string(arm)), ("seed", .integer(seed)), ("step", .integer(step)), ("rollouts", .integer(rollouts))])
        for (name, value) in [("kl", kl), ("proxy", proxy), ("gold", gold), ("length", length)] { object[name] = value.map(Self.rounded) }
        for (name, value) in others { object[name] = Self.rounded(value) }
        return .object(object)
    }

    private static func rounded(_ value: Double) -> JSON { value.isFinite ? .number(Double(String(format: "%.5g", value)) ?? value) : .null }

    /// nil for an object that is no line of results.
    public init?(json: JSON) {
        guard let object = json.object, let arm = object["arm"]?.string, let seed = object["seed"]?.int, let step = object["step"]?.int,
            let rollouts = object["rollouts"]?.int
        else { return nil }
        self.init(arm: arm, seed: seed, step: step, rollouts: rollouts)
        (kl, proxy, gold, length) = (object["kl"]?.double, object["proxy"]?.double, object["gold"]?.double, object["length"]?.double)
        others = object.members.compactMap { key, value in Self.known.contains(key) ? nil : value.double.map { (key, $0) } }
    }
}
