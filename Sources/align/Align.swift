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
            switch try Registry.match(Array(words.dropFirst())) {
            case let .command(command, _): try Output.write(Help.text(of: command.usage))
            case let .group(group, _): try Output.write(Help.text(of: group))
            }
        default:
            if first.hasPrefix("-") { throw UsageError.unknownFlag(command: "COMMAND", flag: first, value: nil, nearest: nil) }
            // Help is for those who do not know the flags yet: it wins over mistakes in them.
            func asksForHelp(_ rest: [String]) -> Bool { rest.prefix { $0 != "--" }.contains { $0 == "--help" || $0 == "-h" } }
            switch try Registry.match(words) {
            case let .group(group, rest):
                guard asksForHelp(rest) else { throw UsageError.noSubcommand(group: group.name, commands: group.commands.map { $0.usage.name }) }
                try Output.write(Help.text(of: group))
            case let .command(command, rest):
                if asksForHelp(rest) { return try Output.write(Help.text(of: command.usage)) }
                try await command.parse(rest).run()
            }
        }
    }
}
