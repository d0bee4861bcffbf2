import Foundation
import Serialization
import Testing

@testable import Training

@Suite("Settings") struct SettingsTests {
    @Test("what is set by flags comes back from the run record") func roundTrip() throws {
        var settings = PreferenceSettings()
        for (flag, text) in [
            ("pairs", "a.jsonl"), ("pairs", "b.jsonl:2"), ("learning_rate", "5e-7"), ("num_train_epochs", "1"), ("loss_type", "ipo"),
            ("per_device_train_batch_size", "4"), ("no-shuffle", ""), ("lr_scheduler_type", "inverse_sqrt"), ("ipo_norm", "sum"), ("seed", "7"),
        ] { try settings.set(flag, text: text) }
        try settings.validate()
        #expect(settings.pairs == ["a.jsonl", "b.jsonl:2"] && settings.training.learningRate == 5e-7 && settings.training.batchSize == 4)
        #expect(settings.loss == "ipo" && settings.ipoNorm == .sum && !settings.training.shuffles)
        #expect(settings.training.schedule == .inverseSquareRoot)
        var copy = PreferenceSettings()
        try copy.apply(try #require(JSON.parse(settings.json.text()).object))
        #expect(copy == settings, "\(copy.differences(from: settings))")
        #expect(try JSONDecoder().decode(PreferenceSettings.self, from: JSONEncoder().encode(settings)) == settings)
    }

    @Test("defaults are those of the manual") func defaults() {
        let (dpo, sft) = (PreferenceSettings().training, SupervisedSettings().training)
        #expect(dpo.learningRate == 1e-6 && sft.learningRate == 2e-5)
        #expect(dpo.batchSize == 8 && dpo.epochs == 3 && dpo.maxLength == 1024 && dpo.schedule == .linear && dpo.saveTotalLimit == 2)
    }

    @Test("names, aliases and defaults are consistent") func declarations() throws {
        let names = PreferenceSettings.fields.map(\.name) + PreferenceSettings.fields.flatMap(\.aliases).map(dashed)
        #expect(Set(names).count == names.count, "\(Dictionary(grouping: names) { $0 }.filter { $0.value.count > 1 }.keys)")
        var settings = PreferenceSettings()
        // Every default is a value that its own field accepts.
        for field in PreferenceSettings.fields { try field.set(field.value(in: settings), in: &settings) }
        #expect(settings == PreferenceSettings())
        #expect(PreferenceSettings.fields.allSatisfy { !$0.help.isEmpty && !$0.group.isEmpty })
    }

    @Test("a bad value says what was found and what is expected", arguments: [
        ("beta", "-1"), ("batch-size", "0"), ("learning-rate", "fast"), ("schedule", "zigzag"), ("label-smoothing", "0.5"), ("seed", "1.5"),
        ("loss", "hinge2"), ("learning-rate", "nan"),
    ]) func badValue(name: String, text: String) {
        var settings = PreferenceSettings()
        do throws(SettingError) {
            try settings.set(name, text: text)
            Issue.record("--\(name) \(text) was accepted")
        } catch {
            guard case let .badValue(setting, found, expected) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(setting == name && found == text && !expected.isEmpty)
        }
        #expect(settings == PreferenceSettings())
    }

    @Test("an unknown name finds its neighbour") func unknown() {
        var settings = PreferenceSettings()
        #expect(throws: SettingError.unknown(setting: "learing-rate", nearest: "learning-rate")) { try settings.set("learing-rate", text: "1") }
        #expect(throws: SettingError.unknown(setting: "frobnicate", nearest: nil)) { try settings.set("frobnicate", text: "1") }
    }

    @Test("settings that contradict each other are refused") func conflicts() throws {
        var settings = PreferenceSettings()
        try settings.validate()  // without pairs those of the store
        settings.pairs = ["a"]
        try settings.validate()
        settings.split = "train"
        #expect(throws: SettingError.self) { try settings.validate() }
        settings.split = nil
        settings.labelSmoothing = 0.1
        settings.loss = "ipo"
        #expect(throws: SettingError.self) { try settings.validate() }
        settings.labelSmoothing = 0
        settings.training.evalSteps = 5
        #expect(throws: SettingError.self) { try settings.validate() }
        settings.training.evalSplit = 0.1
        try settings.validate()
    }

    @Test("several losses with weights, as text and as lists") func losses() throws {
        var settings = PreferenceSettings()
        settings.pairs = ["a"]
        try settings.set("loss_type", text: "sigmoid,sft")
        try settings.set("loss_weights", text: "1,0.2")
        try settings.validate()
        #expect(settings.losses.map(\.name) == ["sigmoid", "sft"] && settings.lossWeights == [1, 0.2])
        var copy = PreferenceSettings()
        try copy.apply(#require(JSON.parse(#"{"pairs": "a", "loss_type": ["sigmoid", "sft"], "loss_weights": [1, 0.2], "label_smoothing": 0.0}"#).object))
        #expect(copy.losses.map(\.name) == ["sigmoid", "sft"] && copy.lossWeights == [1, 0.2])
        try copy.validate()
        copy.lossWeights = [1]
        #expect(throws: SettingError.conflict(settings: ["loss-weights", "loss"], reason: "1 weights for 2 losses")) { try copy.validate() }
    }

    @Test("what is not given is the loss's own value; what it does not take is refused", arguments: PreferenceLoss.all.map(\.name))
    func knobs(loss: String) throws {
        var settings = PreferenceSettings(loss: loss)
        settings.pairs = ["a"]
        try settings.validate()
        let entry = try #require(PreferenceLoss.named(loss))
        for (name, value) in entry.knobs {
            let field = try #require(PreferenceSettings.field(named: name))
            #expect(field.value(in: settings) == .null, "\(name) is given")
            let (filled, own) = (field.value(in: settings.filled), value)
            #expect(filled == own || filled.double == own.double && own.double != nil, "\(name) is \(filled.text()), the loss's own is \(own.text())")
        }
        try settings.filled.validate()
        let others: [(String, JSON)] = [
            ("ipo-norm", "sum"), ("discopop-tau", 0.1), ("dpop-lambda", 2), ("simpo-gamma", 1), ("cpo-alpha", 0.5), ("desirable-weight", 2),
            ("label-smoothing", 0.1), ("f-divergence", "forward_kl"), ("reference-free", true), ("ld-alpha", 0.5), ("wpo", true), ("nll-coefficient", 0.2),
        ]
        for (name, value) in others {
            var changed = settings
            try #require(PreferenceSettings.field(named: name)).set(value, in: &changed)
            let takes = entry.knobs.contains { $0.setting == name }
            do throws(SettingError) {
                try changed.validate()
                #expect(takes, "\(loss) accepted --\(name)")
            } catch {
                guard case let .conflict(named, _) = error else { throw error }
                #expect(!takes && named == [name, "loss"], "\(loss), --\(name): \(error)")
            }
        }
    }

    @Test("losses that do not go together are refused", arguments: ["sigmoid,kto", "sigmoid,simpo", "kto,bco"]) func mixtures(loss: String) {
        var settings = PreferenceSettings(loss: loss)
        settings.pairs = ["a"]
        #expect(throws: SettingError.self) { try settings.validate() }
    }

    @Test("a reference that nobody asks is refused; kto asks for two rows a step") func needs() throws {
        var settings = PreferenceSettings(loss: "orpo")
        (settings.pairs, settings.referenceModel) = (["a"], "m")
        #expect(throws: SettingError.conflict(settings: ["ref-model", "loss"], reason: "no reference is used")) { try settings.validate() }
        settings = PreferenceSettings(loss: "kto")
        (settings.pairs, settings.training.batchSize) = (["a"], 1)
        #expect(throws: SettingError.self) { try settings.validate() }
        settings.training.accumulationSteps = 2
        try settings.validate()
        settings.sharesPrefixes = false
        #expect(throws: SettingError.self) { try settings.validate() }
    }

    @Test("columns are a table of names") func columns() throws {
        var settings = TrainingSettings(learningRate: 1)
        settings.columns = "prompt=question,chosen=better"
        #expect(try settings.columnNames() == ["prompt": "question", "chosen": "better"])
        settings.columns = "prompt"
        #expect(throws: SettingError.badValue(setting: "columns", found: "prompt", expected: "our name and the file's, such as prompt=question")) {
            try settings.validate()
        }
    }

    @Test("steps of an epoch count the last, smaller batch") func steps() {
        var settings = TrainingSettings(learningRate: 1)
        (settings.batchSize, settings.accumulationSteps, settings.epochs) = (2, 3, 2)
        #expect(settings.stepsPerEpoch(rows: 13) == 3)  // 6 + 6 + 1
        #expect(settings.totalSteps(rows: 13) == 6)
        settings.maxSteps = 4
        #expect(settings.totalSteps(rows: 13) == 4)
    }
}
