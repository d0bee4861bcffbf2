import Foundation
import Models
import Serialization
import Training

/// `losses/*.json`: losses with their gradients, each kind of file by what is in it.
struct LossesPart: VerifyPart {
    static let folder = "losses"

    /// The kinds of files, the more particular ones first: what a file is recognised by, and what compares it.
    private static var kinds: [(fits: (GoldenFile) -> Bool, run: (GoldenFile, String, VerifyContext) throws -> Void)] {
        [
            (RewardLossGolden.fits, { try RewardLossGolden($0).run($1, $2) }),
            (UnpairedLossGolden.fits, { try UnpairedLossGolden($0).run($1, $2) }),
            (PPOGolden.fits, { try PPOGolden($0).run($1, $2) }),
            (PolicyLossGolden.fits, { try PolicyLossGolden($0).run($1, $2) }),
            (KLGolden.fits, { try KLGolden($0).run($1, $2) }),
            (DistillationGolden.fits, { try DistillationGolden($0).run($1, $2) }),
            (PreferenceLossGolden.fits, { try PreferenceLossGolden($0).run($1, $2) }),
        ]
    }

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".json") {
            let label = "losses/\(name.dropLast(5))"
            context.guarded(label) {
                let file = try GoldenFile("\(folder)/\(name)")
                guard let kind = Self.kinds.first(where: { $0.fits(file) }) else { return UncoveredPart.report("\(folder)/\(name)", as: label, context) }
                try kind.run(file, label, context)
                context.remember(uncompared: file.uncompared(), of: label)
            }
        }
    }
}

/// Padded rows of a golden file, `[rows, T]`, and which of their entries count.
struct PaddedRows {
    let file: GoldenFile
    /// Tokens of each row, from its start.
    let lengths: [Int]
    /// Entries of a row.
    let width: Int

    init(_ file: GoldenFile) throws {
        self.file = file
        let mask = try file.root.member("mask").integerRows()
        let width = mask.first?.count ?? 0
        (self.width, lengths) = try (width, mask.enumerated().map { r, row in
            let length = row.prefix { $0 == 1 }.count
            guard row.count == width, row.dropFirst(length).allSatisfy({ $0 == 0 }) else {
                throw GoldenError.wrongKind(file: file.path, path: "/mask/\(r)", found: "\(row)", expected: "\(width) entries, ones before zeros")
            }
            return length
        })
    }

    func ragged(_ key: String) throws -> Ragged { try ragged(file.root.member(key)) }

    func ragged(_ node: GoldenNode) throws -> Ragged {
        let rows = try node.rows()
        guard rows.count == lengths.count else {
            throw GoldenError.wrongKind(file: file.path, path: node.path, found: "\(rows.count) rows", expected: "\(lengths.count)")
        }
        return Ragged(rows: try rows.indices.map { r in
            guard rows[r].count == width, rows[r].dropFirst(lengths[r]).allSatisfy({ $0 == 0 }) else {
                throw GoldenError.wrongKind(file: file.path, path: "\(node.path)/\(r)", found: "values at masked positions", expected: "zeros there")
            }
            return Array(rows[r].prefix(lengths[r]))
        })
    }

    /// Compares rows from `first` on with those of a golden, zeros where nothing counts.
    func compare(_ node: GoldenNode, _ key: String, _ found: Ragged, from first: Int = 0, _ tolerance: Tolerance, _ recorder: inout CaseRecorder) throws {
        let golden = try node.member(key).rows()
        recorder.equal("rows of \(key)", min(golden.count, found.rows - first), golden: golden.count)
        for i in 0..<min(found.rows - first, golden.count) {
            let row = Array(found[first + i])
            recorder.compare("\(key)[\(i)]", row + [Double](repeating: 0, count: max(0, width - row.count)), golden: golden[i], tolerance)
        }
    }
}

/// A golden's tolerances: one number for both, or one for each.
struct LossTolerances {
    let loss: Tolerance, gradient: Tolerance

    init(_ root: GoldenNode) {
        let common = root.tolerance(default: 1e-6)
        loss = .either(root.optional("tolerance")?.tolerance("loss", default: common) ?? common)
        gradient = .either(root.optional("tolerance")?.tolerance("grad", default: common) ?? common)
    }
}

extension GoldenNode {
    /// `params` in words, for the name of a case.
    func parametersText() throws -> String {
        try member("params").members().map { "\($0.key)=\($0.value.json.string ?? $0.value.json.text())" }.joined(separator: " ")
    }

    /// A parameter of a case; nil where it is null or missing.
    func parameter(_ key: String) throws -> Double? { try optional("params")?.optional(key)?.number() }
}
