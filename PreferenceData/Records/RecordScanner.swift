import Foundation
import Serialization

/// Cuts JSON lines, or one JSON array, into items without building the whole value: an item that is wrong costs that item.
struct RecordScanner {
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    private let isArray: Bool
    private var isFirst = true
    private var isDone = false
    /// A fault after the array's end, told once the last item is out.
    private var pending: Piece?

    /// Longer rows are refused unread: a value takes many times the memory of its text.
    static let longestRow = 32 << 20

    /// An item before it is parsed, so that many can be parsed at once.
    enum Piece {
        case text(Range<Int>, line: Int, isOpen: Bool = false)
        case fault(RowFault, line: Int)
    }

    /// An item's first line (from 1) and its value, or what is wrong with it.
    struct Item {
        var line: Int
        var value: Result<JSON, RowFault>
    }

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
        var start = position
        while start < bytes.count, Self.isSpace(bytes[start]) { start += 1 }
        isArray = start < bytes.count && bytes[start] == UInt8(ascii: "[")
        if isArray {
            skipSpace()
            position += 1
        }
    }

    mutating func next() -> Item? { nextPiece().map(item) }

    mutating func nextPiece() -> Piece? { isArray ? nextOfArray() : nextLine() }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D || byte == 0x0A }

    private mutating func skipSpace() {
        while position < bytes.count, Self.isSpace(bytes[position]) {
            if bytes[position] == 0x0A { line += 1 }
            position += 1
        }
    }

    private mutating func nextLine() -> Piece? {
        skipSpace()
        guard position < bytes.count else { return nil }
        let start = position
        position = bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, let end = memchr(base + start, 0x0A, bytes.count - start) else { return bytes.count }
            return UnsafeRawPointer(end) - base
        }
        return .text(start..<position, line: line)
    }

    private mutating func nextOfArray() -> Piece? {
        if isDone {
            defer { pending = nil }
            return pending
        }
        skipSpace()
        if position < bytes.count, bytes[position] == UInt8(ascii: "]"), isFirst {
            position += 1
            return end()
        }
        let start = position
        let first = line
        let isClosed = skipItem()
        isFirst = false
        guard isClosed else {
            isDone = true
            return start < bytes.count ? .text(start..<bytes.count, line: first, isOpen: true) : .fault(Self.openArray, line: first)
        }
        let found = Piece.text(start..<position, line: first)
        if bytes[position] == UInt8(ascii: "]") {
            position += 1
            pending = end()
        } else {
            position += 1
        }
        return found
    }

    private static let openArray = RowFault(
        reason: "found the end of the file, expected ',' or ']' of the array.", remedy: "The copy is incomplete: fetch it again.")

    /// Nil if nothing follows the array.
    private mutating func end() -> Piece? {
        isDone = true
        skipSpace()
        guard position < bytes.count else { return nil }
        return .fault(
            RowFault(reason: "found more text after the array's end, expected none.", remedy: "Keep one array in the file, or write JSON lines."), line: line)
    }

    /// Moves to the `,` or `]` that ends the item; false at the end of the bytes.
    private mutating func skipItem() -> Bool {
        var depth = 0
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\""): skipString()
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "]") where depth == 0, UInt8(ascii: ",") where depth == 0: return true
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth = max(0, depth - 1)
            case 0x0A: line += 1
            default: break
            }
            position += 1
        }
        return false
    }

    /// Moves from the opening to the closing quote, or to the end.
    private mutating func skipString() {
        position += 1
        while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
            if bytes[position] == UInt8(ascii: "\\") { position += 1 }
            if position < bytes.count, bytes[position] == 0x0A { line += 1 }
            position += 1
        }
        position = min(position, bytes.count - 1)
    }

    /// Parses a piece of this text.
    func item(_ piece: Piece) -> Item {
        switch piece {
        case let .fault(fault, line): return Item(line: line, value: .failure(fault))
        case let .text(range, line, isOpen):
            let found = item(range, line: line)
            // Whatever is wrong inside comes first; where nothing is, the array's end is missing.
            guard isOpen, case .success = found.value else { return found }
            let inside = bytes[range].count { $0 == 0x0A }
            return Item(line: line + inside, value: .failure(Self.openArray))
        }
    }

    private func item(_ range: Range<Int>, line: Int) -> Item {
        guard range.count <= Self.longestRow else {
            let fault = RowFault(
                reason: "found a row of \(range.count) bytes, expected at most \(Self.longestRow).", remedy: "Split the row, or leave it out.")
            return Item(line: line, value: .failure(fault))
        }
        do throws(JSONError) {
            return Item(line: line, value: .success(try JSON.parse(bytes[range], repeatedKeys: .refused)))
        } catch {
            let place = isArray ? "line \(line + error.line - 1)" : "byte \(error.byte + 1) of the line"
            let fault = RowFault(
                reason: "no valid JSON: at \(place) found \(error.found), expected \(error.expected).", remedy: "Write the row with a JSON library, as UTF-8.")
            return Item(line: line, value: .failure(fault))
        }
    }
}
