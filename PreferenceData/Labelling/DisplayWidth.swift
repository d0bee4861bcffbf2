/// How many columns of a terminal text takes.
public enum DisplayWidth {
    /// 0 for marks that combine with what is before them, 2 for wide East Asian characters and emoji, else 1.
    public static func of(_ character: Character) -> Int {
        var width = 0
        for scalar in character.unicodeScalars {
            // An emoji selector makes the character before it wide.
            if scalar.value == 0xFE0F { return 2 }
            width = max(width, of(scalar))
        }
        return width
    }

    public static func of(_ text: some StringProtocol) -> Int { text.reduce(0) { $0 + of($1) } }

    private static func of(_ scalar: Unicode.Scalar) -> Int {
        if scalar.value < 0x300 { return 1 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return 0
        default: break
        }
        // Vowels and finals of Hangul join their initial.
        if (0x1160...0x11FF).contains(scalar.value) { return 0 }
        if scalar.properties.isEmojiPresentation { return 2 }
        return wide.contains { $0.contains(scalar.value) } ? 2 : 1
    }

    /// Blocks whose characters are East Asian wide or fullwidth (Unicode Standard Annex 11).
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xA000...0xA4CF, 0xA960...0xA97F, 0xAC00...0xD7A3,
        0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x16FE0...0x18AFF, 0x1B000...0x1B2FF, 0x1F1E6...0x1F1FF,
        0x1F300...0x1F64F, 0x1F900...0x1F9FF, 0x20000...0x2FFFD, 0x30000...0x3FFFD,
    ]
}

/// Text of others, made fit for a terminal: nothing in it moves the cursor, changes colours or the direction of reading.
public enum HarmlessText {
    /// Lines without control characters: those are shown by pictures (␛), invisible and turning ones by their number ‹U+202E›.
    public static func lines(_ text: String) -> [String] {
        var lines = [""]
        var previous: Unicode.Scalar?
        for scalar in text.unicodeScalars {
            defer { previous = scalar }
            switch scalar.value {
            case 0x0A:
                if previous == "\r" { lines[lines.count - 1].removeLast() }  // the ␍ of a line's end
                lines.append("")
            case 0x09: lines[lines.count - 1] += String(repeating: " ", count: 4 - DisplayWidth.of(lines[lines.count - 1]) % 4)
            case 0x00...0x1F: lines[lines.count - 1].unicodeScalars.append(picture(0x2400 + scalar.value))
            case 0x7F: lines[lines.count - 1].unicodeScalars.append(picture(0x2421))
            case 0x80...0x9F, 0x200B, 0x200E, 0x200F, 0x2028...0x202E, 0x2060...0x2069, 0xFEFF, 0xFFF9...0xFFFB, 0xE0000...0xE0FFF:
                lines[lines.count - 1] += "‹U+" + String(scalar.value, radix: 16, uppercase: true) + "›"
            default: lines[lines.count - 1].unicodeScalars.append(scalar)
            }
        }
        return lines
    }

    private static func picture(_ value: UInt32) -> Unicode.Scalar { Unicode.Scalar(value) ?? "?" }

    /// One line, for titles and notes.
    public static func line(_ text: String) -> String { lines(text).joined(separator: "␤") }
}

/// Lines that fit a width.
public enum TextLayout {
    /// Breaks at spaces, and inside words that are longer than a line. Every line of the text begins a new one; leading spaces stay.
    public static func wrap(_ text: String, width: Int) -> [String] {
        HarmlessText.lines(text).flatMap { wrapLine($0, width: max(2, width)) }
    }

    private static func wrapLine(_ line: String, width: Int) -> [String] {
        var result: [String] = [], current = "", used = 0
        // Where the line could end, and what it would be then.
        var breakpoint: (line: String, rest: String, restWidth: Int)?
        for character in line {
            let needed = DisplayWidth.of(character)
            if used + needed > width {
                if character == " " {
                    // The space itself is the break.
                    result.append(current)
                    (current, used, breakpoint) = ("", 0, nil)
                    continue
                }
                if let point = breakpoint, !point.line.allSatisfy({ $0 == " " }) {
                    result.append(point.line)
                    (current, used) = (point.rest, point.restWidth)
                } else {
                    result.append(current)
                    (current, used) = ("", 0)
                }
                breakpoint = nil
            }
            if character == " ", !current.isEmpty { breakpoint = (current, "", 0) } else if breakpoint != nil {
                breakpoint?.rest.append(character)
                breakpoint?.restWidth += needed
            }
            current.append(character)
            used += needed
        }
        result.append(current)
        return result
    }

    /// Cut or filled with spaces to exactly `width` columns.
    public static func fitted(_ text: String, width: Int) -> String {
        var result = "", used = 0
        let total = DisplayWidth.of(text)
        for character in text {
            let needed = DisplayWidth.of(character)
            let limit = total > width ? width - 1 : width
            if used + needed > limit {
                if used < width {
                    result.append("…")
                    used += 1
                }
                break
            }
            result.append(character)
            used += needed
        }
        return result + String(repeating: " ", count: max(0, width - used))
    }
}
