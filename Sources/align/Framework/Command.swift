import Training

/// One word after `align`, or two (`data import`): it declares what it accepts, parses everything in `init`, and acts only in `run`.
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
            KTOCommand.self,
            ORPOCommand.self,
            SimPOCommand.self,
            CPOCommand.self,
            OnlineCommand<PPOMethod>.self,
            OnlineCommand<MirrorDescentMethod>.self,
            OnlineCommand<RLOOMethod>.self,
            OnlineCommand<GRPOMethod>.self,
            OnlineCommand<ReinforceMethod>.self,
            OnlineCommand<OnlineDPOMethod>.self,
            OnlineCommand<RejectionSamplingMethod>.self,
            GKDCommand.self,
            SFTCommand.self,
            RewardCommand.self,
            LabelCommand.self,
            DataImportCommand.self,
            DataExportCommand.self,
            DataCheckCommand.self,
            DataStatsCommand.self,
            DataSplitCommand.self,
            DataPairsCommand.self,
            DataMergeCommand.self,
            DataDedupCommand.self,
            GenerateCommand.self,
            ChatCommand.self,
            ServeCommand.self,
            ScoreCommand.self,
            EvalCommand.self,
            MergeCommand.self,
            ConvertCommand.self,
            TokenizeCommand.self,
            InspectCommand.self,
            DoctorCommand.self,
            BenchCommand.self,
            VerifyCommand.self,
        ]
    }

    /// First words that several commands share.
    static let groups = [
        CommandGroup("data", "Bring preference data in and out of the store, check, describe and split it.")
    ]

    /// What a command line begins with, and the words after it.
    enum Match {
        case command(any Command.Type, rest: [String])
        /// The first word of several commands, and no more.
        case group(CommandGroup, rest: [String])
    }

    static func match(_ words: [String]) throws(UsageError) -> Match {
        precondition(!words.isEmpty, "0 words, at least 1 is needed")
        let names = words.prefix(2).map(dashed)
        if let group = groups.first(where: { $0.name == names[0] }) {
            guard names.count > 1, !names[1].hasPrefix("-") else { return .group(group, rest: Array(words.dropFirst())) }
            return .command(try command(named: names.joined(separator: " "), among: group.commands), rest: Array(words.dropFirst(2)))
        }
        return .command(try command(named: names[0], among: commands), rest: Array(words.dropFirst()))
    }

    private static func command(named name: String, among commands: [any Command.Type]) throws(UsageError) -> any Command.Type {
        if let command = commands.first(where: { $0.usage.name == name }) { return command }
        throw .unknownCommand(found: name, nearest: nearest(to: name, in: commands.map { $0.usage.name }))
    }
}

/// Commands of two words that share the first: `align data …`.
struct CommandGroup: Sendable {
    let name: String, summary: String
    init(_ name: String, _ summary: String) { (self.name, self.summary) = (name, summary) }

    var commands: [any Command.Type] { Registry.commands.filter { $0.usage.name.hasPrefix(name + " ") } }
}
