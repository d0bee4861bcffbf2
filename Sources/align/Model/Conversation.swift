import Checkpoints
import Serialization

/// A conversation whose beginning is forgotten when it no longer fits the model's context.
struct Conversation {
    /// What the model is told first, and never forgets.
    let system: String?
    /// Turns of user and assistant, oldest first.
    private(set) var turns: [JSON] = []

    init(system: String?) { self.system = system }

    mutating func reset() { turns = [] }
    mutating func add(_ role: String, _ text: String) { turns.append(["role": .string(role), "content": .string(text)]) }
    /// Takes back the newest turn.
    mutating func removeLast() { if !turns.isEmpty { turns.removeLast() } }

    var messages: [JSON] { (system.map { [["role": "system", "content": .string($0)]] } ?? []) + turns }

    /// The tokens that ask for the next answer. Forgets the oldest question with its answer until they fit.
    /// - Parameter limit: Tokens that leave room for an answer.
    /// - Returns: nil if the newest question alone does not fit.
    /// - Throws: What a template refuses, and a missing tokenizer or template.
    mutating func tokens(_ text: CheckpointText, limit: Int) throws -> [Int32]? {
        while true {
            let tokens = try text.tokens(of: messages)
            if tokens.count <= limit { return tokens }
            guard let next = turns.indices.dropFirst().first(where: { turns[$0]["role"] == "user" }) else { return nil }
            turns.removeFirst(next)
        }
    }
}
