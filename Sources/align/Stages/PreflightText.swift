import Serialization
import Training

/// What data preparation found, for reading.
struct PreflightText {
    let preflight: Preflight
    /// Rows listed one by one.
    private static let listed = 20

    init(_ preflight: Preflight) { self.preflight = preflight }

    private var shapes: String { preflight.shapes.map { "\($0.name) (\($0.count))" }.joined(separator: ", ") }

    /// Two or three lines before training.
    var brief: String {
        var text = "\(preflight.stage): \(grouped(preflight.rows)) rows" + (preflight.evalRows > 0 ? ", \(grouped(preflight.evalRows)) held out" : "")
        if !shapes.isEmpty { text += "; shape: \(shapes)" }
        text += "; template: \(preflight.template)\n"
        text += "\(grouped(preflight.steps)) steps, \(grouped(preflight.tokensPerEpoch)) tokens an epoch"
        if let memory = preflight.memoryEstimate { text += ", about \(byteCount(memory)) of memory" }
        for note in preflight.notes { text += "\n" + note }
        if !losses.isEmpty { text += "\n" + losses }
        return text
    }

    private var losses: String {
        var parts: [String] = []
        if preflight.truncated > 0 { parts.append("\(preflight.truncated) truncated to --max-length") }
        if preflight.droppedCount > 0 { parts.append("\(preflight.droppedCount) dropped") }
        if preflight.badRowCount > 0 { parts.append("\(preflight.badRowCount) bad rows skipped") }
        if preflight.boundaryMerges > 0 { parts.append("\(preflight.boundaryMerges) with a token across prompt and completion") }
        let rows = (preflight.badRows + preflight.dropped).prefix(Self.listed).map { "  \($0.origin): \($0.reason)" }
        return parts.isEmpty ? "" : (["rows: " + parts.joined(separator: ", ")] + rows).joined(separator: "\n")
    }

    /// `--dry-run`
    var text: String {
        var lines = [brief, ""]
        lines.append("tokens per row (least, median, most):")
        let width = preflight.lengths.map(\.name.count).max() ?? 0
        for length in preflight.lengths { lines.append("  " + padded(length.name, width) + "  \(length.minimum), \(length.median), \(length.maximum)") }
        lines += ["", "first row, what the loss counts between ⟦ and ⟧:", preflight.example, ""]
        lines.append("\(preflight.stepsPerEpoch) steps an epoch, \(preflight.steps) in all")
        if let memory = preflight.memoryEstimate { lines.append("memory: about \(byteCount(memory))") }
        lines.append("rows: \(byteCount(preflight.rowsInMemory)) of memory" + (preflight.rowsOnDisk > 0 ? ", \(byteCount(preflight.rowsOnDisk)) of tokens in a scratch file beside the run" : ""))
        if let seconds = preflight.timeEstimate { lines.append("time: about \(duration(seconds)), measured on one micro-step") }
        lines.append("nothing was trained (--dry-run)")
        return lines.joined(separator: "\n") + "\n"
    }

    var json: JSON {
        func rows(_ rows: [Preflight.Dropped]) -> JSON { .array(rows.map { ["origin": .string($0.origin), "reason": .string($0.reason)] }) }
        return [
            "stage": .string(preflight.stage), "rows": .integer(preflight.rows), "held_out": .integer(preflight.evalRows),
            "shapes": .object(JSONObject(preflight.shapes.map { ($0.name, .integer($0.count)) })), "template": .string(preflight.template),
            "notes": .array(preflight.notes.map { .string($0) }), "truncated": .integer(preflight.truncated), "dropped": rows(preflight.dropped), "bad_rows": rows(preflight.badRows),
            "boundary_merges": .integer(preflight.boundaryMerges),
            "lengths": .object(JSONObject(preflight.lengths.map { length in
                (length.name, ["min": .integer(length.minimum), "median": .integer(length.median), "max": .integer(length.maximum), "total": .integer(length.total)])
            })),
            "example": .string(preflight.example), "steps_per_epoch": .integer(preflight.stepsPerEpoch), "steps": .integer(preflight.steps),
            "tokens_per_epoch": .integer(preflight.tokensPerEpoch), "rows_memory_bytes": .integer(preflight.rowsInMemory), "rows_disk_bytes": .integer(preflight.rowsOnDisk),
            "memory_bytes": preflight.memoryEstimate.map { .integer($0) } ?? .null,
            "seconds": preflight.timeEstimate.map { .number($0) } ?? .null,
        ]
    }
}
