import Models
import Training

/// A reward model's goldens: scores at every token, rewards at each row's last one, and the gradient of Bradley–Terry's loss.
extension ModelGolden {
    func runReward(_ context: VerifyContext) throws {
        var everywhere = SegmentTree(), last = SegmentTree()
        for row in rows {
            let segment = everywhere.append(row.tokens)
            for offset in row.tokens.indices { everywhere.addReadout(segment: segment, at: offset) }
            last.addReadout(segment: last.append(row.tokens))
        }
        let outputs = checkpoint.config.scoreOutputs
        guard outputs == 1, rows.count == 2 else {
            throw GoldenError.wrongKind(
                file: file.path, path: "/rewards", found: "\(rows.count) rows of \(outputs) labels", expected: "a pair of rows with one label")
        }
        let scores = try model.scores(of: everywhere).readouts
        let rewards = try model.logProbs(of: last).readouts
        let inputs = RewardReadouts(values: rewards, outputs: 1, rows: [.init(label: .preference(margin: 0, probability: 1))])
        let loss = try BradleyTerry()(inputs, step: StepTotals(pairs: 1))
        try model.backward(loss.scoreGradient)

        context.test("\(name) inputs") { try self.inputs(&$0) }
        context.test("\(name) scores") { recorder in
            let golden = try tensors.floats("score_per_token", shape: [rows.count, width])
            var found = [Double](repeating: 0, count: golden.count)
            var token = 0
            for r in rows.indices {
                for place in rows[r].places {
                    found[r * width + place] = scores[token]
                    token += 1
                }
            }
            for r in rows.indices {
                for place in rows[r].places {
                    let i = r * width + place
                    recorder.compare("score_per_token[\(r), \(place)]", found[i], golden: Double(golden[i]), Self.logitTolerance)
                }
            }
        }
        context.test("\(name) rewards") { recorder in
            recorder.compare("rewards", rewards, golden: try file.root.member("rewards").numbers(), Self.logitTolerance)
            if tensors.has("rewards") {
                recorder.compare("rewards", rewards, golden: try tensors.floats("rewards", shape: [rows.count]).map { Double($0) }, Self.logitTolerance)
            }
        }
        context.test("\(name) loss") { $0.compare("loss_bt", loss.value, golden: try file.root.member("loss_bt").number(), Self.lossTolerance) }
        context.test("\(name) gradients") { try compareGradients(&$0) }
        context.test("\(name) gradient norms") { try compareNorms(&$0) }
        context.test("\(name) observed") { recorder in
            // The reference's own noise: its goldens are no better than this.
            for (key, node) in try file.root.member("observed").members() { recorder.compare(key, 0, golden: try node.number(), Self.logitTolerance) }
        }
        context.remember(uncompared: file.uncompared() + tensors.uncompared(), of: name)
    }
}
