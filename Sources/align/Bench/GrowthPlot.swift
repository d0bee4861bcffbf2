import Foundation

/// Tokens per second against each axis of growth, one panel an axis: the axis grows by factors, tokens begin at 0.
struct GrowthPlot {
    struct Panel {
        var title: String
        var points: [(x: Double, y: Double)]
    }

    var panels: [Panel]
    private static let (width, height) = (380.0, 240.0)
    private static let (left, right, top, bottom) = (62.0, 16.0, 30.0, 40.0)

    var svg: String {
        let drawn = panels.filter { !$0.points.isEmpty }
        let rows = max(1, (drawn.count + 1) / 2)
        let parts = drawn.enumerated().map { index, panel in
            "<g transform=\"translate(\(Self.number(Double(index % 2) * Self.width)) \(Self.number(Double(index / 2) * Self.height)))\">\(Self.draw(panel))</g>"
        }
        let (w, h) = (Self.number(2 * Self.width), Self.number(Double(rows) * Self.height))
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(w) \(h)" width="\(w)" height="\(h)" font-family="sans-serif" font-size="11">
            <rect width="100%" height="100%" fill="#ffffff"/>
            \(parts.joined(separator: "\n"))
            </svg>

            """
    }

    private static func draw(_ panel: Panel) -> String {
        let points = panel.points.sorted { $0.x < $1.x }
        let (low, high) = (log(points[0].x), log(points[points.count - 1].x))
        let most = max(points.map(\.y).max() ?? 1, 1e-9) * 1.05
        func place(_ point: (x: Double, y: Double)) -> (Double, Double) {
            let across = high > low ? (log(point.x) - low) / (high - low) : 0.5
            return (left + across * (width - left - right), height - bottom - point.y / most * (height - top - bottom))
        }
        var parts = ["<text x=\"\(number(width / 2))\" y=\"16\" text-anchor=\"middle\" font-weight=\"bold\">tokens/s by \(panel.title)</text>"]
        for i in 0...4 {
            let value = most * Double(i) / 4
            let y = place((points[0].x, value)).1
            parts.append("<line x1=\"\(number(left))\" y1=\"\(number(y))\" x2=\"\(number(width - right))\" y2=\"\(number(y))\" stroke=\"#e1e4e8\"/>")
            parts.append("<text x=\"\(number(left - 6))\" y=\"\(number(y + 4))\" text-anchor=\"end\">\(label(value))</text>")
        }
        let places = points.map(place)
        parts.append(
            "<polyline fill=\"none\" stroke=\"#0366d6\" stroke-width=\"1.5\" points=\"\(places.map { "\(number($0.0)),\(number($0.1))" }.joined(separator: " "))\"/>")
        for (point, at) in zip(points, places) {
            parts.append("<circle cx=\"\(number(at.0))\" cy=\"\(number(at.1))\" r=\"3\" fill=\"#0366d6\"/>")
            parts.append("<text x=\"\(number(at.0))\" y=\"\(number(height - bottom + 16))\" text-anchor=\"middle\">\(label(point.x))</text>")
        }
        return parts.joined()
    }

    private static func number(_ value: Double) -> String { formatted(value, "%.1f") }
    private static func label(_ value: Double) -> String {
        value >= 1e6 ? formatted(value / 1e6, "%.0f M") : value >= 10_000 ? formatted(value / 1000, "%.0f k") : formatted(value, "%.0f")
    }
}
