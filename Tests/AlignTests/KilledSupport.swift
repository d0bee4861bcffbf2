import CAlign
import Foundation
import Models
import PreferenceData
import Serialization
import Synchronization
import Tensors
import Training

@testable import align

/// A small DPO run of a transformer, with a store, and what it leaves behind.
struct KilledFolder {
    let folder: TinyFolder
    let pairs: String
    init(rows: Int = 14) throws {
        folder = try TinyFolder()
        pairs = try folder.write("pairs.jsonl", Self.lines(rows))
    }

    var path: String { folder.path }

    /// Rows whose words follow from their number; prompts and completions of many lengths.
    static func lines(_ count: Int, seed: UInt64 = 3) -> String {
        let words = ["why", "is", "the", "sky", "blue", "well", "light", "scatters", "no", "never", "it", "depends", "ask", "later"]
        var random = RandomStream(seed: seed, stream: 0, index: 0)
        func text(_ range: ClosedRange<Int>) -> String {
            (0..<Int.random(in: range, using: &random)).map { _ in words.randomElement(using: &random) ?? "" }.joined(separator: " ")
        }
        return (0..<count).map { row in
            let object: JSON = [
                "prompt": .string("\(row): \(text(1...8))?"), "chosen": .string("\(text(1...6)), a"), "rejected": .string("\(text(1...6)), b"),
            ]
            return object.text() + "\n"
        }.joined()
    }

    /// The command line of a run: 12 steps, evaluations at 0, 3, 6, 9 and 12, checkpoints at 4 and 8.
    func words(_ run: String, _ more: [String] = [], store: String? = nil) -> [String] {
        [
            "--pairs", pairs, "--model", folder.model, "--out", "\(path)/\(run)", "--store", "\(path)/\(store ?? run).sqlite", "--threads", "2",
            "--batch-size", "2", "--epochs", "2", "--learning-rate", "2e-3", "--weight-decay", "0.1", "--warmup-steps", "2", "--eval-split", "0.2",
            "--eval-steps", "3", "--save-steps", "4", "--sample-tokens", "0",
        ] + more
    }

    /// Lines of metrics.jsonl without what a clock said.
    func metrics(_ run: String) throws -> [JSONObject] {
        try String(contentsOfFile: "\(path)/\(run)/metrics.jsonl", encoding: .utf8).split(separator: "\n").map { line in
            let object = try JSON.parse(String(line)).object ?? JSONObject()
            return JSONObject(object.members.filter { !$0.key.hasPrefix("time/") }.map { ($0.key, $0.value) })
        }
    }

    func record(_ run: String) throws -> JSONObject { try RunDirectory.record(at: "\(path)/\(run)") }

    /// Every file below a run's `model/` and `checkpoints/`, with its bytes.
    private func files(_ run: String) throws -> [String: Data] {
        var files: [String: Data] = [:]
        for part in ["model", "checkpoints"] {
            for name in FileManager.default.enumerator(atPath: "\(path)/\(run)/\(part)")?.compactMap({ $0 as? String }) ?? [] {
                let file = "\(path)/\(run)/\(part)/\(name)"
                if !isFolder(file) { files["\(part)/\(name)"] = try Self.withoutTimes(Data(contentsOf: URL(fileURLWithPath: file)), name) }
            }
        }
        return files
    }

    /// The length of metrics.jsonl follows from how many digits the timings had.
    private static func withoutTimes(_ data: Data, _ name: String) throws -> Data {
        guard name.hasSuffix("state.json"), var state = try JSON.parse([UInt8](data)).object else { return data }
        state["metrics_bytes"] = .integer(0)
        return Data(JSON.object(state).text().utf8)
    }

    /// What differs between two runs, beyond time: metrics lines, and files of the model and the checkpoints; empty if nothing does.
    func differences(_ a: String, _ b: String) throws -> [String] {
        var found: [String] = []
        let (left, right) = (try metrics(a), try metrics(b))
        if left.count != right.count { found.append("metrics.jsonl: \(left.count) and \(right.count) lines") }
        for (i, (x, y)) in zip(left, right).enumerated() where x != y {
            found.append("metrics.jsonl:\(i + 1): \(JSON.object(x).text()) and \(JSON.object(y).text())")
        }
        let (mine, other) = (try files(a), try files(b))
        for name in Set(mine.keys).union(other.keys).sorted() where mine[name] != other[name] {
            found.append("\(name): \(mine[name].map { "\($0.count) bytes" } ?? "absent") and \(other[name].map { "\($0.count) bytes" } ?? "absent")")
        }
        let (one, another) = (try record(a)["outcome"], try record(b)["outcome"])
        if one != another { found.append("outcome: \(one?.text() ?? "absent") and \(another?.text() ?? "absent")") }
        if !mine.keys.contains(where: { $0.hasPrefix("model/") && $0.hasSuffix("model.safetensors") }) { found.append("\(a) has no model") }
        return found
    }
}

