import Foundation

/// The program: finds the command, runs it, and turns whatever it throws into a message and an exit code, here and nowhere else.
@main struct Align {
    static let version = "0.1.0"

    static func main() async {
        Output.ignoreBrokenPipes()
        exit(await run(Array(CommandLine.arguments.dropFirst())).rawValue)
    }

    static func run(_ words: [String]) async -> ExitCode {
        do {
            try await dispatch(words)
            return .ok
        } catch {
            let message = "\(error)"
            // A reader that has gone, or checks that were printed, need no message.
            if !message.isEmpty, error as? Output.Failure != .closed { Output.note("align: " + message) }
            return ExitCode.of(error)
        }
    }

    private static func dispatch(_ words: [String]) async throws {
        guard let first = words.first else {
            Output.note(Help.overview(Registry.commands).trimmedRight)
            throw UsageError.noCommand
        }
        switch first {
        case "--help", "-h": try Output.write(Help.overview(Registry.commands))
        case "--version", "-V": try Output.line("align \(version)")
        case "help":
            guard words.count > 1 else { return try Output.write(Help.overview(Registry.commands)) }
            try Output.write(Help.text(of: try Registry.command(named: words[1]).usage))
        default:
            if first.hasPrefix("-") { throw UsageError.unknownFlag(command: "COMMAND", flag: first, value: nil, nearest: nil) }
            let command = try Registry.command(named: first)
            let rest = Array(words.dropFirst())
            // Help is for those who do not know the flags yet: it wins over mistakes in them.
            if rest.prefix(while: { $0 != "--" }).contains(where: { $0 == "--help" || $0 == "-h" }) {
                return try Output.write(Help.text(of: command.usage))
            }
            try await command.parse(rest).run()
        }
    }
}
