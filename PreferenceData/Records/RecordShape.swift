/// How a row says what it says. The raw value is its name in reports.
public enum RecordShape: String, Sendable, CaseIterable {
    // Pairs
    case promptChosenRejected = "{prompt, chosen, rejected}"
    case questionChosenRejected = "{question, chosen, rejected}"
    case chosenRejectedMessages = "{chosen, rejected} as messages"
    case chosenRejectedTranscripts = "{chosen, rejected} as Human/Assistant transcripts"
    case chosenRejectedTexts = "{chosen, rejected} as texts"
    case instructionChosenRejected = "{instruction, input, chosen, rejected}"
    case conversationsChosenRejected = "{conversations, chosen, rejected}"
    case questionResponses = "{question, response_j, response_k}"
    case tokenPair = "{prompt_ids, chosen_ids, rejected_ids}"
    // Supervised examples
    case promptCompletion = "{prompt, completion}"
    case promptResponse = "{prompt, response}"
    case questionAnswer = "{question, answer}"
    case instructionOutput = "{instruction, input, output}"
    case messages = "{messages}"
    case conversations = "{conversations}"
    case text = "{text}"
    case tokens = "{input_ids, loss_mask}"
    // Completions with labels
    case labelledCompletion = "{prompt, completion, label}"
    case labelledTokens = "{prompt_ids, completion_ids, label}"
    // Reward models
    case rankedCompletions = "{prompt, completions, ranks}"
    case scoredCompletions = "{prompt, completions, scores}"
    case scoredCompletion = "{prompt, completion, score}"
    case labelledSteps = "{prompt, completions, labels}"
    // Prompts
    case prompt = "{prompt}"
    case question = "{question}"
    case instruction = "{instruction, input}"
    case promptTokens = "{prompt_ids}"
    // Judgments, rankings, labels and scores: the store keeps them, stages train on what comes of them
    case annotatedResponses = "{instruction, input, response1, response2, annotator1, …}"
    case labelledResponses = "{prompt, response_1, response_2, label}"
    case labelledOutputs = "{input, output_1, output_2, label}"
    case battle = "{conversation_a, conversation_b, winner}"
    case responseWinner = "{prompt, response_a, response_b, winner}"
    case vote = "{prompt, completions, outcome, annotator}"
    case candidates = "{prompt, completions, scores or ranks}"
    case tree = "{message_tree_id, prompt with replies}"
    case thread = "{message_id, parent_id, role, text}"
    case instances = "{instruction, instances}"

    static let pairs: [RecordShape] = [
        .promptChosenRejected, .questionChosenRejected, .chosenRejectedMessages, .chosenRejectedTranscripts, .chosenRejectedTexts,
        .instructionChosenRejected, .conversationsChosenRejected, .questionResponses, .tokenPair,
    ]
    static let supervised: [RecordShape] = [
        .promptCompletion, .promptResponse, .questionAnswer, .instructionOutput, .messages, .conversations, .text, .tokens,
    ]
    static let unpaired: [RecordShape] = [.labelledCompletion, .labelledTokens] + pairs
    static let rewards: [RecordShape] = pairs + [.rankedCompletions, .scoredCompletions, .scoredCompletion, .labelledSteps]
    static let prompts: [RecordShape] = [
        .prompt, .question, .instruction, .messages, .conversations, .text, .promptTokens, .chosenRejectedMessages,
    ]

    /// The names that `columns` may map: every field that a row is asked for.
    static let fields: Set<String> = [
        "prompt", "chosen", "rejected", "question", "response_j", "response_k", "instruction", "input", "output", "conversations",
        "prompt_ids", "chosen_ids", "rejected_ids", "completion", "response", "answer", "messages", "text", "input_ids", "loss_mask",
        "margin", "system", "tools", "completion_ids", "label", "kto_tag", "score", "reward", "completions", "completions_ids", "responses", "scores",
        "ranks", "labels", "strength", "probability", "chosen_grades", "rejected_grades", "subset", "winner", "annotator", "instances", "response1",
        "response2", "response_1", "response_2", "output_1", "output_2", "response_a", "response_b", "ground_truth",
    ]
}