/// A policy that tells of each pass before it is made.
final class WatchedPolicy: TrainablePolicy {
    enum Pass { case scores, forward, backward }
    private let policy: any TrainablePolicy
    private let onPass: (Pass) -> Void
    init(_ policy: any TrainablePolicy, onPass: @escaping (Pass) -> Void) { (self.policy, self.onPass) = (policy, onPass) }

    var parameters: [ParameterInfo] { policy.parameters }
    var weights: FloatBuffer { policy.weights }
    var gradients: FloatBuffer { policy.gradients }
    func weightsChanged() { policy.weightsChanged() }
    func logProbs(of batch: SegmentTree) throws -> TokenScores {
        onPass(.forward)
        return try policy.logProbs(of: batch)
    }
    func scores(of batch: SegmentTree) throws -> TokenScores {
        onPass(.scores)
        return try policy.scores(of: batch)
    }
    func backward(_ gradient: ScoreGradient) throws {
        onPass(.backward)
        try policy.backward(gradient)
    }
}

extension ModelSource {
    /// The same model; `onPass` hears of its passes, `onSave` of each folder that is about to be written.
    func watched(onPass: @escaping @Sendable (WatchedPolicy.Pass) -> Void, onSave: @escaping @Sendable (String) -> Void = { _ in }) -> ModelSource {
        var source = self
        let (load, save) = (load, save)
        source.load = { trains in WatchedPolicy(try load(trains), onPass: onPass) }
        source.save = { policy, dtype, folder in
            onSave((folder as NSString).lastPathComponent)
            try save(policy, dtype, folder)
        }
        return source
    }
}

/// Ends of this process, all of them by SIGKILL.
enum Death {
    static func now() { kill(getpid(), SIGKILL) }

    /// The write that would take any file beyond `bytes` writes up to there, and the next one kills.
    static func inFile(after bytes: Int) {
        signal(SIGXFSZ) { _ in kill(getpid(), SIGKILL) }
        var signals = sigset_t()  // worker threads block signals, and a write that may not signal fails instead
        sigemptyset(&signals)
        sigaddset(&signals, SIGXFSZ)
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
        var limits = rlimit(rlim_cur: rlim_t(bytes), rlim_max: rlim_t(bytes))
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limits)
    }

    // SQLite calls these back without a context.
    private static let commitsLeft = Atomic<Int>(0), writesLeft = Atomic<Int>(0)

    /// In a commit of any connection opened from here on, once `arm` was called: the transaction is whole in memory, nothing of it written.
    static func watchStores() {
        typealias Entry = @convention(c) (OpaquePointer?, UnsafeMutablePointer<UnsafePointer<CChar>?>?, OpaquePointer?) -> Int32
        let entry: Entry = { handle, _, _ in
            _ = sqlite3_commit_hook(handle, { _ in
                if Death.commitsLeft.subtract(1, ordering: .relaxed).newValue == 0 { Death.now() }
                return 0
            }, nil)
            return 0
        }
        sqlite3_auto_extension(unsafeBitCast(entry, to: (@convention(c) () -> Void).self))

        typealias Write = @convention(c) (Int32, UnsafeRawPointer?, Int, off_t) -> Int
        let write: Write = { file, bytes, count, offset in
            if Death.writesLeft.subtract(1, ordering: .relaxed).newValue == 0 {
                _ = pwrite(file, bytes, count / 2, offset)
                Death.now()
            }
            return pwrite(file, bytes, count, offset)
        }
        // What SQLite writes its files with; which of the two was chosen when it was built.
        guard let system = sqlite3_vfs_find(nil) else { return }
        for name in ["pwrite", "pwrite64"] { _ = system.pointee.xSetSystemCall(system, name, unsafeBitCast(write, to: sqlite3_syscall_ptr.self)) }
    }

    /// In the `commit`th commit from here on, or in the middle of the `write`th write to a store; 0 for neither.
    static func arm(commit: Int, write: Int) {
        commitsLeft.store(commit, ordering: .relaxed)
        writesLeft.store(write, ordering: .relaxed)
    }
}
