import PreferenceData
import Serialization

/// Where rows come from. (Reading is PreferenceData's; this is what the stages ask of it.)
enum RecordReading {
    static func pairs(_ files: [String], settings: TrainingSettings) throws -> (rows: [PreferencePair], preflight: Preflight) {
        ([], Preflight())
    }
    static func examples(_ files: [String], settings: TrainingSettings) throws -> (rows: [SupervisedExample], preflight: Preflight) {
        ([], Preflight())
    }
}
