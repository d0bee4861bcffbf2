import Foundation

/// A number in a C format such as `%.4f`.
func formatted(_ value: Double, _ format: String) -> String { String(format: format, value) }

/// `98.4 MB`; decimal units.
func byteCount(_ bytes: Int) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"]
    var (value, unit) = (Double(bytes), 0)
    while value >= 1000 && unit < units.count - 1 { (value, unit) = (value / 1000, unit + 1) }
    return unit == 0 ? "\(bytes) bytes" : formatted(value, value < 10 ? "%.2f " : "%.1f ") + units[unit]
}

/// `134,515,008`
func grouped(_ value: Int) -> String {
    var text = ""
    for (i, digit) in String(abs(value)).reversed().enumerated() {
        if i > 0 && i % 3 == 0 { text.append(",") }
        text.append(digit)
    }
    return (value < 0 ? "-" : "") + String(text.reversed())
}

/// `12m04s`, `2h05m`
func duration(_ seconds: Double) -> String {
    let whole = seconds.isFinite ? Int(min(max(seconds, 0), 1e9)) : 0
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return whole >= 3600 ? "\(whole / 3600)h\(two(whole / 60 % 60))m" : "\(whole / 60)m\(two(whole % 60))s"
}
