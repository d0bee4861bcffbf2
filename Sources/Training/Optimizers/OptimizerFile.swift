import Foundation
import Models
import Serialization
import Tensors

/// AdamW's moments on disk: a safetensors file with `exp_avg.NAME` and `exp_avg_sq.NAME` (fp32) of every parameter.
enum OptimizerFile {
    static func save(_ optimizer: AdamW, to path: String) throws(RunError) {
        var header = JSONObject()
        var offset = 0
        for (prefix, _) in moments(of: optimizer) {
            for parameter in optimizer.parameters {
                header[prefix + parameter.name] = [
                    "dtype": "F32", "shape": .array(parameter.shape.map { .integer($0) }),
                    "data_offsets": [.integer(offset), .integer(offset + 4 * parameter.count)],
                ]
                offset += 4 * parameter.count
            }
        }
        var text = Array(JSON.object(header).text().utf8)
        while text.count % 8 != 0 { text.append(UInt8(ascii: " ")) }
        let file = try DurableFile(creating: path)
        try file.write(withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text)
        for (_, moment) in moments(of: optimizer) {
            for parameter in optimizer.parameters {
                try file.write(UnsafeRawBufferPointer(start: moment.base + parameter.offset, count: 4 * parameter.count))
            }
        }
        try file.sync()
        file.close()
    }

    /// Fills the moments of `optimizer`, whose parameters must be those that were saved.
    static func load(into optimizer: AdamW, from path: String) throws(RunError) {
        guard let file = FileHandle(forReadingAtPath: path) else { throw .io(path: path, operation: "open it", reason: "no such file") }
        defer { try? file.close() }
        let descriptor = file.fileDescriptor
        var length: UInt64 = 0
        try withUnsafeMutableBytes(of: &length) { buffer in readFully(descriptor, buffer, at: 0) }.orThrow(path)
        // A header names each parameter twice; 100 MB hold more than any model has.
        guard length > 0, length <= 100 << 20 else {
            throw .damaged(file: path, field: "header length", found: "\(length)", expected: "1 to \(100 << 20) bytes")
        }
        var text = [UInt8](repeating: 0, count: Int(length))
        try text.withUnsafeMutableBytes { buffer in readFully(descriptor, buffer, at: 8) }.orThrow(path)
        guard let header = try? JSON.parse(text) else {
            throw .damaged(file: path, field: "header", found: "no JSON", expected: "a safetensors header")
        }
        for (prefix, moment) in moments(of: optimizer) {
            for parameter in optimizer.parameters {
                let entry = header[prefix + parameter.name]
                let shape = (entry?["shape"]?.array ?? []).compactMap(\.int)
                guard let offsets = entry?["data_offsets"]?.array?.compactMap(\.int), offsets.count == 2, offsets[0] >= 0,
                    shape == parameter.shape, entry?["dtype"]?.string == "F32", offsets[1] - offsets[0] == 4 * parameter.count
                else {
                    throw .damaged(
                        file: path, field: prefix + parameter.name, found: entry?.text() ?? "nothing", expected: "F32 of shape \(parameter.shape)")
                }
                let target = UnsafeMutableRawBufferPointer(start: moment.base + parameter.offset, count: 4 * parameter.count)
                try readFully(descriptor, target, at: 8 + Int(length) + offsets[0]).orThrow(path)
            }
        }
    }

    private static func moments(of optimizer: AdamW) -> [(String, FloatBuffer)] {
        [("exp_avg.", optimizer.firstMoment), ("exp_avg_sq.", optimizer.secondMoment)]
    }

    /// Whether the whole of `target` could be read from `offset`; the error has the count that was missing.
    private static func readFully(_ descriptor: Int32, _ target: UnsafeMutableRawBufferPointer, at offset: Int) -> Result<Void, Shortage> {
        var done = 0
        while done < target.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: target[done...])
            let count = pread(descriptor, rest.baseAddress, min(rest.count, 1 << 26), off_t(offset + done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return .failure(Shortage(offset: offset + done, missing: target.count - done)) }
            done += count
        }
        return .success(())
    }

    struct Shortage: Error { var offset: Int, missing: Int }
}

extension Result where Success == Void, Failure == OptimizerFile.Shortage {
    func orThrow(_ path: String) throws(RunError) {
        if case let .failure(shortage) = self {
            throw .damaged(file: path, field: "byte \(shortage.offset)", found: "the end", expected: "\(shortage.missing) bytes more")
        }
    }
}
