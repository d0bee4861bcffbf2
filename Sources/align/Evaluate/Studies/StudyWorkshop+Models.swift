import Checkpoints
import Evaluations
import Foundation
import Models
import Serialization
import Tensors
import Training

extension StudyWorkshop {
    // MARK: Start models

    /// The start model of a size: trained on the writers' documents, completions only.
    func start(_ size: PlantedWorld.Size) async throws -> String {
        let run = "\(folder)/start-\(size.rawValue)"
        if StudyFiles.exists(run + "/model/manifest.json") { return run + "/model" }
        let documents = try made(folder + "/documents.jsonl") { path in
            try StudyFiles.writeLines((0..<plan.documents).lazy.map { self.supervised(self.world.document($0)) }, to: path)
        }
        let blank = try made("\(folder)/blank-\(size.rawValue)") { path in
            let config = try ModelConfig(json: size.config, file: "config.json")
            // As wide as torch's own linear layers begin: 1/√(3·width).
            let model = try Transformer(
                random: config, deviation: 1 / (3 * Double(config.hiddenSize)).squareRoot(), seed: UInt64(seed), compute: compute, precision: Self.precision)
            try CheckpointWriter.save(.init(config: config), tensors: model.tensorSources, dtype: .f32, to: path)
        }
        var settings = SupervisedSettings()
        settings.data = [documents]
        settings.training = training(2e-3, batch: 64, model: blank)
        settings.training.maxSteps = plan.startSteps ?? size.startSteps
        settings.training.warmupSteps = 50
        settings.training.logSteps = 50
        note("start model \(size.rawValue): \(settings.training.maxSteps) steps")
        try await self.run(SupervisedFineTuning(settings), as: run)
        return run + "/model"
    }

    private func supervised(_ document: (prompt: [Int32], completion: [Int32])) -> JSON {
        let mask = document.prompt.map { _ in JSON.integer(0) } + document.completion.map { _ in JSON.integer(1) }
        return ["input_ids": StudyFiles.ids(document.prompt + document.completion), "loss_mask": .array(mask)]
    }

    /// Nats a token of held-out documents' completions, of a model and of the writers themselves.
    func crossEntropy(_ model: Transformer, documents count: Int = 1000) throws -> (start: Double, writers: Double) {
        var (sum, own, tokens) = (0.0, 0.0, 0)
        for part in stride(from: 0, to: count, by: 100) {
            var batch = SegmentTree()
            for index in part..<min(count, part + 100) {
                let (prompt, completion) = world.document(index, for: .heldOutDocuments)
                batch.addRow(segment: batch.append(completion, parent: batch.append(prompt)))
                own -= world.writersLogLikelihood(of: completion, after: prompt)
                tokens += completion.count
            }
            sum -= try model.scores(of: batch).logProbs.values.reduce(0, +)
        }
        return (sum / Double(tokens), own / Double(tokens))
    }

    // MARK: Samples and pairs

    /// The start model's samples that best-of-n chooses from: of each prompt, one after the other.
    func pool() async throws -> [Rollout] {
        try await sample(try transformer(start(plan.size)), world.prompts(plan.pool.prompts, for: .pool), samples: plan.pool.samples, step: DrawStep.pool)
    }

    /// Two samples each of `range` of a purpose's prompts.
    private func samplePairs(_ range: Range<Int>, for purpose: PlantedWorld.Purpose) async throws -> [[Rollout]] {
        let model = try transformer(try await start(plan.size))
        let prompts = range.map { world.prompt($0, for: purpose) }
        let step = (purpose == .pairs ? DrawStep.pairs : DrawStep.freshPairs) + range.lowerBound
        let rollouts = try await sample(model, prompts, samples: 2, step: step)
        return stride(from: 0, to: rollouts.count, by: 2).map { [rollouts[$0], rollouts[$0 + 1]] }
    }

