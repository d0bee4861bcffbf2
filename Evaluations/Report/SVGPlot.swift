import Foundation

/// Curves over steps as one SVG element.
struct SVGPlot {
    struct Series {
        var name: String
        var points: [(x: Double, y: Double)]
    }

    var series: [Series]
    /// What x is.
    var axis = "step"
    private static let (width, height) = (460.0, 260.0)
    private static let (left, right, top, bottom) = (58.0, 12.0, 12.0, 40.0)
    private static let colors = ["#0366d6", "#d73a49", "#28a745"]

    init(series: [Series], axis: String = "step") {
        self.series = series.map { Series(name: $0.name, points: Self.thinned($0.points)) }
        self.axis = axis
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
        let all = series.flatMap(\.points)
        guard !all.isEmpty else { return "" }
        let (x0, x1) = Self.range(all.map(\.x))
        let (y0, y1) = Self.range(all.map(\.y))
        func place(_ point: (x: Double, y: Double)) -> (Double, Double) {
            (
                Self.left + (point.x - x0) / (x1 - x0) * (Self.width - Self.left - Self.right),
                Self.height - Self.bottom - (point.y - y0) / (y1 - y0) * (Self.height - Self.top - Self.bottom)
            )
        }
        var parts: [String] = []
        for i in 0...4 {
            let value = y0 + (y1 - y0) * Double(i) / 4
            let y = place((x0, value)).1
            parts.append("<line x1=\"\(Self.left)\" y1=\"\(number(y))\" x2=\"\(Self.width - Self.right)\" y2=\"\(number(y))\" stroke=\"#e1e4e8\"/>")
            parts.append("<text x=\"\(Self.left - 6)\" y=\"\(number(y + 4))\" text-anchor=\"end\">\(Self.label(value))</text>")
        }
        for (value, anchor) in [(x0, "start"), (x1, "end")] {
            let x = place((value, y0)).0
            parts.append("<text x=\"\(number(x))\" y=\"\(Self.height - Self.bottom + 16)\" text-anchor=\"\(anchor)\">\(RunReport.escaped(axis)) \(Self.label(value))</text>")
        }
        for (index, one) in series.enumerated() {
            let color = Self.colors[index % Self.colors.count]
            let points = one.points.map { place($0) }
            if points.count == 1 {
                parts.append("<circle cx=\"\(number(points[0].0))\" cy=\"\(number(points[0].1))\" r=\"3\" fill=\"\(color)\"/>")
            } else {
                let path = points.map { "\(number($0.0)),\(number($0.1))" }.joined(separator: " ")
                parts.append("<polyline fill=\"none\" stroke=\"\(color)\" stroke-width=\"1.5\" points=\"\(path)\"/>")
            }
            let x = Self.left + Double(index) * 120
            parts.append("<rect x=\"\(number(x))\" y=\"\(Self.height - 14)\" width=\"10\" height=\"3\" fill=\"\(color)\"/>")
            parts.append("<text x=\"\(number(x + 14))\" y=\"\(Self.height - 8)\">\(RunReport.escaped(one.name))</text>")
        }
        return "<svg viewBox=\"0 0 \(Self.width) \(Self.height)\" width=\"\(Self.width)\" height=\"\(Self.height)\" role=\"img\">\(parts.joined())</svg>"
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
