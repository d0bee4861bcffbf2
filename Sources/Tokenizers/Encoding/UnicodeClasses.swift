import Foundation
import Synchronization

/// The classes of scalars that pre-tokenizer patterns speak of, as bits.
struct ScalarClass: OptionSet, Sendable {
    let rawValue: UInt8
    static let letter = ScalarClass(rawValue: 1)  // \p{L}
    static let number = ScalarClass(rawValue: 2)  // \p{N}
    static let space = ScalarClass(rawValue: 4)  // \s
    static let newline = ScalarClass(rawValue: 8)  // \r and \n
    static let upper = ScalarClass(rawValue: 16)  // Lu Lt Lm Lo M
    static let lower = ScalarClass(rawValue: 32)  // Ll Lm Lo M
    static let mark = ScalarClass(rawValue: 64)  // \p{M}
    static let word = ScalarClass(rawValue: 128)  // \w

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// From the Unicode properties (slow).
    init(_ scalar: Unicode.Scalar) {
        var result: ScalarClass = []
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .titlecaseLetter: result = [.letter, .upper, .word]
        case .lowercaseLetter: result = [.letter, .lower, .word]
        case .modifierLetter, .otherLetter: result = [.letter, .upper, .lower, .word]
        case .nonspacingMark, .spacingMark, .enclosingMark: result = [.mark, .upper, .lower, .word]
        case .decimalNumber: result = [.number, .word]
        case .letterNumber, .otherNumber: result = [.number]
        case .connectorPunctuation: result = [.word]
        default: break
        }
        if scalar.properties.isWhitespace { result.insert(.space) }
        if scalar.properties.isAlphabetic || scalar.value == 0x200C || scalar.value == 0x200D { result.insert(.word) }
        if scalar == "\r" || scalar == "\n" { result.insert(.newline) }
        self = result
    }

    static let ascii = FixedArray((0..<UInt8(128)).map { ScalarClass(Unicode.Scalar($0)).rawValue })
    private static let table = ScalarClassTable()

    @inline(never)
    static func beyondASCII(_ value: UInt32) -> ScalarClass { table[value] }
}

/// The classes of all scalars, each found out when it is first met: asking for all of plane 0 and 1 beforehand takes longer than
/// loading a tokenizer does.
private struct ScalarClassTable: @unchecked Sendable {  // the pointer never changes, its elements are atomic
    private static let known: UInt16 = 0x100
    private let states: UnsafeMutablePointer<Atomic<UInt16>>

    init() {
        // Zeroed memory of the system: pages that no text touches are never made.
        let memory = calloc(0x110000, MemoryLayout<Atomic<UInt16>>.stride)
        guard let memory else { preconditionFailure("no memory for the classes of 0x110000 scalars") }
        states = memory.bindMemory(to: Atomic<UInt16>.self, capacity: 0x110000)
    }

    subscript(value: UInt32) -> ScalarClass {
        guard value < 0x110000 else { return [] }
        let state = states[Int(value)].load(ordering: .relaxed)
        if state != 0 { return ScalarClass(rawValue: UInt8(truncatingIfNeeded: state)) }
        let found = Unicode.Scalar(value).map { ScalarClass($0) } ?? []
        states[Int(value)].store(ScalarClassTable.known | UInt16(found.rawValue), ordering: .relaxed)
        return found
    }
}

/// Reading scalars from valid UTF-8.
enum UTF8Scan {
    /// Bytes of the scalar that starts with `lead`.
    @inline(__always)
    static func length(_ lead: UInt8) -> Int { lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4 }

    /// The scalar at `i` and the place after it.
    @inline(__always)
    static func scalar(_ bytes: UnsafeBufferPointer<UInt8>, _ i: Int) -> (value: UInt32, next: Int) {
        let lead = bytes[i]
        if lead < 0x80 { return (UInt32(lead), i + 1) }
        func tail(_ k: Int) -> UInt32 { UInt32(bytes[i + k] & 0x3F) }
        if lead < 0xE0 { return (UInt32(lead & 0x1F) << 6 | tail(1), i + 2) }
        if lead < 0xF0 { return (UInt32(lead & 0x0F) << 12 | tail(1) << 6 | tail(2), i + 3) }
        return (UInt32(lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), i + 4)
    }

    /// Where the scalar before `i` starts.
    @inline(__always)
    static func before(_ bytes: UnsafeBufferPointer<UInt8>, _ i: Int) -> Int {
        var j = i - 1
        while j > 0 && bytes[j] & 0xC0 == 0x80 { j -= 1 }
        return j
    }
}
