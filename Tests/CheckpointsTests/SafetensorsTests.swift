import Foundation
import Testing

@testable import Checkpoints

@Suite("SafetensorsFile") struct SafetensorsTests {
    let folder = TemporaryFolder()

    func open(_ header: String, data: [UInt8] = []) throws(CheckpointError) -> SafetensorsFile {
        try SafetensorsFile(path: folder.write("file.safetensors", safetensors(header: header, data: data)))
    }

    @Test("every type reads as floats, integers as integers, and all as bytes") func types() throws {
        let cases: [(String, [UInt8], [Float])] = [
            ("F64", little(1.5.bitPattern) + little((-0.1).bitPattern), [1.5, -0.1]), ("F32", bytes(of: [3.25, -0x1p-140]), [3.25, -0x1p-140]),
            ("F16", little(UInt16(0x3E00)) + little(UInt16(0x8001)), [1.5, -0x1p-24]), ("BF16", little(UInt16(0x3FC0)) + little(UInt16(0xFF80)), [1.5, -.infinity]),
            ("I64", little(Int64(-7)) + little(Int64(1 << 40)), [-7, 1_099_511_627_776]), ("I32", little(Int32(-7)) + little(Int32(9)), [-7, 9]),
            ("I16", little(Int16(-7)) + little(Int16(9)), [-7, 9]), ("I8", [0xF9, 9], [-7, 9]), ("U8", [200, 9], [200, 9]), ("BOOL", [1, 0], [1, 0]),
        ]
        for (type, data, expected) in cases {
            let file = try open("{\"__metadata__\":{\"format\":\"pt\"},\"t\":{\"dtype\":\"\(type)\",\"shape\":[2,1],\"data_offsets\":[0,\(data.count)]}}", data: data)
            let floats = try file.floats("t")
            #expect(floats == expected, "\(type): \(floats), expected \(expected)")
            #expect(try file.bytes("t") == data)
            #expect(file.info("t") == TensorInfo(name: "t", shape: [2, 1], dtype: type) && file.metadata == ["format": "pt"])
            if ["F64", "F32", "F16", "BF16"].contains(type) {
                guard case .unsupported = fault({ () throws(CheckpointError) in _ = try file.integers("t") }) else {
                    Issue.record("\(type) read as integers")
                    continue
                }
            } else {
                #expect(try file.integers("t") == expected.map { Int64($0) })
            }
        }
    }

    @Test("empty and scalar tensors, and no tensors at all") func small() throws {
        let file = try open(#"{"e":{"dtype":"F32","shape":[0,5],"data_offsets":[4,4]},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#, data: bytes(of: [2]))
        #expect(try file.floats("s") == [2])
        #expect(try file.floats("e") == [])
        #expect(try open("{}  ").names.isEmpty)
    }

    @Test("a header that lies is refused", arguments: [
        #"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,  // too few bytes
        #"{"t":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807],"data_offsets":[0,8]}}"#,
        #"{"t":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}"#,  // ·4 overflows to 0
        #"{"t":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, #"{"t":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#,
        #"{"t":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}"#, #"{"t":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}"#,
        #"{"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, #"{"t":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#,
        #"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8,16]}}"#, #"{"t":{"dtype":"F32","shape":[2]}}"#, #"{"t":{"shape":[2],"data_offsets":[0,8]}}"#,
        #"{"t":7}"#, #"[]"#, #"{"__metadata__":{"a":1}}"#, #"{"__metadata__":[]}"#,
        #"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"u":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,  // overlap
        #"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,  // twice
    ])
    func malformed(header: String) {
        guard case .malformed = fault({ () throws(CheckpointError) in _ = try open(header, data: bytes(of: [1, 2])) }) else {
            Issue.record("not malformed: \(header)")
            return
        }
    }

    @Test("a name given twice is named, also when one spelling is escaped") func duplicate() {
        let entry = #"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#
        let error = fault { () throws(CheckpointError) in _ = try open("{\"a:b\":\(entry),\"x\":\(entry),\"x\":\(entry)}", data: bytes(of: [1])) }
        #expect(error == .malformed(file: folder("file.safetensors"), field: "the header", offset: 8, found: "'x' twice", expected: "every name once"))
        guard case .malformed = fault({ () throws(CheckpointError) in _ = try open("{\"x\":\(entry),\"\\u0078\":\(entry)}", data: bytes(of: [1])) }) else {
            Issue.record("an escaped duplicate passed")
            return
        }
    }

    @Test("files cut short, too long a header, other types, broken JSON, deep nesting") func damaged() throws {
        let whole = safetensors(header: #"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, data: bytes(of: [1, 2]))
        for length in 0..<whole.count {
            let path = folder.write("cut.safetensors", Array(whole[..<length]))
            guard case let .truncated(_, _, _, needed, available) = fault({ () throws(CheckpointError) in _ = try SafetensorsFile(path: path) }) else {
                Issue.record("\(length) bytes of \(whole.count) passed")
                continue
            }
            #expect(needed > available, "\(needed) needed, \(available) available")
        }
        let long = folder.write("long.safetensors", little(UInt64.max) + [0])
        guard case .malformed = fault({ () throws(CheckpointError) in _ = try SafetensorsFile(path: long) }) else { Issue.record("length"); return }
        guard case .unsupported = fault({ () throws(CheckpointError) in _ = try open(#"{"t":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#, data: [0]) }) else { Issue.record("F8"); return }
        guard case .invalidJSON = fault({ () throws(CheckpointError) in _ = try open("{\"t\"") }) else { Issue.record("JSON"); return }
        guard case .invalidJSON = fault({ () throws(CheckpointError) in _ = try open(String(repeating: "[", count: 100_000)) }) else { Issue.record("depth"); return }
        guard case .missingTensor = fault({ () throws(CheckpointError) in _ = try open("{}").floats("t") }) else { Issue.record("missing"); return }
    }

    @Test("a file that is gone, a folder, a pipe") func notAFile() {
        guard case .system(_, "open", ENOENT) = fault({ () throws(CheckpointError) in _ = try SafetensorsFile(path: folder("none")) }) else { Issue.record("missing file"); return }
        mkfifo(folder("pipe"), 0o600)
        for path in [folder.path, folder("pipe")] {
            guard case .notACheckpoint = fault({ () throws(CheckpointError) in _ = try SafetensorsFile(path: path) }) else { Issue.record(Comment(rawValue: path)); continue }
        }
    }

    @Test("a file cut or changed after it was opened gives an error, no signal") func changed() throws {
        let count = 100_000
        let file = try open("{\"t\":{\"dtype\":\"F16\",\"shape\":[\(count)],\"data_offsets\":[0,\(2 * count)]}}", data: [UInt8](repeating: 0, count: 2 * count))
        truncate(file.path, 1000)
        #expect(fault { () throws(CheckpointError) in _ = try file.floats("t") } == .changed(file: file.path))
        #expect(fault { () throws(CheckpointError) in _ = try file.bytes("t") } == .changed(file: file.path))
        // The same below the check: a read past the end is a short read.
        guard case .truncated = fault({ () throws(CheckpointError) in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 100, alignment: 1)
            defer { buffer.deallocate() }
            try file.file.read(into: buffer, at: 950, field: "x")
        }) else { Issue.record("short read"); return }
    }
}
