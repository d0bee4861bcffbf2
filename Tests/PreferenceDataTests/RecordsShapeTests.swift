import Serialization
import Testing

@testable import PreferenceData

@Suite struct RecordsPairShapes {
    @Test func explicitTexts() throws {
        let row = try pair(#"{"prompt": "2+2?", "chosen": "4", "rejected": "5", "margin": 1.5, "tools": "[]"}"#)
        #expect(row.prompt == .text("2+2?") && row.chosen == .text("4") && row.rejected == .text("5"))
        #expect(row.margin == 1.5 && row.tools == "[]" && row.shape == .promptChosenRejected && row.origin.line == 1)
    }

    @Test func explicitMessages() throws {
        let row = try pair(
            #"{"prompt": [{"role": "user", "content": "Hi"}], "chosen": {"role": "assistant", "content": "A"}, "rejected": [{"role": "assistant", "content": "B"}]}"#)
        #expect(turns(row.prompt) == ["user: Hi"] && turns(row.chosen) == ["assistant: A"] && turns(row.rejected) == ["assistant: B"])
    }

    @Test func wholeDialoguesLoseThePrompt() throws {
        let row = try pair(
            #"{"prompt": "Hi", "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "B"}]}"#)
        #expect(turns(row.prompt) == ["user: Hi"] && turns(row.chosen) == ["assistant: A"] && turns(row.rejected) == ["assistant: B"])
        let other = try badPair(
            #"{"prompt": "Ho", "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}], "rejected": "B"}"#)
        #expect(other?.contains("not with the prompt's messages") == true, "\(other ?? "nil")")
    }

    @Test func implicitMessages() throws {
        let row = try pair(
            #"{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "B"}]}"#)
        #expect(turns(row.prompt) == ["user: Hi"] && turns(row.chosen) == ["assistant: A"] && row.shape == .chosenRejectedMessages)
        // One is the other's beginning: the last message stays a completion.
        let longer = try pair(
            #"{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}, {"role": "user", "content": "?"}, {"role": "assistant", "content": "B"}]}"#)
        #expect(turns(longer.chosen) == ["assistant: A"] && turns(longer.rejected) == ["assistant: A", "user: ?", "assistant: B"])
    }

    @Test(arguments: ["\\n\\n", ""]) func transcripts(start: String) throws {
        let row = try pair(
            "{\"chosen\": \"\(start)Human: Hi\\n\\nAssistant: Yes?\\n\\nHuman: 2+2\\n\\nAssistant: 4\", \"rejected\": \"\(start)Human: Hi\\n\\nAssistant: Yes?\\n\\nHuman: 2+2\\n\\nAssistant: 5\"}")
        #expect(turns(row.prompt) == ["user: Hi", "assistant: Yes?", "user: 2+2"])
        #expect(turns(row.chosen) == ["assistant: 4"] && turns(row.rejected) == ["assistant: 5"] && row.shape == .chosenRejectedTranscripts)
        let raw = try #require(row.raw)
        #expect(raw.prompt.hasSuffix("\n\nHuman: 2+2\n\nAssistant:") && raw.chosen == " 4" && raw.rejected == " 5", "\(raw)")
    }

    @Test func transcriptsThatPartEarlier() throws {
        let row = try pair(
            #"{"chosen": "\n\nHuman: Hi\n\nAssistant: A\n\nHuman: B\n\nAssistant: C", "rejected": "\n\nHuman: Hi\n\nAssistant: D"}"#)
        #expect(turns(row.prompt) == ["user: Hi"] && turns(row.chosen) == ["assistant: A", "user: B", "assistant: C"])
        #expect(turns(row.rejected) == ["assistant: D"])
        #expect(row.raw == RawPair(prompt: "\n\nHuman: Hi\n\nAssistant:", chosen: " A\n\nHuman: B\n\nAssistant: C", rejected: " D"))
    }

    @Test func plainTexts() throws {
        let row = try pair(#"{"chosen": "The film was goodness", "rejected": "The film was good enough"}"#)
        #expect(row.prompt == .text("The film was") && row.chosen == .text(" goodness") && row.rejected == .text(" good enough"))
        let parted = try pair(#"{"chosen": "née à", "rejected": "néé à"}"#)
        #expect(parted.prompt == .text("") && parted.chosen == .text("née à"))
    }

    @Test func alpaca() throws {
        let row = try pair(#"{"instruction": "Add.", "input": "1 2", "output": "x", "chosen": "3", "rejected": "4"}"#)
        #expect(row.prompt == .text("Add.\n\n1 2") && row.chosen == .text("3") && row.shape == .instructionChosenRejected)
        #expect(try pair(#"{"instruction": "Add.", "input": "", "chosen": "3", "rejected": "4"}"#).prompt == .text("Add."))
    }

    @Test func shareGPT() throws {
        let row = try pair(
            #"{"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}, {"from": "function_call", "value": "f"}, {"from": "observation", "value": "o"}], "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}}"#)
        #expect(turns(row.prompt) == ["system: S", "user: Q", "assistant: f", "tool: o"])
        #expect(turns(row.chosen) == ["assistant: A"] && turns(row.rejected) == ["assistant: B"] && row.shape == .conversationsChosenRejected)
    }

    @Test func rankedAnswersAndColumns() throws {
        let row = try pair(#"{"question": "Q", "response_j": "A", "response_k": "B"}"#)
        #expect(row.prompt == .text("Q") && row.chosen == .text("A") && row.rejected == .text("B") && row.shape == .questionResponses)
        let mapped = try pair(
            #"{"q": "Q", "good": "A", "bad": "B", "score": 2}"#, columns: ["prompt": "q", "chosen": "good", "rejected": "bad", "margin": "score"])
        #expect(mapped.prompt == .text("Q") && mapped.margin == 2 && mapped.shape == .promptChosenRejected)
        #expect(try pair(#"{"question": "Q", "chosen": "A", "rejected": "B"}"#).shape == .questionChosenRejected)
    }

    @Test func tokenIDs() throws {
        let row = try pair(#"{"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 2147483647]}"#)
        #expect(row.prompt == .tokens([1, 2]) && row.rejected == .tokens([4, .max]) && row.shape == .tokenPair)
    }

    @Test func systemComesFirst() throws {
        let row = try pair(#"{"system": "S", "prompt": "Q", "chosen": "A", "rejected": "B"}"#)
        #expect(turns(row.prompt) == ["system: S", "user: Q"] && turns(row.chosen) == ["assistant: A"])
        #expect(try pair(#"{"system": "", "prompt": "Q", "chosen": "A", "rejected": "B"}"#).prompt == .text("Q"))
        #expect(try badPair(#"{"system": "S", "prompt": [{"role": "system", "content": "T"}, {"role": "user", "content": "Q"}], "chosen": "A", "rejected": "B"}"#) != nil)
    }

    @Test func partsOfContentAndToolCalls() throws {
        let row = try pair(
            #"{"prompt": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], "chosen": [{"role": "assistant", "content": null, "tool_calls": [{"f": 1}]}], "rejected": "B"}"#)
        #expect(turns(row.prompt) == ["user: ab"] && turns(row.chosen) == ["assistant: "])
        if case let .messages(messages) = row.chosen { #expect(messages[0].raw["tool_calls"] != nil) }
    }
}

@Suite struct RecordsSupervisedShapes {
    @Test func textsInAllNames() throws {
        for (row, shape) in [
            (#"{"prompt": "Q", "completion": "A"}"#, RecordShape.promptCompletion), (#"{"prompt": "Q", "response": "A"}"#, .promptResponse),
            (#"{"question": "Q", "answer": "A"}"#, .questionAnswer), (#"{"instruction": "Q", "input": "", "output": "A"}"#, .instructionOutput),
        ] {
            let found = try example(row)
            #expect(found.prompt == .text("Q") && found.completion == .text("A") && found.shape == shape, "\(found)")
        }
        let text = try example(#"{"text": "A"}"#)
        #expect(text.prompt == nil && text.completion == .text("A") && text.shape == .text)
    }

    @Test func dialogues() throws {
        let row = try example(#"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "system": "S"}"#)
        #expect(row.prompt == nil && turns(row.completion) == ["system: S", "user: Q", "assistant: A"] && row.shape == .messages)
        let shared = try example(#"{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "tools": "t"}"#)
        #expect(turns(shared.completion) == ["user: Q", "assistant: A"] && shared.shape == .conversations && shared.tools == "t")
        let parts = try example(#"{"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]}"#)
        #expect(turns(parts.prompt) == ["user: Q"] && turns(parts.completion) == ["assistant: A"])
    }

    @Test func tokenIDs() throws {
        let row = try example(#"{"input_ids": [1, 2, 3], "loss_mask": [0, 1, true]}"#)
        #expect(row.prompt == nil && row.completion == .tokens([1, 2, 3]) && row.lossMask == [false, true, true] && row.shape == .tokens)
    }

    @Test func prompts() throws {
        let file = try TemporaryFile(
            """
            {"prompt": "Q"}
            {"instruction": "I", "input": "x"}
            {"question": "Q", "answer": "A"}
            {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
            {"conversations": [{"from": "human", "value": "Q"}]}
            {"prompt_ids": [5]}
            {"chosen": "\\n\\nHuman: Q\\n\\nAssistant: A", "rejected": "\\n\\nHuman: Q\\n\\nAssistant: B"}
            {"text": "T"}
            """)
        let (rows, report) = try Records.prompts(file.files)
        #expect(rows.count == 8 && report.shapes.count == 8, "\(rows.count) rows, \(report.shapes.count) shapes")
        #expect(rows[1].prompt == .text("I\n\nx") && rows[5].prompt == .tokens([5]) && turns(rows[3].prompt) == ["user: Q"])
        #expect(turns(rows[6].prompt) == ["user: Q"] && rows[7].origin.line == 8)
    }
}
