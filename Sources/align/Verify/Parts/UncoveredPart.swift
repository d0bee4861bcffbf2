import Serialization

/// Goldens of parts that this build does not cover: listed as "not yet", case by case where a file lists cases.
enum UncoveredPart {
    static func run(_ folder: String, named name: String, _ context: VerifyContext) {
        let files = entries(of: folder).filter { $0.hasSuffix(".json") && !isFolder("\(folder)/\($0)") }
        if files.isEmpty { context.report(.notYet(name)) }
        for file in files { report("\(folder)/\(file)", as: "\(name)/\(file.dropLast(5))", context) }
    }

    /// One line a case; an unreadable golden has failed, covered or not.
    static func report(_ path: String, as name: String, _ context: VerifyContext) {
        context.guarded(name) {
            let json = try GoldenFile(path).json
            guard let cases = json["cases"]?.array, !cases.isEmpty else { return context.report(.notYet(name)) }
            for (index, value) in cases.enumerated() {
                let label = ["name", "loss_type", "method", "setting", "kind"].lazy.compactMap { value[$0]?.string }.first
                context.report(.notYet("\(name) \(label ?? "\(index)")"))
            }
        }
    }
}
