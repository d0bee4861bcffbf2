import Serialization

/// What the terminal shows: an interface and the item's texts, laid out for a size. Pure: the same input, the same lines.
public struct LabelScreen: Sendable, Equatable {
    public enum Style: Sendable, Equatable { case plain, title, heading, dim, message }
    public struct Line: Sendable, Equatable {
        public var text: String
        public var style: Style
        init(_ text: String, _ style: Style = .plain) { (self.text, self.style) = (text, style) }
    }

    /// Exactly as many as the terminal has.
    public private(set) var lines: [Line]
    /// How far the text can be scrolled, and how much of it fits.
    public private(set) var maximumScroll = 0
    public private(set) var page = 0

    /// From this width on, two completions stand side by side.
    static let sideBySide = 90

    /// - Parameter candidates: Prompt and completions of the interface's item, in the item's order; nil when all are done.
    public init(_ interface: LabelInterface, candidates: Candidates?, progress: LabelProgress, width: Int, height: Int) {
        guard width >= 24, height >= 8 else {
            lines = (0..<max(1, height)).map { Line(TextLayout.fitted($0 == 0 ? "make the window larger" : "", width: max(1, width))) }
            return
        }
        let body: [Line]
        switch interface.mode {
        case .help: body = Self.text(Self.help(interface), width: width)
        case .guidelines: body = Self.text(interface.guidelines ?? "", width: width)
        default: body = candidates.map { Self.item(interface, $0, width: width) } ?? Self.text(Self.finished, width: width)
        }
        let footer = Self.footer(interface, width: width)
        page = height - 2 - footer.count
        maximumScroll = max(0, body.count - page)
        let start = min(max(0, interface.scroll), maximumScroll)
        let visible = Array(body[start..<min(body.count, start + page)])
        let below = body.count - start - visible.count
        var rule = String(repeating: "─", count: width)
        if below > 0 || start > 0 {
            let hint = [start > 0 ? "▲ \(start) lines above" : nil, below > 0 ? "▼ \(below) more: Space, ↓" : nil].compactMap(\.self).joined(separator: "  ")
            rule = TextLayout.fitted("── \(hint) " + rule, width: width)
            if rule.hasSuffix("…") { rule = String(rule.dropLast()) + "─" }
        }
        lines = [Self.title(interface, progress, width: width), Line(String(repeating: "─", count: width), .dim)] + visible
        lines += [Line](repeating: Line(""), count: max(0, page - visible.count))
        lines += [Line(rule, .dim)] + footer.dropFirst()
        lines = lines.prefix(height).map { Line(TextLayout.fitted($0.text, width: width), $0.style) }
    }

    // MARK: Frame

    private static func title(_ interface: LabelInterface, _ progress: LabelProgress, width: Int) -> Line {
        let session = interface.session
        let place = session.entry == nil ? "all done" : "item \(session.position + 1)/\(session.entries.count)"
        let left = " \(HarmlessText.line(session.settings.annotator))   \(place)   ", right = "  \(progress.text) "
        let room = width - DisplayWidth.of(left) - DisplayWidth.of(right)
        return Line(left + (room >= 4 ? progress.bar(width: min(40, room)) : "") + right, .title)
    }

    /// A rule, what is said so far or asked, and the keys.
    private static func footer(_ interface: LabelInterface, width: Int) -> [Line] {
        let keys = TextLayout.wrap(Self.keys(interface), width: width - 2).prefix(3).map { Line(" " + $0, .dim) }
        return [Line(""), status(interface)] + keys
    }

    private static func status(_ interface: LabelInterface) -> Line {
        let session = interface.session
        switch interface.mode {
        case let .note(text): return Line(" note: \(HarmlessText.line(text))▏", .message)
        case let .goTo(digits): return Line(" go to item: \(digits)▏", .message)
        case .editSide: return Line(" which one is the better, to be edited?  " + (session.shown.count == 2 ? "← or →" : "its number"), .message)
        case .strength: return Line(" how much better?  1 hardly   2 slightly   3 clearly   4 by far", .message)
        case let .grading(place):
            let (completion, criterion) = interface.gradePlace(place)
            let which = session.shown.count == 2 ? (completion == 0 ? "left" : "right") : "completion \(completion + 1)"
            return Line(" grade \(place + 1) of \(interface.gradeCount): \(criterion.words) of the \(which)?  1 bad … 5 good", .message)
        default: break
        }
        var parts: [String] = []
        if !interface.message.isEmpty { parts.append(interface.message) }
        if let entry = session.entry {
            if let vote = session.own[entry.item.id] { parts.append("your vote: \(interface.describe(vote))") }
            if session.shown.count > 2, !interface.tiers.isEmpty { parts.append("ranking: \(interface.rankingText)") }
            if let strength = session.draft.strength { parts.append("strength \(strength)") }
            if let note = session.draft.note { parts.append("note: \(HarmlessText.line(note))") }
            if session.draft.edited != nil { parts.append("edited") }
        }
        return Line(" " + parts.joined(separator: "   ·   "), .message)
    }