    /// Labelled pairs `range`, as a file that a reward model is trained on. Fewer are the first of more.
    func pairs(_ range: Range<Int>, noise: Double) async throws -> String {
        // Drawn a thousand at a time, so that pair i is the same in every set.
        let path = "\(folder)/pairs-\(range.lowerBound)-\(range.upperBound)-noise-\(noise).jsonl"
        if StudyFiles.exists(path) { return path }
        var lines: [JSON] = []
        for part in stride(from: range.lowerBound / 1000 * 1000, to: range.upperBound, by: 1000) {
            let samples = try await samplePairs(part..<part + 1000, for: .pairs)
            for index in range.clamped(to: part..<part + 1000) {
                let pair = samples[index - part], prompt = pair[0].promptTokens ?? [], (a, b) = (pair[0].tokens ?? [], pair[1].tokens ?? [])
                let prefersFirst = world.prefersFirst(a, b, after: prompt, index: index, noise: noise)
                lines.append([
                    "prompt_ids": StudyFiles.ids(prompt), "chosen_ids": StudyFiles.ids(prefersFirst ? a : b), "rejected_ids": StudyFiles.ids(prefersFirst ? b : a),
                ])
            }
        }
        try StudyFiles.writeLines(lines, to: path)
        return path
    }

    // MARK: Reward models

    /// What a proxy is made of.
    struct Proxy {
        var pairs: Range<Int>
        var noise: Double
        var size: PlantedWorld.Size
        var name: String { "\(size.rawValue) \(pairs.count) pairs\(pairs.lowerBound > 0 ? " from \(pairs.lowerBound)" : "") noise \(noise)" }
    }

    /// A reward model on labelled pairs of the start model's samples, grown from the start model of its size.
    func rewardModel(_ proxy: Proxy) async throws -> String {
        let run = "\(folder)/reward \(proxy.name)".replacing(" ", with: "-")
        if StudyFiles.exists(run + "/model/manifest.json") { return run + "/model" }
        var settings = RewardSettings()
        let start = try await start(proxy.size), pairs = try await pairs(proxy.pairs, noise: proxy.noise)
        settings.pairs = [pairs]
        settings.head = try probedHead(start, pairs: pairs, name: proxy.name) + "/model.safetensors"
        settings.centering = 0.01
        settings.training = training(proxy.size.rewardRate, batch: 64, model: start)
        settings.training.epochs = plan.rewardEpochs
        settings.training.logSteps = 20
        note("reward model \(proxy.name)")
        try await self.run(RewardModelling(settings), as: run)
        return run + "/model"
    }

    /// A folder with the head that logistic regression on the start model's last hidden states gives.
    private func probedHead(_ start: String, pairs: String, name: String) throws -> String {
        try made("\(folder)/head \(name)".replacing(" ", with: "-")) { path in
            let checkpoint = try Checkpoint.open(start)
            let width = checkpoint.config.hiddenSize
            // A head of the identity reads the hidden states themselves.
            let reader = try Transformer(
                checkpoint, config: checkpoint.config.scoring(outputs: width), compute: compute, precision: Self.precision, trains: false
            ) { _, values in for i in values.indices { values[i] = i / width == i % width ? 1 : 0 } }
            let rows = try StudyFiles.lines(pairs).map { line in
                RewardScorer.Row(
                    prompt: StudyFiles.ids(line["prompt_ids"]) ?? [],
                    completions: [StudyFiles.ids(line["chosen_ids"]) ?? [], StudyFiles.ids(line["rejected_ids"]) ?? []])
            }
            var differences: [[Double]] = []
            try RewardScorer(policy: reader, outputs: width).score(rows) { _, states in
                differences.append(zip(states[0], states[1]).map(-))
                return true
            }
            let head = LinearProbe().fit(differences).map { Float($0) }
            let tensor = TensorSource(name: "score.weight", shape: [1, width]) { (range, buffer) throws(CheckpointError) in
                for (place, index) in range.enumerated() { buffer[place] = head[index] }
            }
            let folder = try AtomicFolder(path)
            try SafetensorsWriter.write([tensor], dtype: .f32, to: folder, name: "model.safetensors")
            try folder.commit()
        }
    }

    /// Share of fresh pairs that a reward model orders as gold does; those of equal gold are left out.
    func accuracy(of model: String, pairs count: Int = 4000) async throws -> Double {
        if freshPairs.isEmpty { freshPairs = try await samplePairs(0..<count, for: .freshPairs).filter { gold($0[0]) != gold($0[1]) } }
        let scores = try await scores(freshPairs.flatMap { $0 }, by: model)
        let hits = freshPairs.indices.count { (scores[2 * $0] > scores[2 * $0 + 1]) == (gold(freshPairs[$0][0]) > gold(freshPairs[$0][1])) }
        return Double(hits) / Double(max(1, freshPairs.count))
    }
}
