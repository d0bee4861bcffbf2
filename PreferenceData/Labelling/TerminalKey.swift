/// A key as the terminal reports it.
public enum TerminalKey: Sendable, Equatable {
    case character(Character)
    case enter, escape, backspace, tab, up, down, left, right, pageUp, pageDown, home, end
}

/// Bytes of a terminal to keys. Sequences may come in pieces; what no key sends is dropped.
public struct KeyDecoder: Sendable {
    private var pending: [UInt8] = []

    public init() {}

    /// Whether an escape is waiting to be told from the beginning of a sequence: after a short silence, `flush`.
    public var isWaiting: Bool { !pending.isEmpty }

    public mutating func feed(_ bytes: some Sequence<UInt8>) -> [TerminalKey] {
        pending += bytes
        var keys: [TerminalKey] = []
        while let (key, used) = next() {
            pending.removeFirst(used)
            if let key { keys.append(key) }
        }
        // A sequence that goes on for ever is none.
        if pending.count > 64 { pending = [] }
        return keys
    }

    /// Nothing more came: an escape was the key of that name.
    public mutating func flush() -> [TerminalKey] {
        defer { pending = [] }
        return pending.first == 0x1B ? [.escape] : []
    }

    /// The first key, nil for bytes without one; nil while more are needed.
    private func next() -> (key: TerminalKey?, used: Int)? {
        guard let first = pending.first else { return nil }
        switch first {
        case 0x0D, 0x0A: return (.enter, 1)
        case 0x7F, 0x08: return (.backspace, 1)
        case 0x09: return (.tab, 1)
        case 0x1B: return sequence()
        case 0x00..<0x20: return (nil, 1)
        default:
            let length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2
            guard pending.count >= length else { return nil }
            guard let text = String(validating: pending[..<length], as: UTF8.self), let character = text.first else { return (nil, 1) }
            return (.character(character), length)
        }
    }

    private func sequence() -> (key: TerminalKey?, used: Int)? {
        guard pending.count > 1 else { return nil }
        guard pending[1] == UInt8(ascii: "[") || pending[1] == UInt8(ascii: "O") else { return (.escape, 1) }
        // Parameters, then a final letter or ~.
        guard let end = pending.indices.dropFirst(2).first(where: { (0x40...0x7E).contains(pending[$0]) }) else { return nil }
        let parameter = String(decoding: pending[2..<end], as: UTF8.self).split(separator: ";").first.map(String.init) ?? ""
        let key: TerminalKey? =
            switch (pending[end], parameter) {
            case (UInt8(ascii: "A"), _): .up
            case (UInt8(ascii: "B"), _): .down
            case (UInt8(ascii: "C"), _): .right
            case (UInt8(ascii: "D"), _): .left
            case (UInt8(ascii: "H"), _), (UInt8(ascii: "~"), "1"), (UInt8(ascii: "~"), "7"): .home
            case (UInt8(ascii: "F"), _), (UInt8(ascii: "~"), "4"), (UInt8(ascii: "~"), "8"): .end
            case (UInt8(ascii: "~"), "5"): .pageUp
            case (UInt8(ascii: "~"), "6"): .pageDown
            default: nil
            }
        return (key, end + 1)
    }
}
