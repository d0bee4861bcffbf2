import Foundation
import Tensors

/// The writers that a start model imitates.
///
/// A body of 8…21 ids, then the end. A writer draws a rate of wanted ids from U(0.03, 0.20) and one of unwanted from U(0.03, 0.18);
/// each place is one of these with these rates, with 0.12 an id bound to the mode (its own class in three cases of four), else filler.
/// Filler walks modulo 32 from the prompt's first one: every place adds 1, 3, 5 or 9, also where another class is written.
extension PlantedWorld {
    static let bodies = 8...21
    static let wantedRates = 0.03...0.20, unwantedRates = 0.03...0.18
    static let boundRate = 0.12, ownShare = 0.75
    static let strides = [1, 3, 5, 9]

    /// A document: prompt and completion by one writer.
    public func document(_ index: Int, for purpose: Purpose = .documents) -> (prompt: [Int32], completion: [Int32]) {
        let prompt = prompt(index, for: purpose)
        var stream = stream(.documents, purpose, index)
        func uniform(_ range: ClosedRange<Double>) -> Double { range.lowerBound + (range.upperBound - range.lowerBound) * stream.uniform() }
        let roles = roles(of: prompt)
        let length = Self.bodies.lowerBound + Int(stream.next() % UInt64(Self.bodies.count))
        let (wanted, unwanted) = (uniform(Self.wantedRates), uniform(Self.unwantedRates))
        var place = Int(prompt[2] - Self.filler)
        var completion: [Int32] = []
        for _ in 0..<length {
            place = (place + Self.strides[Int(stream.next() % 4)]) % Int(Self.fillers)
            let draw = stream.uniform()
            var kind: Int?
            if draw < wanted { kind = roles.wanted } else if draw < wanted + unwanted { kind = roles.unwanted } else if let own = roles.own,
                let other = roles.other, draw < wanted + unwanted + Self.boundRate
            {
                kind = stream.uniform() < Self.ownShare ? own : other
            }
            if let kind { completion.append(Self.classes + Int32(kind) * Self.classSize + Int32(stream.next() % UInt64(Self.classSize))) } else {
                completion.append(Self.filler + Int32(place))
            }
        }
        return (prompt, completion + [Self.end])
    }

    /// log p of a completion under the writers, in nats: the rates integrated over a grid of `cells`² middles, the walk summed over all its ways.
    ///
    ///     p(y|x) = 1/14 · W(y) · ∫∫ r₀^n₀·r₁^n₁·(1 − r₀ − r₁ − b)^f dr₀dr₁ · ¼… · (1/6)^ids of classes
    /// - Returns: −∞ for what no writer writes.
    public func writersLogLikelihood(of completion: [Int32], after prompt: [Int32], cells: Int = 24) -> Double {
        let body = completion.dropLast()
        guard completion.last == Self.end, Self.bodies.contains(body.count) else { return -.infinity }
        let roles = roles(of: prompt)
        var (wanted, unwanted, fillers, fixed) = (0.0, 0.0, 0.0, -log(Double(Self.bodies.count)))
        for id in body {
            switch Self.classOf(id) {
            case roles.wanted?: wanted += 1
            case roles.unwanted?: unwanted += 1
            case let kind? where kind == roles.own: fixed += log(Self.boundRate * Self.ownShare)
            case let kind? where kind == roles.other: fixed += log(Self.boundRate * (1 - Self.ownShare))
            case nil where id >= Self.filler: fillers += 1
            default: return -.infinity
            }
            if id < Self.filler { fixed -= log(Double(Self.classSize)) }
        }
        return fixed + walkLogLikelihood(Array(body), from: Int(prompt[2] - Self.filler))
            + rates(wanted, unwanted, fillers, bound: roles.own == nil ? 0 : Self.boundRate, cells: cells)
    }

    /// log of the mean over rates of r₀^wanted·r₁^unwanted·(1 − r₀ − r₁ − bound)^fillers.
    private func rates(_ wanted: Double, _ unwanted: Double, _ fillers: Double, bound: Double, cells: Int) -> Double {
        func middles(_ range: ClosedRange<Double>) -> [Double] {
            (0..<cells).map { range.lowerBound + (Double($0) + 0.5) / Double(cells) * (range.upperBound - range.lowerBound) }
        }
        let second = middles(Self.unwantedRates)
        var sum = 0.0
        for r in middles(Self.wantedRates) { for s in second { sum += pow(r, wanted) * pow(s, unwanted) * pow(1 - r - s - bound, fillers) } }
        return log(sum / Double(cells * cells))
    }

    /// log p that the walk stands where fillers were written.
    private func walkLogLikelihood(_ body: [Int32], from start: Int) -> Double {
        let places = Int(Self.fillers)
        var weights = [Double](repeating: 0, count: places)
        weights[start] = 1
        for id in body {
            var next = [Double](repeating: 0, count: places)
            for (place, weight) in weights.enumerated() where weight > 0 { for stride in Self.strides { next[(place + stride) % places] += weight / 4 } }
            if id >= Self.filler { for place in next.indices where place != Int(id - Self.filler) { next[place] = 0 } }
            weights = next
        }
        return log(weights.reduce(0, +))
    }
}
