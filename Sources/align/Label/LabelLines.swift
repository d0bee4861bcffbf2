import Foundation
import PreferenceData

/// Labelling without a screen: the item as text on standard error, an answer a line on standard input.
struct LabelLines {
    let sitting: LabelSitting
    /// Whether somebody types the answers: a script's rate says nothing.
    private let isPerson = isatty(STDIN_FILENO) == 1

    init(_ sitting: LabelSitting) { self.sitting = sitting }

    func run(_ start: LabelInterface) throws -> LabelInterface {
        var interface = start
        if let guidelines = interface.guidelines { Output.note(harmless(guidelines) + "\n") }
        Output.note(LabelLine.instructions)
        var shown: Int?, announced = ""
        while true {
            let candidates = try sitting.candidates(&interface)
            if shown != interface.session.position {
                shown = interface.session.position
                show(interface, candidates)
            }
            if !interface.message.isEmpty, interface.message != announced { Output.note(interface.message) }
            announced = interface.message
            if candidates == nil { Output.note("every item has your vote; undo, back, or quit") }
            Output.prompt("> ")
            guard let line = readLine(strippingNewline: true) else { return interface }
            guard try answer(LabelLine.parse(line), &interface, candidates, &shown) else { return interface }
        }
    }

    /// - Returns: Whether to go on.
    private func answer(_ line: LabelLine, _ interface: inout LabelInterface, _ candidates: Candidates?, _ shown: inout Int?) throws -> Bool {
        switch line {
        case .quit: return false
        case .help: Output.note(LabelLine.instructions)
        case .guidelines: Output.note(interface.guidelines.map(harmless) ?? "no guidelines were given: --guidelines FILE")
        case .show: shown = nil
        case let .unknown(text): Output.note("not understood: \"\(HarmlessText.line(text))\"; 'help' lists the answers")
        case let .action(action): try act(action, &interface, &shown)
        case let .graded(strength, choice):
            try act(.strength(strength), &interface, &shown)
            if interface.session.draft.strength == strength { try act(.choose(choice), &interface, &shown) }
        case let .edit(completion, text):
            guard let candidates, let id = try sitting.keep(text, insteadOf: completion, interface, candidates) else {
                Output.note("nothing was changed")
                return true
            }
            try act(.edited(completion: completion, id: id), &interface, &shown)
        }
        return true
    }

    private func act(_ action: LabelAction, _ interface: inout LabelInterface, _ shown: inout Int?) throws {
        let before = interface.session.position
        guard case let .cast(vote) = interface.perform(action, time: PreferenceStore.now()) else { return }
        try sitting.cast(vote, &interface)
        // An undo may come back to the very item.
        if interface.session.position == before { shown = nil }
    }

    private func show(_ interface: LabelInterface, _ candidates: Candidates?) {
        guard let candidates else { return }
        let session = interface.session
        var text = "\nitem \(session.position + 1) of \(session.entries.count), \(isPerson ? sitting.progress(session).text : sitting.progress(session).counts)\n"
        if candidates.prompt.content.kind != .none { text += "\nPROMPT\n" + harmless(LabelScreen.words(candidates.prompt.content)) + "\n" }
        for (number, _) in session.shown.enumerated() {
            let name = session.shown.count == 2 ? (number == 0 ? "1, LEFT" : "2, RIGHT") : "\(number + 1)"
            text += "\nCOMPLETION \(name)\n" + harmless(sitting.content(number, interface, candidates).map { LabelScreen.words($0) } ?? "") + "\n"
        }
        if let entry = session.entry, let vote = session.own[entry.item.id] { text += "\nyour vote: \(interface.describe(vote))\n" }
        Output.note(text)
    }

    private func harmless(_ text: String) -> String { HarmlessText.lines(text).joined(separator: "\n") }
}
