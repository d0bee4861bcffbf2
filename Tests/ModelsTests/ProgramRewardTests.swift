import Foundation
import Serialization
import Testing

@testable import Models

@Suite("Program rewards") struct ProgramRewardTests {
    /// Goes away with the test.
    private final class Folder {
        let path = FileManager.default.temporaryDirectory.path + "/align-programs-\(UUID().uuidString)"
        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
        deinit { try? FileManager.default.removeItem(atPath: path) }
    }
    private let folder: Folder
    init() throws { folder = try Folder() }

    /// A shell script that is run by `sh FILE`.
    private func script(_ text: String) throws -> String {
        let file = folder.path + "/\(UUID().uuidString).sh"
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        return "sh " + file
    }

    @Test("one process answers line by line, call after call") func persistent() async throws {
        let reward = try RewardSpec("exec:" + script("n=0; while read line; do n=$((n+1)); echo \"{\\\"reward\\\": $n, \\\"components\\\": {\\\"pid\\\": $$}}\"; done")).make(RewardContext())
        let first = try await reward.scores(of: [item("a"), item("b")]), second = try await reward.scores(of: [item("c")])
        #expect(first.map(\.value) == [1, 2] && second.map(\.value) == [3])
        #expect(first[0].components == second[0].components, "\(first) \(second)")
    }

    @Test("it is told what is known") func told() async throws {
        var row = item("done", reference: "ref", tokens: [4, 2], finish: .length)
        row.columns["level"] = 3
        let file = folder.path + "/told"
        #expect(try await score("exec:" + script("read line; printf '%s' \"$line\" > \(file); echo 0.25; cat > /dev/null"), row) == 0.25)
        let told = try JSON.parse([UInt8](try Data(contentsOf: URL(fileURLWithPath: file))))
        #expect(told == ["id": 0, "prompt": "q", "completion": "done", "tokens": [4, 2], "finish_reason": "length", "reference": "ref", "level": 3], "\(told.text())")
    }

    @Test("one that ends, is silent or talks nonsense is named with its last words; scores before are kept", arguments: [
        ("read l; echo 1; read l; echo 'out of cheese' >&2; exit 3", "status 3; its last words: out of cheese"), ("read l; echo 1; read l; kill -9 $$", "signal 9"),
        ("read l; echo 1; read l; echo maybe", "found \"maybe\""), ("read l; echo 1; read l; echo '{\"score\": \"high\"}'", "expected {\"reward\": NUMBER}"),
        ("read l; echo 1; read l; echo '{\"id\": 7, \"reward\": 1}'", "id 7"), ("read l; echo 1; read l; echo '{\"error\": \"no such level\"}'", "no such level"),
        ("read l; echo 1; read l; exec sleep 100", "no answer within 5.0 seconds"), ("read l; echo 1; exec 0<&-; sleep 0.05; exit 4", "status 4"),
    ])
    func faults(text: String, expected: String) async throws {
        let command = try script(text)
        do {
            _ = try await RewardSpec("exec:\(command),timeout=\(text.contains("sleep 100") ? 5 : 60)").make(RewardContext()).scores(of: [item("a"), item("b")])
            Issue.record("no error")
        } catch let failure as RewardFailure {
            #expect(failure.done.map(\.value) == [1], "\(failure.done)")
            #expect("\(failure)".contains(expected) && "\(failure)".contains("completion 2"), "\(failure)")
        }
    }

    @Test("a program that is not there") func absent() async throws {
        await #expect { _ = try await score("exec:/nowhere/scorer", item("a")) } throws: { "\($0)".contains("status 127") }
    }

    @Test("large texts pass while the program writes too") func large() async throws {
        let text = String(repeating: "x", count: 300_000)
        let value = try await score("exec:" + script("while read -r line; do echo noise >&2; echo ${#line}; done"), item(text))
        #expect(value > 300_000, "\(value)")
    }
}
