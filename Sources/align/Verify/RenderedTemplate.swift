import Foundation
import Serialization
import Tokenizers

/// A template rendered as the goldens' reference does.
struct RenderedTemplate {
    var text: String
    /// Start and end of the parts inside generation blocks, in Unicode scalars; empty parts are left out.
    var spans: [[Int]]

    /// - Parameter clock: What the template takes as now; nil for the moment of rendering.
    init(
        _ source: String, messages: [JSON], tools: JSON?, adds: Bool, variables: [String: JSON], clock: tm?
    ) throws(TemplateError) {
        let template = try ChatTemplate(source: source)
        let rendering =
            if let clock {
                try template.rendering(messages: messages, tools: tools, addGenerationPrompt: adds, variables: variables, clock: clock)
            } else {
                try template.rendering(messages: messages, tools: tools, addGenerationPrompt: adds, variables: variables)
            }
        text = rendering.text
        let utf8 = Array(text.utf8)
        // Scalars that begin before each byte.
        var scalars = [0]
        for byte in utf8 { scalars.append(scalars[scalars.count - 1] + (byte & 0xC0 == 0x80 ? 0 : 1)) }
        spans = rendering.generationSpans.filter { !$0.isEmpty }.map { [scalars[$0.lowerBound], scalars[$0.upperBound]] }
    }

    /// What the template's own raise_exception said; nil if the error is another one.
    static func raisedMessage(_ error: TemplateError) -> String? {
        guard case let .raised(message) = error else { return nil }
        return message
    }

    /// The clock of a golden, such as `2026-01-15T09:05:00` (the time may be left out); nil if the text is no such moment.
    static func clock(_ text: String) -> tm? {
        let parts = text.split(maxSplits: 1, omittingEmptySubsequences: false) { $0 == "T" || $0 == " " }
        // Fractions of a second and the zone change nothing that is printed.
        let time = parts.count > 1 ? parts[1].prefix { $0.isNumber || $0 == ":" } : "0:0"
        let date = parts[0].split(separator: "-").map { Int32($0) }
        let fields = time.split(separator: ":").map { Int32($0) }
        guard date.count == 3, (2...3).contains(fields.count), let year = date[0], let month = date[1], let day = date[2],
            let hour = fields[0], let minute = fields[1], let second = fields.count > 2 ? fields[2] : 0
        else { return nil }
        let ranges: [(Int32, ClosedRange<Int32>)] = [(year, 1...9999), (month, 1...12), (day, 1...31), (hour, 0...23), (minute, 0...59), (second, 0...60)]
        guard ranges.allSatisfy({ $1.contains($0) }) else { return nil }
        var clock = tm()
        (clock.tm_year, clock.tm_mon, clock.tm_mday) = (year - 1900, month - 1, day)
        (clock.tm_hour, clock.tm_min, clock.tm_sec) = (hour, minute, second)
        timegm(&clock)  // the day of the week and of the year
        return clock
    }
}
