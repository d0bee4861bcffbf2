/// What is wrong with a command line. The process then exits with 64.
enum UsageError: Error, Equatable {
    case noCommand
    /// The first of two words alone.
    case noSubcommand(group: String, commands: [String])
    case unknownCommand(found: String, nearest: String?)
    case unknownFlag(command: String, flag: String, value: String?, nearest: String?)
    case missingValue(command: String, form: String, help: String)
    case missingFlag(command: String, form: String, help: String)
    case missingArgument(command: String, placeholder: String, help: String)
    case badValue(command: String, flag: String, found: String, expected: String)
    /// A word without a flag is none of those known.
    case badArgument(command: String, placeholder: String, found: String, expected: String, nearest: String?)
    case extraArgument(command: String, found: String, accepts: String)
    case conflict(command: String, flags: [String], reason: String)
    /// `--config` names a file that cannot be used.
    case badConfig(file: String, reason: String)
    case unknownKey(file: String, key: String, nearest: String?)
}

extension UsageError: CustomStringConvertible {
    var description: String {
        func see(_ command: String) -> String { "See 'align \(command) --help'." }
        switch self {
        case .noCommand:
            return "no command given. See 'align --help'."
        case let .noSubcommand(group, commands):
            return "align \(group): the second word is missing, expected one of \(commands.map { "'\($0)'" }.joined(separator: ", ")). See 'align \(group) --help'."
        case let .unknownCommand(found, nearest):
            return "there is no command \"\(found)\"" + (nearest.map { "; the nearest is '\($0)'" } ?? "") + ". See 'align --help'."
        case let .unknownFlag(command, flag, value, nearest):
            let given = value.map { " (value \"\($0)\")" } ?? ""
            return "align \(command): unknown flag \(flag)\(given)" + (nearest.map { "; the nearest known flag is \($0)" } ?? "") + ". " + see(command)
        case let .missingValue(command, form, help):
            return "align \(command): \(form): the value is missing. Expected: \(help). " + see(command)
        case let .missingFlag(command, form, help):
            return "align \(command): \(form) is missing: \(help). " + see(command)
        case let .missingArgument(command, placeholder, help):
            return "align \(command): \(placeholder) is missing: \(help). " + see(command)
        case let .badValue(command, flag, found, expected):
            return "align \(command): --\(flag): found \"\(found)\", expected \(expected). " + see(command)
        case let .badArgument(command, placeholder, found, expected, nearest):
            return "align \(command): \(placeholder): found \"\(found)\", expected \(expected)" + (nearest.map { "; the nearest is \($0)" } ?? "") + ". "
                + see(command)
        case let .extraArgument(command, found, accepts):
            return "align \(command): \"\(found)\" is one argument too many; the command takes \(accepts). " + see(command)
        case let .conflict(command, flags, reason):
            return "align \(command): " + flags.map { "--" + $0 }.joined(separator: ", ") + ": \(reason). " + see(command)
        case let .badConfig(file, reason):
            return "--config \(file): \(reason)."
        case let .unknownKey(file, key, nearest):
            return "--config \(file): there is no setting \"\(key)\"" + (nearest.map { "; the nearest is \"\($0)\"" } ?? "")
                + ". Keys are the flags' names without the dashes."
        }
    }
}
