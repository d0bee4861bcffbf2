import Foundation

/// Curves over steps, or another quantity, as one SVG element.
struct SVGPlot {
    struct Series {
        var name: String
        var points: [(x: Double, y: Double)]
        /// Single values beside the curve.
        var dots: [(x: Double, y: Double)] = []
    }

    var series: [Series]
    /// What runs across.
    var axis: String
    /// Above the curves; nothing if empty.
    var title: String
    private static let left = 58.0, right = 12.0, bottom = 40.0, entry = 120.0
    private static let colors = ["#0366d6", "#d73a49", "#28a745", "#6f42c1", "#e36209", "#005cc5", "#b08800", "#22863a", "#cb2431", "#586069"]
    /// Wide enough for the legend of few curves; of many it has rows below.
    private var width: Double { series.count > 3 ? 760 : 460 }
    private var plotHeight: Double { series.count > 3 ? 420 : 260 }
    private var perRow: Int { series.count > 3 ? 3 : 4 }
    private var top: Double { title.isEmpty ? 12 : 30 }
    private var height: Double { plotHeight + Double(max(0, (series.count - 1) / perRow)) * 16 }

    init(series: [Series], axis: String = "step", title: String = "") {
        self.series = series.map { Series(name: $0.name, points: Self.thinned($0.points), dots: $0.dots) }
        (self.axis, self.title) = (axis, title)
    }

    /// A file of its own.
    var document: String {
        svg.replacing("<svg ", with: "<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"11\" ", maxReplacements: 1) + "\n"
    }

    /// At most 600 points a curve: the mean of each run of neighbours.
    private static func thinned(_ points: [(x: Double, y: Double)]) -> [(x: Double, y: Double)] {
        let size = (points.count + 599) / 600
        guard size > 1 else { return points }
        return stride(from: 0, to: points.count, by: size).map { start in
            let part = points[start..<min(points.count, start + size)]
            return (part.last?.x ?? 0, part.reduce(0) { $0 + $1.y } / Double(part.count))
        }
    }

    var svg: String {
        let all = series.flatMap { $0.points + $0.dots }
        guard !all.isEmpty else { return "" }
        let (x0, x1) = Self.range(all.map(\.x))
        let (y0, y1) = Self.range(all.map(\.y))
        func place(_ point: (x: Double, y: Double)) -> (Double, Double) {
            (
                Self.left + (point.x - x0) / (x1 - x0) * (width - Self.left - Self.right),
                plotHeight - Self.bottom - (point.y - y0) / (y1 - y0) * (plotHeight - top - Self.bottom)
            )
        }
        var parts: [String] = []
        if !title.isEmpty { parts.append("<text x=\"\(Self.left)\" y=\"16\">\(RunReport.escaped(title))</text>") }
        for i in 0...4 {
            let value = y0 + (y1 - y0) * Double(i) / 4
            let y = place((x0, value)).1
            parts.append("<line x1=\"\(Self.left)\" y1=\"\(number(y))\" x2=\"\(width - Self.right)\" y2=\"\(number(y))\" stroke=\"#e1e4e8\"/>")
            parts.append("<text x=\"\(Self.left - 6)\" y=\"\(number(y + 4))\" text-anchor=\"end\">\(Self.label(value))</text>")
        }
        for (value, anchor) in [(x0, "start"), (x1, "end")] {
            let x = place((value, y0)).0
            parts.append("<text x=\"\(number(x))\" y=\"\(plotHeight - Self.bottom + 16)\" text-anchor=\"\(anchor)\">\(RunReport.escaped(axis)) \(Self.label(value))</text>")
        }
        for (index, one) in series.enumerated() {
            let color = Self.colors[index % Self.colors.count]
            let points = one.points.map { place($0) }
            for dot in one.dots.map({ place($0) }) { parts.append("<circle cx=\"\(number(dot.0))\" cy=\"\(number(dot.1))\" r=\"1.5\" fill=\"\(color)\" fill-opacity=\"0.5\"/>") }
            if points.count == 1 {
                parts.append("<circle cx=\"\(number(points[0].0))\" cy=\"\(number(points[0].1))\" r=\"3\" fill=\"\(color)\"/>")
            } else if !points.isEmpty {
                let path = points.map { "\(number($0.0)),\(number($0.1))" }.joined(separator: " ")
                parts.append("<polyline fill=\"none\" stroke=\"\(color)\" stroke-width=\"1.5\" points=\"\(path)\"/>")
            }
            let x = Self.left + Double(index % perRow) * (series.count > 3 ? 2 : 1) * Self.entry, y = plotHeight - 14 + Double(index / perRow) * 16
            parts.append("<rect x=\"\(number(x))\" y=\"\(y)\" width=\"10\" height=\"3\" fill=\"\(color)\"/>")
            parts.append("<text x=\"\(number(x + 14))\" y=\"\(y + 6)\">\(RunReport.escaped(one.name))</text>")
        }
        return "<svg viewBox=\"0 0 \(width) \(height)\" width=\"\(width)\" height=\"\(height)\" role=\"img\">\(parts.joined())</svg>"
    }

    /// Least and greatest value, never the same.
    private static func range(_ values: [Double]) -> (Double, Double) {
        let (low, high) = (values.min() ?? 0, values.max() ?? 1)
        if high > low { return (low, high) }
        let half = max(abs(low) * 0.1, 0.5)
        return (low - half, low + half)
    }

    private func number(_ value: Double) -> String { Self.number(value) }

    /// Hundredths of a unit: as fine as a screen shows.
    static func number(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }

    /// Four digits.
    static func label(_ value: Double) -> String {
        if value == value.rounded() && abs(value) < 1e7 { return "\(Int(value))" }
        return String(format: "%.4g", value)
    }
}
