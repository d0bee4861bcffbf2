import Testing

@testable import align

@Suite("Command line") struct CommandLineTests {
    static let names = Registry.commands.map { $0.usage.name }

    private func command(_ name: String) throws -> any Command.Type {
        let match = try Registry.match(name.split(separator: " ").map(String.init))
        guard case let .command(command, rest) = match, rest.isEmpty else { throw UsageError.noCommand }
        return command
    }
    private func run(_ name: String, _ more: String...) throws -> Child.Result { try Child(name.split(separator: " ").map(String.init) + more).wait() }

    @Test("every command's help has its flags, defaults and an example", arguments: names) func help(name: String) throws {
        let usage = try command(name).usage
        let result = try run(name, "--help")
        #expect(result.code == 0 && result.err.isEmpty, "exit \(result.code), standard error: \(result.err)")
        #expect(result.out == Help.text(of: usage))
        for flag in usage.flags { #expect(result.out.contains("  \(flag.form)"), "\(flag.form) is missing") }
        #expect(result.out.contains("Example:\n  align \(name)") && !usage.summary.isEmpty && usage.summary.hasSuffix("."))
        #expect(try Child(["help"] + name.split(separator: " ").map(String.init)).wait().out == result.out)
    }

    @Test("a group's help lists its commands, and its name alone is not enough", arguments: Registry.groups.map(\.name)) func group(name: String) throws {
        let help = try Child.run(name, "--help")
        let group = try #require(Registry.groups.first { $0.name == name })
        #expect(help.code == 0 && group.commands.allSatisfy { help.out.contains("  \($0.usage.name) ") } && group.commands.count > 1, "\(help.out)")
        #expect(try Child.run("help", name).out == help.out)
        #expect(try Child.run("--help").out.contains("  \(name) "))
        let bare = try Child.run(name)
        #expect(bare.code == 64 && bare.err.contains("second word") && bare.out.isEmpty, "exit \(bare.code): \(bare.err)")
        let misspelt = try Child.run(name, String(group.commands[0].usage.name.dropFirst(name.count + 1).dropLast()))
        #expect(misspelt.code == 64 && misspelt.err.contains("'\(group.commands[0].usage.name)'"), "exit \(misspelt.code): \(misspelt.err)")
    }

    @Test("an example parses", arguments: ["generate", "chat", "score", "tokenize", "inspect"]) func example(name: String) throws {
        let command = try command(name)
        var words: [String] = []
        for (index, part) in command.usage.example.split(separator: "\"", omittingEmptySubsequences: false).enumerated() {
            if index % 2 == 1 { words.append(String(part)) } else { words += part.split(separator: " ").map(String.init) }
        }
        _ = try command.parse(Array(words.dropFirst(2)))
    }

    @Test("an unknown flag names the nearest", arguments: names) func nearest(name: String) throws {
        let usage = try command(name).usage
        let flag = try #require(usage.flags.first { $0.name.count > 4 })
        let misspelt = "--" + flag.name.dropLast()
        let result = try run(name, misspelt, "1")
        #expect(result.code == 64, "exit \(result.code)")
        #expect(result.err.contains("unknown flag \(misspelt)") && result.err.contains(flag.form), "\(result.err)")
    }

    @Test("an unknown command names the nearest") func command() throws {
        let result = try Child.run("genrate")
        #expect(result.code == 64 && result.err.contains("'generate'"), "exit \(result.code): \(result.err)")
    }

    @Test("a model that is not there: exit 66", arguments: [
        ["generate", "--prompt", "x"], ["chat"], ["score", "--completion", "xy"], ["tokenize", "x"], ["inspect"],
    ]) func missingModel(words: [String]) throws {
        let result = try Child(words + ["--model", "/nowhere/model"]).wait()
        #expect(result.code == 66 && result.err.contains("/nowhere/model"), "exit \(result.code): \(result.err)")
        #expect(result.out.isEmpty)
    }

    @Test("values that cannot be: exit 64", arguments: [
        ["generate"], ["generate", "--prompt", "x", "--temperature", "-1"], ["generate", "--prompt", "x", "--top-p", "2"],
        ["generate", "--prompt", "x", "--max-new-tokens", "0"], ["generate", "--prompt", "x", "--precision", "fp64"],
        ["generate", "--prompt", "x", "--seed", "1.5"], ["generate", "--prompt", "x", "--on-bad-row", "ignore"],
        ["chat", "--threads", "0"], ["score"], ["score", "--prompt", "x"], ["score", "--pairs", "a", "--data", "b"],
        ["score", "--pairs", "a", "--prompt", "x"], ["score", "--pairs", "a", "--columns", "x"], ["tokenize", "--decode", "--chat"],
        ["tokenize", "--file", "a", "b"], ["inspect", "a", "b"], ["inspect", "--model"],
    ]) func badValues(words: [String]) throws {
        let result = try Child(words).wait()
        #expect(result.code == 64 && result.err.contains("align \(words[0])"), "exit \(result.code): \(result.err)")
    }
}
