import Glibc
import Serialization

/// What is wrong with a checkpoint, where, and what to do about it. Cases carry values, so that callers match on the case.
///
/// `line` is 1-based, and 0 where no line is known (a GGUF key, a config built in memory).
public enum CheckpointError: Error, Equatable {
    /// The operating system refused: `operation` is the call in words ("open", "read", "write", …), `code` its `errno`.
    case system(file: String, operation: String, code: Int32)
    /// The path holds nothing that can be read as a checkpoint.
    case notACheckpoint(path: String, found: String, expected: String)
    /// The file ends before `field` does.
    case truncated(file: String, field: String, offset: Int, needed: Int, available: Int)
    /// A value of a binary file breaks its format.
    case malformed(file: String, field: String, offset: Int, found: String, expected: String)
    /// The file is not JSON.
    case invalidJSON(file: String, fault: JSONError)
    /// A key's value has the wrong kind or lies outside what can be read.
    case invalidValue(file: String, line: Int, key: String, found: String, expected: String)
    case missingTensor(file: String, tensor: String, shape: [Int])
    case shapeMismatch(file: String, tensor: String, expected: [Int], found: [Int])
    /// Well-formed, but of a kind this build does not read.
    case unsupported(file: String, line: Int, key: String, found: String, supported: [String])
    /// The tokenizer's files, or a GGUF file's vocabulary, cannot be used.
    case tokenizer(file: String, reason: String)
    /// The file is no longer the one that was opened.
    case changed(file: String)
    /// A value does not fit the type the weights are to be stored in.
    case notRepresentable(tensor: String, index: Int, value: Float, dtype: String)
    /// The target of a save is there already.
    case alreadyExists(path: String)
    /// A file of a saved folder differs from the folder's manifest.
    case incomplete(file: String, found: String, expected: String)
}

extension CheckpointError: CustomStringConvertible {
    public var description: String {
        func place(_ file: String, _ line: Int) -> String { line > 0 ? "\(file):\(line)" : file }
        switch self {
        case let .system(file, operation, code):
            let reason = String(cString: strerror(code))
            let remedy =
                switch code {
                case ENOENT: "Check the path."
                case EACCES, EPERM, EROFS: "Check the permissions, or choose another place."
                case ENOSPC, EDQUOT: "Free some space, or choose another disk; nothing was left behind."
                default: "Check the disk and try again."
                }
            return "\(file): cannot \(operation): \(reason). \(remedy)"
        case let .notACheckpoint(path, found, expected):
            return "\(path): found \(found), expected \(expected)."
        case let .truncated(file, field, offset, needed, available):
            return "\(file): \(field) at byte \(offset) needs \(needed) bytes, \(available) are left. The copy is incomplete: fetch it again."
        case let .malformed(file, field, offset, found, expected):
            return "\(file): \(field) at byte \(offset) is \(found), expected \(expected). The file is damaged: fetch it again."
        case let .invalidJSON(file, fault):
            return "\(file): not JSON: \(fault). Fetch the file again."
        case let .invalidValue(file, line, key, found, expected):
            return "\(place(file, line)): \"\(key)\" is \(found), expected \(expected). Correct the value, or fetch the file again."
        case let .missingTensor(file, tensor, shape):
            return "\(file): tensor '\(tensor)' \(shape) is missing. Keep weights and config of one model together."
        case let .shapeMismatch(file, tensor, expected, found):
            return "\(file): tensor '\(tensor)' is \(found), config.json implies \(expected). Keep weights and config of one model together."
        case let .unsupported(file, line, key, found, supported):
            return "\(place(file, line)): \"\(key)\" is \"\(found)\"; this build reads \(supported.joined(separator: ", ")). Convert the checkpoint first."
        case let .tokenizer(file, reason):
            return "\(file): the tokenizer cannot be used: \(reason)"
        case let .changed(file):
            return "\(file): changed since it was opened. Start again when nothing writes to it."
        case let .notRepresentable(tensor, index, value, dtype):
            return "tensor '\(tensor)': element \(index) is \(value), beyond the range of \(dtype). Save as F32 or BF16."
        case let .alreadyExists(path):
            return "\(path): exists already. Choose another place, or ask to replace it."
        case let .incomplete(file, found, expected):
            return "\(file): found \(found), the manifest says \(expected). The checkpoint is incomplete or damaged: save or fetch it again."
        }
    }
}
