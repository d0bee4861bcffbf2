/// What a command finds missing or wrong in what it was pointed at.
enum CommandError: ExitCoded, Equatable {
    /// Neither `--model` nor the default model is there.
    case noModel(searched: String)
    case missingFile(path: String, what: String)
    case unreadable(path: String, reason: String)
    /// A line of a file cannot be used.
    case badLine(path: String, line: Int, found: String, expected: String)
    case badData(path: String, reason: String)
    /// Something is wrong with data; it has been printed.
    case problems(Int)
    case cannotWrite(path: String, reason: String)
    /// The run was told to stop and has saved what it had.
    case interrupted(run: String?)
    /// A command that prints as it goes was told to stop; what is printed is whole.
    case stopped(done: Int, of: Int, what: String)
    /// Some checks failed; they have been printed.
    case failed
    /// Nothing to do was found.
    case nothingRan(path: String)

    var exitCode: ExitCode {
        switch self {
        case .noModel, .missingFile, .nothingRan: .noInput
        case .unreadable, .cannotWrite: .io
        case .badLine, .badData, .problems: .data
        case .interrupted, .stopped: .interrupted
        case .failed: .failed
        }
    }
}

extension CommandError: CustomStringConvertible {
    var description: String {
        switch self {
        case let .noModel(searched):
            """
            no model: --model was not given, and the default model is not at \(searched).
            Either run '.ci/model', which fetches SmolLM2-135M-Instruct (98 MB) into that cache,
            or name a checkpoint of your own: --model PATH (a Hugging Face folder, a .safetensors or a .gguf file).
            """
        case let .missingFile(path, what): "\(path): there is no such file; \(what) was expected here."
        case let .unreadable(path, reason): "\(path): cannot be read: \(reason)."
        case let .badLine(path, line, found, expected): "\(path):\(line): found \(found), expected \(expected)."
        case let .badData(path, reason): "\(path): \(reason)."
        case let .problems(count): "\(count) \(count == 1 ? "problem" : "problems")."
        case let .cannotWrite(path, reason): "\(path): cannot be written: \(reason)."
        case let .interrupted(run):
            "interrupted; everything up to the last step is saved." + (run.map { " Go on with --resume --out \($0)." } ?? "")
        case let .stopped(done, all, what): "interrupted after \(done) of \(all) \(what)."
        case .failed: ""
        case let .nothingRan(path): "\(path): nothing that this build can check was found, or nothing of it could run."
        }
    }
}
