import Checkpoints
import Evaluations
import Foundation
import Models
import Serialization
import Synchronization
import Tensors
import Training

/// One completion of a held-out prompt before training and one after, greedy, so that a reader sees what changed.
///
/// Each time the model is read, used and freed while no other is in memory.
final class HeldOutSampler: Sendable {
    static let fileName = "samples.jsonl"

    private let model: String
    private let out: String
    private let limit: Int
    private let settings: TrainingSettings
    private let compute: Compute
    private let state = Mutex<(prompt: [Int32], samples: [RunReport.Sample])>(([], []))

    init(model: String, out: String, limit: Int, settings: TrainingSettings, compute: Compute) {
        (self.model, self.out, self.limit, self.settings, self.compute) = (model, out, limit, settings, compute)
    }

    var samples: [RunReport.Sample] { state.withLock { $0.samples } }

    /// Called once the prompts are known, before the policy is in memory.
    func before(_ prompts: [[Int32]]) {
        // A short prompt is read in full.
        guard limit > 0, let prompt = prompts.filter({ !$0.isEmpty }).min(by: { $0.count < $1.count }) else { return }
        let known = RunReportFile.samples(at: out).filter { $0.step == 0 }
        state.withLock { $0 = (prompt, known) }
        if known.isEmpty { sample(model, step: 0) }
    }

    func after(_ path: String, step: Int) { if !prompt.isEmpty { sample(path, step: step) } }

    private var prompt: [Int32] { state.withLock { $0.prompt } }

    /// A sample is an ornament: what goes wrong here is told and stops nothing.
    private func sample(_ path: String, step: Int) {
        do {
            let checkpoint = try Checkpoint.open(path)
            let precision = settings.precision == .fp32 ? Precision.fp32 : settings.precision == .bf16 ? .bf16 : compute.defaultPrecision
            let frozen = settings.adapter.adapts ? settings.adapter.basePrecision : nil
            let transformer = try checkpoint.transformer(frozen: frozen, compute: compute, precision: precision)
            var sampling = Sampling()
            sampling.temperature = 0
            sampling.maxNewTokens = limit
            sampling.stopIDs = checkpoint.stopIDs
            let tokens = try Generator(model: transformer).generate(prompts: [prompt], sampling: sampling) { _, _ in !Interrupt.isRequested }[0].tokens
            guard !Interrupt.isRequested else { return }  // cut short, it would stand as the sample of this step for good
            func text(_ ids: [Int32], skips: Bool) -> String { checkpoint.tokenizer?.decode(ids, skipSpecialTokens: skips) ?? ids.map(String.init).joined(separator: " ") }
            let sample = RunReport.Sample(step: step, prompt: text(prompt, skips: false), completion: text(tokens, skips: true))
            state.withLock { $0.samples.append(sample) }
        } catch { Output.warn("no sample of \(path): \(error)") }
    }

    /// Writes samples.jsonl into the run directory.
    func save() {
        let samples = samples
        guard !samples.isEmpty, isFolder(out) else { return }
        let text = samples.map { $0.json.text() + "\n" }.joined()
        do { try Data(text.utf8).write(to: URL(fileURLWithPath: "\(out)/\(Self.fileName)"), options: .atomic) } catch {
            Output.warn("\(out)/\(Self.fileName): \(error.localizedDescription)")
        }
    }
}

/// report.html of a run directory, from run.json, metrics.jsonl, samples.jsonl and completions.jsonl.
enum RunReportFile {
    static let name = "report.html"

    static func samples(at run: String) -> [RunReport.Sample] { lines("\(run)/\(HeldOutSampler.fileName)").compactMap { RunReport.Sample(json: $0) } }

    private static func lines(_ path: String) -> [JSON] {
        guard let data = FileManager.default.contents(atPath: path) else { return [] }
        return data.split(separator: UInt8(ascii: "\n")).compactMap { try? JSON.parse($0) }
    }

    static func write(at run: String) throws {
        let report = RunReport(
            record: try RunDirectory.record(at: run), metrics: lines("\(run)/\(RunDirectory.metricsName)"), samples: samples(at: run),
            rollouts: lines("\(run)/\(RunDirectory.completionsName)").compactMap { RunReport.Rollout(json: $0) })
        let path = "\(run)/\(name)"
        do { try Data(report.html.utf8).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
            throw CommandError.cannotWrite(path: path, reason: error.localizedDescription)
        }
    }
}
