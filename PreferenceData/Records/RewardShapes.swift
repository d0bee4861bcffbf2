import Serialization

/// Reads a row as an example of a reward model.
///
///     {prompt, chosen, rejected}                    a pair in any of its shapes; "margin", "strength" or "probability" say how sure it is
///     {prompt, completions: […], ranks: [1, 2, 2]}  ranked completions; equal ranks are ties
///     {prompt, completions: […], scores: [4, 1.5]}  scored completions; a list of lists for several attributes
///     {prompt, completion, score: 4}                one scored completion; "score" may be a list of attributes
///     {prompt, completions: […], labels: [true, …]} steps of one solution, right or wrong; a number in [0, 1] is a soft label, null none
///
/// With `prompt_ids`, `completions_ids`, `completion_ids` the same in token ids.
enum RewardShapes {
    static let limit = 10_000

    static func read(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> RewardExample {
        if row.has("completions", "labels") || row.has("completions_ids", "labels") { return try steps(row, origin) }
        if row.has("completions") || row.has("completions_ids") { return try several(row, origin) }
        if row.has("score"), !row.has("chosen", "rejected") { return try single(row, origin) }
        return try pair(row, origin)
    }

    // MARK: Shapes

    private static func pair(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> RewardExample {
        let pair = try PairShapes.read(row, origin)
        var strength: PreferenceStrength?
        if let value = row["strength"] {
            strength = value.string.flatMap { PreferenceStrength(words: $0) }
            guard strength != nil else {
                throw RowFault(
                    reason: "\"\(row.name("strength"))\" is \(String(value.text().prefix(60))), expected one of \(PreferenceStrength.allCases.map(\.rawValue).joined(separator: ", ")).",
                    remedy: "Write the strength in these words, or leave the field out.")
            }
        }
        return RewardExample(
            pair, strength: strength,
            probability: try row["probability"].map { value throws(RowFault) in try probability(value, row.name("probability")) },
            grades: try [grades(row, "chosen_grades"), grades(row, "rejected_grades")], subset: row["subset"]?.string)
    }

    private static func several(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> RewardExample {
        let completions = try contents(row, "completions")
        guard row.has("ranks") || row.has("scores") else { throw row.unknownShape(of: RecordShape.rewards) }
        let judgement: RewardExample.Judgement
        if row.has("ranks") {
            guard completions.count > 1 else {
                throw RowFault(reason: "found one completion, expected two or more to rank.", remedy: "Leave the row out.")
            }
            judgement = .ranked(try list(row, "ranks", of: completions.count) { value throws(RowFault) in
                guard let rank = value.int, rank >= 1, rank <= limit else { throw row.wrongType("ranks", value, expected: "ranks from 1") }
                return rank
            })
        } else {
            judgement = .scored(try list(row, "scores", of: completions.count) { value throws(RowFault) in try scores(value, row, "scores") })
        }
        return try example(row, completions, judgement, row.has("ranks") ? .rankedCompletions : .scoredCompletions, origin)
    }

    private static func single(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> RewardExample {
        let field = row.has("completion") || row.has("completion_ids") ? "completion" : "response"
        let completion: Content = try row.has("completion_ids") ? .tokens(row.tokens("completion_ids")) : row.content(field)
        return try example(row, [completion], .scored([try scores(row["score"] ?? .null, row, "score")]), .scoredCompletion, origin)
    }

    private static func steps(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> RewardExample {
        let steps = try contents(row, "completions")
        for step in steps {
            if case .messages = step { throw RowFault(reason: "a step is a message, expected a text.", remedy: "Write steps as strings.") }
        }
        let labels: [Double?] = try list(row, "labels", of: steps.count) { value throws(RowFault) in
            // -100 is the field's word for "no label".
            if value.isNull || value.int == -100 { return nil }
            if let flag = value.bool { return flag ? 1 : 0 }
            return try probability(value, row.name("labels"))
        }
        guard labels.contains(where: { $0 != nil }) else { throw RowFault(reason: "no step has a label, expected at least one.", remedy: "Leave the row out.") }
        return try example(row, steps, .steps(labels), .labelledSteps, origin)
    }

    private static func example(
        _ row: RowView, _ completions: [Content], _ judgement: RewardExample.Judgement, _ shape: RecordShape, _ origin: RowOrigin
    ) throws(RowFault) -> RewardExample {
        if let empty = completions.firstIndex(where: \.isEmpty) {
            throw RowFault(reason: "completion \(empty + 1) is empty, expected something to judge.", remedy: "Leave the row out.")
        }
        var prompt: Content = try row.has("prompt_ids") ? .tokens(row.tokens("prompt_ids")) : row.withSystem(row.content("prompt"))
        var completions = completions
        if prompt.isMessages != completions[0].isMessages, case .text = prompt { prompt = .messages(prompt.messages(role: "user")) }
        if prompt.isMessages, shape != .labelledSteps { completions = completions.map { .messages($0.messages(role: "assistant")) } }
        guard completions.allSatisfy({ $0.isTokens == prompt.isTokens }) else {
            throw RowFault(reason: "found token ids and text in one row, expected either.", remedy: "Give ids for all parts or for none.")
        }
        return RewardExample(
            prompt: prompt, completions: completions, judgement: judgement, grades: [], origin: origin, shape: shape, raw: nil, tools: row["tools"],
            subset: row["subset"]?.string)
    }

    // MARK: Values

    private static func contents(_ row: RowView, _ field: String) throws(RowFault) -> [Content] {
        let isIDs = row.has(field + "_ids")
        let name = isIDs ? field + "_ids" : field
        guard let list = row[name]?.array, !list.isEmpty, list.count <= limit else {
            throw row.wrongType(name, row[name] ?? .null, expected: "a list of 1 to \(limit) completions")
        }
        var contents: [Content] = []
        for item in list {
            let one = try RowView(["completion": item], columns: [:])
            contents.append(try isIDs ? .tokens(one.tokens("completion")) : one.content("completion"))
        }
        return contents
    }

    private static func list<Value>(
        _ row: RowView, _ field: String, of count: Int, _ read: (JSON) throws(RowFault) -> Value
    ) throws(RowFault) -> [Value] {
        guard let list = row[field]?.array, list.count == count else {
            throw RowFault(
                reason: "\"\(row.name(field))\" has \(row[field]?.array.map { "\($0.count) entries" } ?? "no list"), expected \(count), one a completion.",
                remedy: "Give each completion its own.")
        }
        var values: [Value] = []
        for value in list { values.append(try read(value)) }
        return values
    }

    private static func probability(_ value: JSON, _ name: String) throws(RowFault) -> Double {
        guard let number = value.double, number >= 0, number <= 1 else {
            throw RowFault(reason: "\"\(name)\" has \(String(value.text().prefix(40))), expected a number in [0, 1].", remedy: "Write the share of votes as 0.75.")
        }
        return number
    }

    private static func scores(_ value: JSON, _ row: RowView, _ field: String) throws(RowFault) -> [Double?] {
        let list = value.array ?? [value]
        guard !list.isEmpty, list.count <= 1000 else { throw row.wrongType(field, value, expected: "from 1 to 1000 scores") }
        var scores: [Double?] = []
        for item in list {
            guard item.isNull || item.double?.isFinite == true else { throw row.wrongType(field, item, expected: "a finite number or null") }
            scores.append(item.double)
        }
        return scores
    }

    /// Grades by aspect: an object of the aspects' names, or a list in their order; 0, 1 or 2, null or -1 for none.
    private static func grades(_ row: RowView, _ field: String) throws(RowFault) -> [Int?] {
        guard let value = row[field] else { return [] }
        let aspects = RewardExample.gradeAspects
        let list: [JSON]
        if let object = value.object {
            guard object.keys.allSatisfy(aspects.contains) else {
                throw RowFault(reason: "\"\(row.name(field))\" has other members than \(aspects.joined(separator: ", ")).", remedy: "Use these names.")
            }
            list = aspects.map { object[$0] ?? .null }
        } else {
            list = value.array ?? []
        }
        guard list.count == aspects.count else { throw row.wrongType(field, value, expected: "\(aspects.count) grades") }
        var grades: [Int?] = []
        for item in list {
            if item.isNull || item.int == -1 {
                grades.append(nil)
            } else {
                guard let grade = item.int, (0...2).contains(grade) else { throw row.wrongType(field, item, expected: "0, 1, 2 or null") }
                grades.append(grade)
            }
        }
        return grades
    }
}

extension Content {
    var isTokens: Bool { if case .tokens = self { true } else { false } }
    var isMessages: Bool { if case .messages = self { true } else { false } }
}
