import Models

/// Accuracy against confidence, bin by bin, with the diagonal of perfect calibration: one SVG element.
public struct ReliabilityPlot: Sendable {
    /// Confidence in [½, 1], accuracy in [0, 1], and the share of pairs (nil: not known).
    public var points: [(confidence: Double, accuracy: Double, share: Double?)]

    public init(points: [(confidence: Double, accuracy: Double, share: Double?)]) { self.points = points }

    public init(_ calibration: Calibration) {
        let n = calibration.bins.reduce(0) { $0 + $1.count }
        points = calibration.bins.filter { $0.count > 0 }.map { ($0.meanConfidence, $0.accuracy, $0.count / n) }
    }

    public var svg: String {
        let (width, height, left, bottom, top, right) = (320.0, 260.0, 44.0, 40.0, 12.0, 12.0)
        func x(_ value: Double) -> String { SVGPlot.number(left + (value - 0.5) * 2 * (width - left - right)) }
        func y(_ value: Double) -> String { SVGPlot.number(height - bottom - value * (height - top - bottom)) }
        var parts: [String] = []
        for i in 0...4 {
            let value = Double(i) / 4
            parts.append("<line x1=\"\(x(0.5))\" y1=\"\(y(value))\" x2=\"\(x(1))\" y2=\"\(y(value))\" stroke=\"#e1e4e8\"/>")
            parts.append("<text x=\"\(SVGPlot.number(left - 6))\" y=\"\(y(value))\" text-anchor=\"end\">\(SVGPlot.label(value))</text>")
        }
        for (value, anchor) in [(0.5, "start"), (0.75, "middle"), (1.0, "end")] {
            parts.append("<text x=\"\(x(value))\" y=\"\(SVGPlot.number(height - bottom + 16))\" text-anchor=\"\(anchor)\">\(SVGPlot.label(value))</text>")
        }
        parts.append("<text x=\"\(x(0.75))\" y=\"\(SVGPlot.number(height - 6))\" text-anchor=\"middle\">confidence σ(|Δ|)</text>")
        parts.append("<line x1=\"\(x(0.5))\" y1=\"\(y(0.5))\" x2=\"\(x(1))\" y2=\"\(y(1))\" stroke=\"#6a737d\" stroke-dasharray=\"4 3\"/>")
        parts.append("<polyline fill=\"none\" stroke=\"#0366d6\" points=\"\(points.map { "\(x($0.confidence)),\(y($0.accuracy))" }.joined(separator: " "))\"/>")
        for point in points {
            let radius = SVGPlot.number(point.share.map { 2 + 8 * $0.squareRoot() } ?? 3)
            parts.append("<circle cx=\"\(x(point.confidence))\" cy=\"\(y(point.accuracy))\" r=\"\(radius)\" fill=\"#0366d6\" fill-opacity=\"0.6\"/>")
        }
        return "<svg viewBox=\"0 0 \(width) \(height)\" width=\"\(width)\" height=\"\(height)\" role=\"img\">\(parts.joined())</svg>"
    }
}
