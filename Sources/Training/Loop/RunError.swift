/// What can be wrong with a run directory.
public enum RunError: Error, Equatable {
    case exists(path: String)
    case changedSettings(path: String, fields: [String])
    /// Another process is writing to the run.
    case busy(path: String)
    case damaged(file: String, field: String, found: String, expected: String)
    case io(path: String, operation: String, reason: String)
    /// Token rows that were written are not there any more: their file was cut.
    case lostRows(file: String, offset: Int, needed: Int, available: Int)
    /// Token rows are there and are not what was written.
    case damagedRow(file: String, offset: Int)
}

extension RunError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .exists(path):
            "\(path): there is a run here already. Go on with it by --resume, or name another directory with --out."
        case let .changedSettings(path, fields):
            "\(path): the run was started with other values of \(fields.joined(separator: ", ")). A resumed run keeps its settings: leave them as they were, or start a new run."
        case let .busy(path): "\(path): another process is training here. Wait for it, or stop it first."
        case let .damaged(file, field, found, expected):
            "\(file): \"\(field)\" is \(found), expected \(expected). Remove this checkpoint to resume from the one before."
        case let .io(path, operation, reason): "\(path): cannot \(operation): \(reason)."
        case let .lostRows(file, offset, needed, available):
            "\(file): a token row at byte \(offset) needs \(needed) bytes, \(available) are left. Something cut the file, or the disk fails; the last checkpoint is good: go on with --resume."
        case let .damagedRow(file, offset):
            "\(file): the bytes at \(offset) are not the token row that was written there. Something changed the file, or the disk fails; the last checkpoint is good: go on with --resume."
        }
    }
}

/// Why a stage cannot train, or cannot go on.
public enum TrainingError: Error, Equatable {
    /// Nothing is left to train on.
    case noRows(dropped: Int, reason: String)
    /// No file was named, and the store has no pairs of the split.
    case noPairs(split: String?)
    /// Too many steps in a row were not finite; none of them was applied.
    case notFinite(step: Int, quantity: String, inARow: Int, dump: String)
    /// A row cannot become tokens of this model.
    case badRow(origin: String, found: String, expected: String, remedy: String)
    case missingTokenizer(model: String)
    case missingModel
    /// The reference is to follow the policy and has other parameters.
    case otherShape(reference: String)
    /// A model that reads the policy's tokens has another vocabulary.
    case otherVocabulary(model: String, found: Int, expected: Int)
    /// A model that weights are merged with has other tensors.
    case otherParameters(model: String, tensor: String, found: String, expected: String)
    case otherTokens(model: String, id: Int, found: String, expected: String)
    /// A model that was written and opened again is another one.
    case savedModelDiffers(path: String, found: String, expected: String)
}

extension TrainingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .noRows(dropped, reason):
            "no rows to train on (\(dropped) dropped): \(reason)."
        case let .noPairs(split):
            "no pairs to train on: the store has none\(split.map { " in split \"\($0)\"" } ?? ""). Name a file with --pairs FILE, import one with 'align data import', or label some with 'align label'."
        case let .notFinite(step, quantity, inARow, dump):
            "step \(step): \(quantity) is not finite, \(inARow) times in a row. No such step was applied; the last checkpoint is good. The batches are in \(dump): lower the learning rate, or train in fp32."
        case let .badRow(origin, found, expected, remedy):
            "\(origin): found \(found), expected \(expected). \(remedy)"
        case let .otherShape(reference):
            "\(reference): its parameters are not those of the policy, expected the same ones as it is to follow it. Leave out --sync-ref-model, or name a reference of the same architecture."
        case let .otherVocabulary(model, found, expected):
            "\(model): has a vocabulary of \(found) tokens, expected \(expected) as the policy's, whose tokens it is to read. Name a model of the same tokenizer."
        case let .otherParameters(model, tensor, found, expected):
            "\(model): tensor \"\(tensor)\" is \(found), expected \(expected) as in the model that trains. Name the base that this very model was fine-tuned from."
        case let .otherTokens(model, id, found, expected):
            "\(model): its token \(id) is \"\(found)\", expected \"\(expected)\" as the student's. Name a teacher of the same tokenizer."
        case .missingModel: "no model: name a checkpoint with --model PATH (a Hugging Face folder or a GGUF file)."
        case let .savedModelDiffers(path, found, expected):
            "\(path): read back, the model scores \(found) where the trained one scored \(expected). Do not use it; the last checkpoint is good: --resume writes it again."
        case let .missingTokenizer(model):
            "\(model): has no tokenizer, which text needs. Put tokenizer.json beside the weights, or give rows of token ids."
        }
    }
}
