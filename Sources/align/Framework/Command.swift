/// One word after `align`: it declares what it accepts, parses everything in `init`, and acts only in `run`.
protocol Command {
    static var usage: Usage { get }
    init(_ arguments: Arguments) throws(UsageError)
    func run() async throws
}

extension Command {
    static func parse(_ words: [String]) throws(UsageError) -> Self { try Self(Arguments(usage, words)) }
}

/// The commands, in the order in which help lists them.
enum Registry {
    static var commands: [any Command.Type] {
        [
            DPOCommand.self,
            IPOCommand.self,
            SFTCommand.self,
            GenerateCommand.self,
            ChatCommand.self,
            ScoreCommand.self,
            MergeCommand.self,
            ConvertCommand.self,
            TokenizeCommand.self,
            InspectCommand.self,
            DoctorCommand.self,
            BenchCommand.self,
            VerifyCommand.self,
        ]
    }

    static func command(named name: String) throws(UsageError) -> any Command.Type {
        if let command = commands.first(where: { $0.usage.name == dashed(name) }) { return command }
        throw .unknownCommand(found: name, nearest: nearest(to: dashed(name), in: commands.map { $0.usage.name }))
    }
}
