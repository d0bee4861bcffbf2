import Foundation
import PreferenceData

/// Labelling at a terminal: draws `LabelScreen`, reads keys, and obeys signals.
final class LabelTerminal {
    static var isUsable: Bool { RawTerminal.isPresent }

    private let sitting: LabelSitting
    private let terminal = RawTerminal()
    private let hasColour = (ProcessInfo.processInfo.environment["NO_COLOR"] ?? "").isEmpty

    init(_ sitting: LabelSitting) { self.sitting = sitting }

    /// - Returns: Where it ended, and whether a signal ended it.
    func run(_ start: LabelInterface) throws -> (LabelInterface, isInterrupted: Bool) {
        var interface = start, decoder = KeyDecoder()
        terminal.enter()
        defer { terminal.leave() }
        var candidates = try sitting.candidates(&interface)
        draw(&interface, candidates)
        while true {
            switch terminal.wait(decoder.isWaiting ? 50 : nil) {
            case let .bytes(bytes):
                guard try handle(decoder.feed(bytes), &interface, &candidates) else { return (interface, false) }
            case .silence:
                guard try handle(decoder.flush(), &interface, &candidates) else { return (interface, false) }
            case .signal(SIGTSTP): terminal.suspend()
            case .signal(SIGWINCH): break
            case .signal(SIGCONT):
                // Whoever stopped it may have changed the terminal meanwhile.
                terminal.leave()
                terminal.enter()
            case .signal, .closed: return (interface, true)
            }
            draw(&interface, candidates)
        }
    }

    /// - Returns: Whether to go on.
    private func handle(_ keys: [TerminalKey], _ interface: inout LabelInterface, _ candidates: inout Candidates?) throws -> Bool {
        for key in keys {
            let before = interface.session.position
            var effect = interface.handle(key, time: PreferenceStore.now())
            if case let .edit(completion) = effect { effect = try edit(completion, &interface, candidates) }
            switch effect {
            case .quit: return false
            case let .cast(vote): try sitting.cast(vote, &interface)
            case .none, .edit: break
            }
            guard case .none = effect, interface.session.position == before else {
                candidates = try sitting.candidates(&interface)
                // A key that was typed before the next item was on the screen says nothing about it.
                terminal.discardTyped()
                break
            }
        }
        return true
    }

    private func edit(_ completion: Int, _ interface: inout LabelInterface, _ candidates: Candidates?) throws -> LabelInterface.Effect {
        guard let candidates, let content = sitting.content(completion, interface, candidates), let text = LabelSitting.editable(content) else {
            interface.say("token ids cannot be edited")
            return .none
        }
        terminal.leave()
        defer { terminal.enter() }
        do throws(TextEditor.Failure) {
            let edited = try TextEditor.edit(text)
            terminal.enter()
            do {
                let id = try sitting.keep(edited, insteadOf: completion, interface, candidates)
                return interface.edited(completion: completion, id: id, time: PreferenceStore.now())
            } catch {
                interface.say("the edit was not kept: \(error)")
                return .none
            }
        } catch {
            interface.say(error.description)
            return .none
        }
    }

    // MARK: Drawing

    private func draw(_ interface: inout LabelInterface, _ candidates: Candidates?) {
        let (columns, rows) = terminal.size
        let screen = LabelScreen(interface, candidates: candidates, progress: sitting.progress(interface.session), width: columns, height: rows)
        interface.scroll = min(interface.scroll, screen.maximumScroll)
        interface.page = screen.page
        var text = "\u{1B}[H"
        for (row, line) in screen.lines.enumerated() {
            let style = style(line.style)
            text += (row == 0 ? "" : "\r\n") + style + line.text + (style.isEmpty ? "" : "\u{1B}[0m") + "\u{1B}[K"
        }
        terminal.write(text + "\u{1B}[J")
    }

    private func style(_ style: LabelScreen.Style) -> String {
        switch style {
        case .plain: ""
        case .title: "\u{1B}[7m"
        case .heading: "\u{1B}[1m"
        case .dim: "\u{1B}[2m"
        case .message: hasColour ? "\u{1B}[36m" : ""
        }
    }
}
