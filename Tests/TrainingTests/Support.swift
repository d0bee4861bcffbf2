import Foundation
import Models
import Serialization
import Testing

extension Tag {
    @Tag static var gradient: Self
    @Tag static var golden: Self
}

/// |a − b| over the larger of 1e-300 and both magnitudes.
func relativeError(_ a: Double, _ b: Double) -> Double { abs(a - b) / max(abs(a), abs(b), 1e-300) }

/// The five-point central difference, whose error is O(h⁴).
func numericalDerivative(at x: Double, step h: Double = 1e-3, _ f: (Double) -> Double) -> Double {
    (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)
}

/// A golden file of the shared folder, or nil, with a note, where there is none.
func sharedGolden(_ path: String, file: String = #filePath) throws -> JSON? {
    let root = URL(fileURLWithPath: file).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let shared = ProcessInfo.processInfo.environment["ALIGN_SHARED"] ?? root.deletingLastPathComponent().appendingPathComponent("shared").path
    guard let data = FileManager.default.contents(atPath: shared + "/fixtures/" + path) else {
        print("skipped: \(shared)/fixtures/\(path) is missing (set ALIGN_SHARED)")
        return nil
    }
    return try JSON.parse([UInt8](data))
}

extension JSON {
    var doubles: [Double] { (array ?? []).compactMap(\.double) }
    var rows: [[Double]] { (array ?? []).map(\.doubles) }
}
