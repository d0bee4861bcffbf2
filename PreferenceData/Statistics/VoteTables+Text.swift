import Foundation
import Serialization

extension AgreementReport.Figure {
    /// `0.412 [0.301, 0.520]`, or why not.
    var text: String {
        guard let value else { return "undefined: " + (reason ?? "") }
        return number(value) + (interval.map { " [\(number($0.lowerBound)), \(number($0.upperBound))]" } ?? "")
    }

    var json: JSON {
        guard let value else { return ["value": nil, "reason": .string(reason ?? "")] }
        return ["value": .number(value), "interval": interval.map { [.number($0.lowerBound), .number($0.upperBound)] } ?? nil]
    }
}

extension AgreementReport {
    /// For people.
    public var text: String {
        var text = """
            \(items) items judged, \(overlapping) of them by two annotators or more
            Krippendorff's alpha (first, second, tie)   \(alpha.text)
            Krippendorff's alpha (strengths, ordinal)   \(strengthAlpha.text)
            Fleiss' kappa                               \(fleiss.text)

            """
        let rows = annotators.map { a in
            [
                a.name, "\(a.votes)", "\(a.ties)", "\(a.skips)", share(a.consensus), share(a.reliability), a.gold > 0 ? "\(a.goldRight)/\(a.gold)" : "–",
                share(a.firstShown),
            ]
        }
        if !rows.isEmpty { text += "\n" + table(["annotator", "votes", "ties", "skips", "as others", "reliability", "gold", "left chosen"], rows) }
        let both = pairs.filter { $0.items > 0 }.map { [$0.first, $0.second, "\($0.items)", share($0.observed), $0.kappa.text] }
        if !both.isEmpty { text += "\n" + table(["annotator", "and", "items", "agree", "Cohen's kappa"], both) }
        return text
    }

    public var json: JSON {
        [
            "items": .integer(items), "overlapping": .integer(overlapping), "alpha": alpha.json, "strength_alpha": strengthAlpha.json, "fleiss": fleiss.json,
            "pairs": .array(pairs.map {
                ["annotators": [.string($0.first), .string($0.second)], "items": .integer($0.items), "observed": optional($0.observed), "kappa": $0.kappa.json]
            }),
            "annotators": .array(annotators.map {
                [
                    "name": .string($0.name), "votes": .integer($0.votes), "ties": .integer($0.ties), "skips": .integer($0.skips),
                    "consensus": optional($0.consensus), "reliability": optional($0.reliability), "gold_right": .integer($0.goldRight), "gold": .integer($0.gold),
                    "first_shown": optional($0.firstShown),
                ]
            }),
        ]
    }
}

extension RatingReport {
    public var text: String {
        guard let ratings else { return "no ratings: \(reason ?? "")" + (leftOut > 0 ? " \(leftOut) votes are on completions of unknown or equal models.\n" : "\n") }
        var text = table(
            ["rank", "model", "Elo", "95 %", "votes", "win rate"],
            ratings.players.map { player in
                let ranks = player.ranks.lowerBound == player.ranks.upperBound ? "\(player.ranks.lowerBound)" : "\(player.ranks.lowerBound)–\(player.ranks.upperBound)"
                let interval = "\(Int(player.interval.lowerBound.rounded()))–\(Int(player.interval.upperBound.rounded()))"
                return [ranks, models[player.player], "\(Int(player.elo.rounded()))", interval, "\(Int(player.games))", share(player.winRate)]
            })
        if ratings.ridge > 0 {
            let groups = ratings.components.map { $0.map { models[$0] }.joined(separator: ", ") }.joined(separator: " | ")
            text += "held finite by a ridge of \(ratings.ridge): there are no wins both ways between \(groups)\n"
        }
        if ratings.regularisedResamples > 0 { text += "\(ratings.regularisedResamples) of \(ratings.resamples) resamples needed that ridge\n" }
        if leftOut > 0 { text += "\(leftOut) votes are on completions of unknown or equal models and left out\n" }
        return text
    }

    public var json: JSON {
        guard let ratings else { return ["ratings": [], "reason": .string(reason ?? ""), "votes": .integer(votes), "left_out": .integer(leftOut)] }
        return [
            "ratings": .array(ratings.players.map {
                [
                    "model": .string(models[$0.player]), "elo": .number($0.elo), "standard_error": .number($0.standardError),
                    "interval": [.number($0.interval.lowerBound), .number($0.interval.upperBound)],
                    "ranks": [.integer($0.ranks.lowerBound), .integer($0.ranks.upperBound)], "win_rate": .number($0.winRate), "votes": .number($0.games),
                ]
            }),
            "ridge": .number(ratings.ridge), "groups": .array(ratings.components.map { .array($0.map { .string(models[$0]) }) }),
            "votes": .integer(votes), "left_out": .integer(leftOut),
        ]
    }
}

private func optional(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
private func number(_ value: Double) -> String { String(format: "%.3f", value) }
private func share(_ value: Double?) -> String { value.map { String(format: "%.1f %%", 100 * $0) } ?? "–" }

/// Columns padded to their widest cell.
private func table(_ heading: [String], _ rows: [[String]]) -> String {
    let widths = heading.indices.map { column in ([heading] + rows).map { DisplayWidth.of($0[column]) }.max() ?? 0 }
    return ([heading] + rows).map { row in
        let cells = row.indices.map { row[$0] + String(repeating: " ", count: widths[$0] - DisplayWidth.of(row[$0])) }
        return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed()) + "\n"
    }.joined()
}
