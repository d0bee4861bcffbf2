import Foundation

extension JSON {
    /// The value as JSON text, members in their order.
    /// - Parameter pretty: Two-space indentation; otherwise one line with `", "` and `": "` between parts, as Python writes it.
    public func text(pretty: Bool = false) -> String {
        var out = ""
        write(into: &out, indent: pretty ? 0 : nil)
        return out
    }

    private func write(into out: inout String, indent: Int?) {
        switch self {
        case .null: out += "null"
        case let .bool(value): out += value ? "true" : "false"
        case let .integer(value): out += String(value)
        case let .number(value): out += JSON.text(of: value)
        case let .string(value): JSON.write(value, into: &out)
        case let .array(values):
            // Numbers stay on one line even when pretty: token ids would otherwise fill pages.
            let inner = values.contains { $0.array != nil || $0.object != nil } ? indent.map { $0 + 1 } : nil
            out += "["
            for (index, value) in values.enumerated() {
                if index > 0 { out += inner == nil ? ", " : "," }
                JSON.newline(inner, into: &out)
                value.write(into: &out, indent: inner)
            }
            if !values.isEmpty { JSON.newline(inner.map { $0 - 1 }, into: &out) }
            out += "]"
        case let .object(object):
            let inner = indent.map { $0 + 1 }
            out += "{"
            for (index, member) in object.members.enumerated() {
                if index > 0 { out += inner == nil ? ", " : "," }
                JSON.newline(inner, into: &out)
                JSON.write(member.key, into: &out)
                out += ": "
                member.value.write(into: &out, indent: inner)
            }
            if !object.isEmpty { JSON.newline(indent, into: &out) }
            out += "}"
        }
    }

    private static func newline(_ indent: Int?, into out: inout String) {
        guard let indent else { return }
        out += "\n" + String(repeating: "  ", count: indent)
    }

    /// The shortest text that reads back as the same `Double`; not-finite values as Python writes them.
    static func text(of value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
        return "\(value)"
    }

    private static func write(_ string: String, into out: inout String) {
        out += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\u{08}": out += "\\b"
            case "\u{0C}": out += "\\f"
            case let control where control.value < 0x20:
                let hex = String(control.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}