    private static func keys(_ interface: LabelInterface) -> String {
        switch interface.mode {
        case .help, .guidelines: return "↑ ↓ Space scroll   any other key: to the item   q quit"
        case .note, .goTo: return "Enter keep   Esc leave"
        case .editSide, .strength: return "any other key: leave"
        case .grading: return "1-5 grade   Enter none   Backspace the one before   Esc to the choice   s skip   ? help   q quit"
        case .judging: break
        }
        let session = interface.session
        if session.entry == nil { return "u undo   p back   ? help   q quit" }
        let choice = session.shown.count == 2 ? "← left   → right   t tie   b both bad   1-4 strength" : "1-\(session.shown.count) next best   = ties   Enter cast   t all tie   b all bad"
        return choice + "   s skip   u undo   e edit   n note   p back   f forward   ? help" + (interface.guidelines == nil ? "" : "   g guidelines") + "   q quit"
    }

    // MARK: Texts

    private static func text(_ text: String, width: Int) -> [Line] { TextLayout.wrap(text, width: width - 2).map { Line(" " + $0) } }

    private static func item(_ interface: LabelInterface, _ candidates: Candidates, width: Int) -> [Line] {
        let texts = interface.session.shown.map { id in
            candidates.item.completions.firstIndex(of: id).map { words(candidates.completions[$0]) } ?? "(the store lacks this completion)"
        }
        var lines: [Line] = []
        if candidates.prompt.content.kind != .none { lines = [Line(" Prompt", .heading)] + text(words(candidates.prompt.content), width: width) + [Line("")] }
        guard texts.count == 2 else {
            for (number, completion) in texts.enumerated() { lines += [Line(" \(number + 1)", .heading)] + text(completion, width: width) + [Line("")] }
            return lines
        }
        guard width >= sideBySide else {
            for (heading, completion) in zip(["← left", "→ right"], texts) { lines += [Line(" " + heading, .heading)] + text(completion, width: width) + [Line("")] }
            return lines
        }
        let column = (width - 5) / 2
        let (left, right) = (TextLayout.wrap(texts[0], width: column), TextLayout.wrap(texts[1], width: column))
        func row(_ a: String, _ b: String) -> String { " " + TextLayout.fitted(a, width: column) + " │ " + TextLayout.fitted(b, width: column) }
        lines.append(Line(row("← left", "→ right"), .heading))
        for i in 0..<max(left.count, right.count) { lines.append(Line(row(i < left.count ? left[i] : "", i < right.count ? right[i] : ""))) }
        return lines
    }

    /// A content as a person reads it.
    public static func words(_ content: StoredContent) -> String {
        switch content.content {
        case let .messages(messages)?:
            // One answer needs no name.
            if messages.count == 1, messages[0].role == "assistant" || messages[0].role == "user" { return messages[0].content }
            return messages.map { "\($0.role): \($0.content)" }.joined(separator: "\n\n")
        case let .tokens(ids)?: return "token ids: " + ids.map(String.init).joined(separator: " ")
        case let .text(text)?: return content.kind == .transcript ? String(text.drop { $0.isNewline }) : text
        case nil: return content.text
        }
    }

    private static let finished = """

        Every item has your vote. Thank you.

        u takes the last one back, p goes back through them, q ends.
        """

    private static func help(_ interface: LabelInterface) -> String {
        """

        Which completion is better? The order of the two is random and tells nothing.

        ← or a        the left one is better           → or d        the right one is better
        t or =        a tie                             b             both are bad
        1 2 3 4       how much better: hardly, slightly, clearly, by far; before ← or →   (0: not said)
        s             skip: seen and not judged
        u             undo: takes back the last vote, also of an earlier sitting
        p, Backspace  back to the item before           f             forward
        # or :        go to an item by its number
        e             edit the better one in $VISUAL or $EDITOR; kept as a new completion, better than both
        n             a note on the item
        r             grade each completion again (with --grades)
        ↑ ↓ Space PgUp PgDn Home End                    scroll
        g             the guidelines                    ?             this page
        q or Ctrl-C   end; Ctrl-Z pauses. Every vote is on the disk before the next item is shown.

        Of three completions or more: their numbers, best first, = before one that ties with the one before it, Enter.
        """
    }
}
