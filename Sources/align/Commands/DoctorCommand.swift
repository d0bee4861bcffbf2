import CAlign
import Checkpoints
import Foundation
import PreferenceData
import Serialization
import Tensors

/// Says what this machine offers and what will run on it, and tries each part once.
struct DoctorCommand: Command {
    static let usage = Usage(
        "doctor", "Show what this machine offers and what will run on it.",
        [ModelChoice.threadsFlag, .switched("json", "print one JSON object")], example: "align doctor",
        notes: """
            ALIGN_KERNELS names other kernels than the best, ALIGN_BLAS=openblas takes OpenBLAS for fp32, ALIGN_CACHE names the folder of \
            models and hashes. Exits with 1 if a part does not work.
            """)

    let threads: Int?
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        threads = try arguments.optionalInteger("threads", in: 1...1024, expected: ModelChoice.threadsFlag.expected)
        isJSON = arguments.isOn("json")
    }

    /// One line of the report; a fault makes the command fail.
    private struct Finding {
        var name: String
        var text: String
        var isFault = false
    }

    func run() async throws {
        let compute = try Compute(threads: threads)
        let findings = machine(compute) + kernels(compute) + [store(), cache(), model()]
        if isJSON {
            let object = JSONObject(findings.map { ($0.name, JSON.string($0.text)) } + [("ok", .bool(!findings.contains(where: \.isFault)))])
            try Output.line(JSON.object(object).text(pretty: true))
        } else {
            let width = findings.map(\.name.count).max() ?? 0
            for finding in findings { try Output.line(padded(finding.name, width + 2) + (finding.isFault ? "FAULT: " : "") + finding.text) }
        }
        if findings.contains(where: \.isFault) { throw CommandError.failed }
    }

    private func machine(_ compute: Compute) -> [Finding] {
        [
            Finding(name: "align", text: Align.version),
            Finding(name: "processor", text: "\(Machine.processor), \(Machine.processors) usable; \(compute.threads) threads"),
            Finding(name: "memory", text: byteCount(Machine.memory)),
        ]
    }

    private func kernels(_ compute: Compute) -> [Finding] {
        var findings = KernelPath.allCases.map { path in
            if let reason = path.unavailability { return Finding(name: "kernels \(path.rawValue)", text: "no: \(reason)") }
            let error = Self.error(of: path)
            let text = "yes\(path == compute.path ? ", in use" : ""); largest error of a test product \(formatted(error, "%.1e"))"
            return Finding(name: "kernels \(path.rawValue)", text: text, isFault: !(error < 1e-4))
        }
        findings.append(Finding(name: "precision auto", text: compute.defaultPrecision.rawValue))
        let asked = ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"].map { ", as OPENBLAS_CORETYPE=\($0) asks" } ?? ""
        let own = compute.floatProducts == .own
        findings.append(Finding(name: "fp32 products", text: (own ? "own kernels; OpenBLAS would use its " : "OpenBLAS, its ") + "\(OpenBLAS.core) kernels" + asked))
        return findings
    }

    /// Largest error of a small product against sums in double, fp32.
    private static func error(of path: KernelPath) -> Double {
        guard let compute = try? Compute(threads: 1, path: path) else { return .infinity }
        var random = RandomStream(seed: 1, stream: 0, index: 0)
        func matrix(_ rows: Int, _ columns: Int) -> Matrix {
            let matrix = Matrix(rows: rows, columns: columns)
            matrix.copy(from: (0..<rows * columns).map { _ in Float(random.normal()) })
            return matrix
        }
        let (x, w, y) = (matrix(37, 70), matrix(50, 70), Matrix(rows: 37, columns: 50))
        let layer = PackedLinear(outputs: 50, inputs: 70, precision: .fp32)
        layer.pack(w, on: compute)
        layer.forward(x, into: y, on: compute)
        var worst = 0.0
        for i in 0..<37 {
            for j in 0..<50 {
                let sum = (0..<70).reduce(0.0) { $0 + Double(x.pointer[i * 70 + $1]) * Double(w.pointer[j * 70 + $1]) }
                worst = max(worst, abs(sum - Double(y.pointer[i * 50 + j])))
            }
        }
        return worst
    }

    private func store() -> Finding {
        let path = NSTemporaryDirectory() + "align-doctor-\(ProcessInfo.processInfo.processIdentifier).sqlite"
        defer { for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) } }
        do throws(StoreError) {
            try PreferenceStore(path: path).check()
            return Finding(name: "store", text: "SQLite \(String(cString: sqlite3_libversion())) works")
        } catch { return Finding(name: "store", text: "\(error)", isFault: true) }
    }

    private func cache() -> Finding {
        guard let folder = Checkpoint.cacheFolder else { return Finding(name: "cache", text: "none: neither ALIGN_CACHE nor HOME is set") }
        let isThere = isFolder(folder)
        return Finding(name: "cache", text: folder + (isThere ? (FileManager.default.isWritableFile(atPath: folder) ? "" : " (not writable)") : " (made when needed)"))
    }

    private func model() -> Finding {
        guard let path = Checkpoint.defaultModel() else { return Finding(name: "default model", text: "not there; .ci/model fetches SmolLM2-135M-Instruct") }
        do { return Finding(name: "default model", text: "\(path), \(try Checkpoint.open(path).tensors.count) tensors") } catch {
            return Finding(name: "default model", text: "\(error)", isFault: true)
        }
    }
}
