import Foundation
import Serialization

/// Cuts JSON lines, or one JSON array, into items without building the whole value: an item that is wrong costs that item.
///
/// Of the text no more is in memory than a window that holds the item being cut; of an item that is too long, nothing but its length.
struct RecordScanner {
    private let text: RecordText
    /// A part of the text; items share it until they are parsed.
    private var window: [UInt8] = []
    /// Where in the text the window ends.
    private var windowEnd = 0
    private var position = 0
    /// Where the item being cut begins, in the window.
    private var start = 0
    /// Bytes of that item that the window has let go, as it is too long.
    private var passed = 0
    private var line = 1
    private var isArray = false
    private var isFirst = true
    private var isDone = false
    /// A fault after the array's end, told once the last item is out.
    private var pending: Piece?

    /// Longer rows are refused unread: a value takes many times the memory of its text.
    static let longestRow = 32 << 20
    private static let chunk = 1 << 20

    /// An item before it is parsed, so that many can be parsed at once.
    enum Piece {
        case text(ArraySlice<UInt8>, line: Int, isOpen: Bool = false)
        case fault(RowFault, line: Int)

        var size: Int { if case let .text(bytes, _, _) = self { bytes.count } else { 0 } }
    }

    /// An item's first line (from 1) and its value, or what is wrong with it.
    struct Item {
        var line: Int
        var value: Result<JSON, RowFault>
    }

    init(_ text: RecordText) throws(RecordError) {
        self.text = text
        _ = try refill()
        if window.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
        try skipSpace()
        isArray = position < window.count && window[position] == UInt8(ascii: "[")
        if isArray { position += 1 }
    }

    mutating func next() throws(RecordError) -> Item? {
        guard let piece = try nextPiece() else { return nil }
        return item(piece)
    }

    mutating func nextPiece() throws(RecordError) -> Piece? { try isArray ? nextOfArray() : nextLine() }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D || byte == 0x0A }

    /// Moves the window on, keeping the item being cut; false at the end of the text.
    private mutating func refill() throws(RecordError) -> Bool {
        if passed > 0 || position - start > Self.longestRow {
            passed += position - start
            start = position
        }
        let more = try text.read(at: windowEnd, count: max(Self.chunk, window.count - start))
        guard !more.isEmpty else { return false }
        windowEnd += more.count
        window = start == window.count ? more : window[start...] + more
        position -= start
        start = 0
        return true
    }

    /// Moves to the next item, which begins there.
    private mutating func skipSpace() throws(RecordError) {
        passed = 0
        while true {
            while position < window.count, Self.isSpace(window[position]) {
                if window[position] == 0x0A { line += 1 }
                position += 1
            }
            start = position
            guard position == window.count, try refill() else { return }
        }
    }

    /// What was cut: from the item's start to here.
    private func piece(line: Int, isOpen: Bool = false) -> Piece {
        let count = passed + position - start
        guard count <= Self.longestRow else {
            return .fault(
                RowFault(reason: "found a row of \(count) bytes, expected at most \(Self.longestRow).", remedy: "Split the row, or leave it out."), line: line)
        }
        return .text(window[start..<position], line: line, isOpen: isOpen)
    }

    private mutating func nextLine() throws(RecordError) -> Piece? {
        try skipSpace()
        guard position < window.count else { return nil }
        repeat {
            let end = window.withUnsafeBytes { bytes -> Int? in
                guard let base = bytes.baseAddress, let end = memchr(base + position, 0x0A, bytes.count - position) else { return nil }
                return UnsafeRawPointer(end) - base
            }
            position = end ?? window.count
            if end != nil { break }
        } while try refill()
        return piece(line: line)
    }

    private mutating func nextOfArray() throws(RecordError) -> Piece? {
        if isDone {
            defer { pending = nil }
            return pending
        }
        try skipSpace()
        if position < window.count, window[position] == UInt8(ascii: "]"), isFirst {
            position += 1
            return try end()
        }
        let first = line
        let isClosed = try skipItem()
        isFirst = false
        guard isClosed else {
            isDone = true
            return passed > 0 || start < window.count ? piece(line: first, isOpen: true) : .fault(Self.openArray, line: first)
        }
        let found = piece(line: first)
        let isLast = window[position] == UInt8(ascii: "]")
        position += 1
        if isLast { pending = try end() }
        return found
    }

    private static let openArray = RowFault(
        reason: "found the end of the file, expected ',' or ']' of the array.", remedy: "The copy is incomplete: fetch it again.")

    /// Nil if nothing follows the array.
    private mutating func end() throws(RecordError) -> Piece? {
        isDone = true
        try skipSpace()
        guard position < window.count else { return nil }
        return .fault(
            RowFault(reason: "found more text after the array's end, expected none.", remedy: "Keep one array in the file, or write JSON lines."), line: line)
    }

    /// Moves to the `,` or `]` that ends the item; false at the end of the text.
    private mutating func skipItem() throws(RecordError) -> Bool {
        var (depth, isInString, isEscaped) = (0, false, false)
        repeat {
            while position < window.count {
                let byte = window[position]
                if byte == 0x0A { line += 1 }
                if isInString {
                    if isEscaped { isEscaped = false } else if byte == UInt8(ascii: "\\") { isEscaped = true } else if byte == UInt8(ascii: "\"") { isInString = false }
                } else {
                    switch byte {
                    case UInt8(ascii: "\""): isInString = true
                    case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
                    case UInt8(ascii: "]") where depth == 0, UInt8(ascii: ",") where depth == 0: return true
                    case UInt8(ascii: "}"), UInt8(ascii: "]"): depth = max(0, depth - 1)
                    default: break
                    }
                }
                position += 1
            }
        } while try refill()
        return false
    }

    /// Parses a piece of this text.
    func item(_ piece: Piece) -> Item {
        switch piece {
        case let .fault(fault, line): return Item(line: line, value: .failure(fault))
        case let .text(bytes, line, isOpen):
            let found = item(bytes, line: line)
            // Whatever is wrong inside comes first; where nothing is, the array's end is missing.
            guard isOpen, case .success = found.value else { return found }
            return Item(line: line + bytes.count { $0 == 0x0A }, value: .failure(Self.openArray))
        }
    }

    private func item(_ bytes: ArraySlice<UInt8>, line: Int) -> Item {
        do throws(JSONError) {
            return Item(line: line, value: .success(try JSON.parse(bytes, repeatedKeys: .refused)))
        } catch {
            let place = isArray ? "line \(line + error.line - 1)" : "byte \(error.byte + 1) of the line"
            let fault = RowFault(
                reason: "no valid JSON: at \(place) found \(error.found), expected \(error.expected).", remedy: "Write the row with a JSON library, as UTF-8.")
            return Item(line: line, value: .failure(fault))
        }
    }
}
