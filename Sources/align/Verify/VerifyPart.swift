import Checkpoints
import Foundation
import Models
import Tensors
import Tokenizers

/// One folder of goldens: it finds its cases and compares them.
protocol VerifyPart {
    /// The folder's name.
    static var folder: String { get }
    init()
    /// Runs every case of `folder`, telling each as it is done.
    func run(_ folder: String, _ context: VerifyContext)
}

/// The parts, in the order in which they run: one line each. Folders without a line are listed as "not yet".
enum VerifyParts {
    static var all: [any VerifyPart.Type] {
        [
            ModelsPart.self,
            GGUFPart.self,
            RotaryPart.self,
            SamplingPart.self,
            LossesPart.self,
            OptimPart.self,
            LoRAPart.self,
            TokenizersPart.self,
            TemplatesPart.self,
            StatsPart.self,
        ]
    }
}

/// What the parts share.
final class VerifyContext {
    /// Where `shared/data/` of the goldens is.
    let data: String?
    /// The real model's file, for the goldens that need it.
    let model: String?
    let compute: Compute
    private let tell: (VerifyCase) -> Void
    private(set) var cases: [VerifyCase] = []
    /// Numbers that no case looked at, by file.
    private(set) var uncompared: [String] = []

    init(data: String?, model: String?, compute: Compute, tell: @escaping (VerifyCase) -> Void) {
        (self.data, self.model, self.compute, self.tell) = (data, model, compute, tell)
    }

    func report(_ result: VerifyCase) {
        cases.append(result)
        tell(result)
    }

    /// Runs one case; whatever it throws makes it a failed one, or one that this build does not cover.
    func test(_ name: String, _ body: (inout CaseRecorder) throws -> Void) {
        var recorder = CaseRecorder(name)
        do {
            try body(&recorder)
            report(recorder.result)
        } catch {
            report(Self.verdict(name, error))
        }
    }

    /// Runs `body`; if it throws, that is the verdict on the case `name`.
    func guarded(_ name: String, _ body: () throws -> Void) {
        do { try body() } catch { report(Self.verdict(name, error)) }
    }

    /// What is well-formed but not implemented is "not yet"; every other error is a failure.
    private static func verdict(_ name: String, _ error: any Error) -> VerifyCase {
        switch error {
        case CheckpointError.unsupported, ModelError.unsupported, TokenizerError.unsupported: .notYet(name, "\(error)")
        default: VerifyCase(name: name, verdict: .failed, detail: "\(error)")
        }
    }

    func remember(uncompared paths: [String], of file: String) { uncompared += paths.map { "\(file): \($0)" } }

    /// A path of a golden that begins with `shared/data/`.
    func dataPath(_ path: String) -> String? {
        let prefix = "shared/data/"
        guard path.hasPrefix(prefix), let data else { return nil }
        return data + "/" + path.dropFirst(prefix.count)
    }

    func count(_ verdict: VerifyCase.Verdict) -> Int { cases.count { $0.verdict == verdict } }

    /// `412 passed, 0 failed, 3 skipped, 97 not yet`
    var summary: String { VerifyCase.Verdict.allCases.map { "\(count($0)) \($0.rawValue)" }.joined(separator: ", ") }
}

/// Names in a folder, sorted.
func entries(of folder: String) -> [String] { ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted() }

func isFolder(_ path: String) -> Bool {
    var isDirectory: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory.boolValue
}

func fileExists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }
