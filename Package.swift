// swift-tools-version: 6.1
import PackageDescription

// Targets are layers: each may import only what is listed after it (README, "The house").
let package = Package(
    name: "align",
    products: [.executable(name: "align", targets: ["align"])],
    targets: [
        .target(
            name: "CAlign",
            cSettings: [.unsafeFlags(["-O3", "-fno-math-errno", "-fno-strict-aliasing"])],
            linkerSettings: [.linkedLibrary("openblas"), .linkedLibrary("sqlite3"), .linkedLibrary("m")]
        ),
        .target(name: "Serialization", dependencies: ["CAlign"]),
        .target(name: "Tensors", dependencies: ["CAlign"]),
        .target(name: "Tokenizers", dependencies: ["Serialization"]),
        .target(name: "Checkpoints", dependencies: ["CAlign", "Tensors", "Tokenizers", "Serialization"]),
        .target(name: "Models", dependencies: ["Tensors", "Checkpoints", "Tokenizers", "Serialization"]),
        .target(
            name: "PreferenceData", dependencies: ["CAlign", "Serialization"], path: "PreferenceData",
            exclude: ["README.md", "direct-answers", "Migrations"]
        ),
        .target(name: "Training", dependencies: ["Models", "Tokenizers", "PreferenceData", "Serialization", "Tensors", "Checkpoints"]),
        .target(
            name: "Evaluations", dependencies: ["Models", "Tokenizers", "PreferenceData", "Serialization", "Tensors"], path: "Evaluations",
            exclude: ["RESULTS.md", "studies"]
        ),
        .executableTarget(
            name: "align",
            dependencies: [
                "CAlign", "Serialization", "Tensors", "Tokenizers", "Checkpoints", "Models", "PreferenceData", "Training",
                "Evaluations",
            ]
        ),
        .testTarget(name: "SerializationTests", dependencies: ["Serialization"]),
        .testTarget(name: "TensorsTests", dependencies: ["Tensors", "CAlign"]),
        .testTarget(name: "TokenizersTests", dependencies: ["Tokenizers", "Serialization"]),
        .testTarget(name: "CheckpointsTests", dependencies: ["Checkpoints", "Tensors", "Tokenizers", "Serialization"]),
        .testTarget(name: "ModelsTests", dependencies: ["Models", "Checkpoints", "Tensors", "Tokenizers", "Serialization"]),
        .testTarget(name: "PreferenceDataTests", dependencies: ["PreferenceData", "Serialization"]),
        .testTarget(name: "TrainingTests", dependencies: ["Training", "Models", "Tensors", "PreferenceData", "Serialization", "Checkpoints", "Tokenizers"]),
        .testTarget(name: "EvaluationsTests", dependencies: ["Evaluations", "Models", "Serialization"]),
        .testTarget(
            name: "AlignTests",
            dependencies: ["align", "CAlign", "Serialization", "Checkpoints", "Tensors", "Models", "Training", "PreferenceData", "Evaluations"]),
    ],
    cLanguageStandard: .gnu2x
)
