import Checkpoints
import Serialization
import Testing

@testable import align

@Suite("align chat") struct ChatCommandTests {
    let folder: TinyFolder
    init() throws { folder = try TinyFolder() }

    private func chat(_ input: String, _ words: String...) throws -> Child.Result {
        try Child(["chat", "--model", folder.model, "--temperature", "0", "--max-new-tokens", "8", "--precision", "fp32"] + words, input: input).wait()
    }

    @Test("an answer is what generate --chat gives; a reset forgets") func answers() throws {
        let answer = try Child.run(
            "generate", "--model", folder.model, "--chat", "--prompt", "hi", "--temperature", "0", "--max-new-tokens", "8", "--precision", "fp32").out
        let once = try chat("hi\n")
        #expect(once.code == 0 && once.out == answer, "\(once.out.debugDescription) and \(answer.debugDescription)")
        let reset = try chat("hi\n\n/reset\nhi\n/exit\nhi\n")
        #expect(reset.code == 0 && reset.out == answer + answer, "\(reset.out.debugDescription)")
        #expect(try chat("").out.isEmpty)
    }

    @Test("the history is part of what is asked; so is --system") func history() throws {
        let (once, twice) = (try chat("hi\n").out, try chat("hi\nhi\n").out)
        #expect(twice.hasPrefix(once) && twice != once + once, "\(twice.debugDescription)")
        #expect(try chat("hi\n", "--system", "Be brief.").out != once)
    }

    @Test("a conversation longer than the context goes on") func long() throws {
        let result = try chat(String(repeating: "tell me more about it, please\n", count: 12))
        #expect(result.code == 0 && result.err.contains("forgotten"), "exit \(result.code): \(result.err)")
        let large = try chat(String(repeating: "x", count: 400) + "\nhi\n")
        #expect(large.code == 0 && large.err.contains("does not fit"), "exit \(large.code): \(large.err)")
        #expect(large.out == (try chat("hi\n").out))
    }

    @Test("a model without a template says so: exit 65") func noTemplate() throws {
        let bare = try TinyFolder(hasTemplate: false)
        let result = try Child.run("chat", "--model", bare.model, input: "hi\n")
        #expect(result.code == 65 && result.err.contains("no chat template"), "exit \(result.code): \(result.err)")
    }

    @Test("the oldest turns are forgotten first, the system's never") func conversation() throws {
        var conversation = Conversation(system: "s")
        for i in 0..<5 { conversation.add("user", "q\(i)"); conversation.add("assistant", "a\(i)") }
        conversation.add("user", "last")
        let text = try CheckpointText.open(folder.model)
        let whole = try #require(try conversation.tokens(text, limit: 10_000))
        #expect(conversation.turns.count == 11)
        let less = try #require(try conversation.tokens(text, limit: whole.count - 1))
        #expect(less.count < whole.count && conversation.turns.count == 9 && conversation.turns[0]["content"] == "q1")
        #expect(conversation.messages[0]["role"] == "system")
        #expect(try conversation.tokens(text, limit: 5) == nil)
        #expect(conversation.turns.count == 1 && conversation.turns[0]["content"] == "last")
    }
}
