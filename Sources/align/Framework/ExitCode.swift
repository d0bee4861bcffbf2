import Checkpoints
import Foundation
import Models
import PreferenceData
import Serialization
import Tensors
import Tokenizers
import Training

/// What the process says to its caller; the numbers are those of sysexits.h.
enum ExitCode: Int32 {
    case ok = 0
    case failed = 1
    /// EX_USAGE: the command line is wrong.
    case usage = 64
    /// EX_DATAERR: a file's content is wrong.
    case data = 65
    /// EX_NOINPUT: a file is not there.
    case noInput = 66
    /// EX_IOERR: the system refused to read or write.
    case io = 74
    /// EX_TEMPFAIL: interrupted and saved; the same command with --resume goes on.
    case interrupted = 75
}

/// An error that names its own exit code.
protocol ExitCoded: Error { var exitCode: ExitCode { get } }

extension UsageError: ExitCoded { var exitCode: ExitCode { .usage } }
extension SettingError: ExitCoded { var exitCode: ExitCode { .usage } }
extension Output.Failure: ExitCoded { var exitCode: ExitCode { self == .closed ? .ok : .io } }

extension CheckpointError: ExitCoded {
    var exitCode: ExitCode {
        switch self {
        case let .system(_, _, code): code == ENOENT || code == ENOTDIR ? .noInput : .io
        case .alreadyExists: .usage
        default: .data
        }
    }
}

extension RunError: ExitCoded {
    var exitCode: ExitCode {
        switch self {
        case .exists, .changedSettings: .usage
        case .busy: .failed
        case .damaged: .data
        case .lostRows, .damagedRow, .io: .io
        }
    }
}

extension TrainingError: ExitCoded {
    var exitCode: ExitCode {
        switch self {
        case .notFinite, .savedModelDiffers: .failed
        case .missingModel, .noPairs: .noInput
        case .otherShape, .otherVocabulary, .otherTokens, .otherParameters: .usage
        case .noRows, .badRow, .missingTokenizer: .data
        }
    }
}

extension RecordError: ExitCoded {
    var exitCode: ExitCode {
        switch self {
        case .unreadable: .noInput
        case .unknownColumn, .badWeight: .usage
        default: .data
        }
    }
}

extension StoreError: ExitCoded {
    var exitCode: ExitCode {
        switch self {
        case .foreign, .notADatabase, .notAStore, .newer, .older, .damaged, .badValue, .badVote: .data
        case .networkFileSystem: .usage
        case .cannotOpen, .busy, .sqlite: .io
        }
    }
}

extension TokenizerError: ExitCoded { var exitCode: ExitCode { .data } }
extension TemplateError: ExitCoded { var exitCode: ExitCode { .data } }
extension ModelError: ExitCoded { var exitCode: ExitCode { .data } }
extension RemoteError: ExitCoded {
    var exitCode: ExitCode {
        switch self {
        case .http(.badURL), .badKey, .ambiguousModel: .usage
        case .malformed: .data
        default: .failed
        }
    }
}

extension RewardFailure: ExitCoded { var exitCode: ExitCode { reason.exitCode } }

extension RewardError: ExitCoded {
    var exitCode: ExitCode {
        switch self {
        case .badSpec, .unavailable: .usage
        case .missing, .tooLong, .tooManyTokens, .cannotLoad: .data
        case let .server(error): error.exitCode
        case .awaitingLabels: .interrupted
        case .tooManySteps, .notFinite, .program, .judge: .failed
        }
    }
}

extension ComputeError: ExitCoded { var exitCode: ExitCode { .usage } }

extension ExitCode {
    /// The code of any error that reaches the top.
    static func of(_ error: any Error) -> ExitCode { (error as? any ExitCoded)?.exitCode ?? .failed }
}
