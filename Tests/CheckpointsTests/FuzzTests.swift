import Foundation
import Serialization
import Testing

@testable import Checkpoints

extension Measurements {
    /// Damages small valid files in seeded ways and opens what comes out. Whatever happens must be a value or a `CheckpointError`
    /// (typed throws leave nothing else): no crash, no hang, no memory beyond what a small file can justify.
    @Suite("Fuzzed files") struct FuzzTests {
        /// One seeded mutation; `prefix` bytes at the start stay valid when `keepsPrefix` asks for it.
        static func mutate(_ original: [UInt8], prefix: Int, keepsPrefix: Bool, _ generator: inout TestGenerator) -> [UInt8] {
            var bytes = original
            let interesting: [UInt64] = [0, 1, 7, 127, 255, 65535, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, .max]
            for _ in 0...generator.below(3) {
                // Most damage falls where the structure is, not in the weights.
                let reach = generator.below(4) == 0 ? bytes.count : min(bytes.count, 4096)
                switch generator.below(6) {
                case 0:
                    for _ in 0...generator.below(8) where !bytes.isEmpty { bytes[generator.below(reach)] ^= 1 << UInt8(generator.below(8)) }
                case 1:
                    bytes.removeLast(generator.below(bytes.count))
                case 2:
                    let width = [1, 4, 8][generator.below(3)], value = interesting[generator.below(interesting.count)] &+ UInt64(generator.below(3))
                    let start = generator.below(max(1, reach - width))
                    for i in 0..<min(width, bytes.count - start) { bytes[start + i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * i)) }
                case 3:
                    let start = generator.below(reach), count = generator.below(min(64, bytes.count - start))
                    let piece = Array(bytes[start..<(start + count)])
                    bytes.insert(contentsOf: piece, at: generator.below(reach))
                case 4:
                    let start = generator.below(reach)
                    bytes.removeSubrange(start..<min(bytes.count, start + generator.below(64)))
                default:  // a number in text: another digit, sign, exponent or bracket
                    let digits = bytes.indices.prefix(reach).filter { (0x30...0x39).contains(bytes[$0]) }
                    if !digits.isEmpty { bytes[digits[generator.below(digits.count)]] = Array("0123456789-eE.[]{}\",".utf8)[generator.below(20)] }
                }
                if bytes.isEmpty { return bytes }
            }
            if keepsPrefix && bytes.count >= prefix { bytes.replaceSubrange(0..<prefix, with: original[0..<prefix]) }
            return bytes
        }

        /// Opens and reads everything; true if all of it was good.
        static func survives(_ path: String) -> Bool {
            do throws(CheckpointError) {
                let checkpoint = try Checkpoint.open(path)
                for name in checkpoint.tensors.keys { _ = try checkpoint.floats(name) }
                return true
            } catch {
                return error.description.isEmpty
            }
        }

        static func readsTensors(_ path: String) -> Bool {
            do throws(CheckpointError) {
                let file = try SafetensorsFile(path: path)
                for name in file.names {
                    _ = try file.floats(name)
                    _ = try file.bytes(name)
                }
                return true
            } catch {
                return error.description.isEmpty
            }
        }

        /// The process's largest resident size so far, in bytes.
        static func peakMemory() -> Int {
            let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
            let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM") }
            return (line?.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) } ?? 0) * 1024
        }

        @Test("10,000 mutations of safetensors, GGUF, config.json and index.json end in a value or a typed error") func mutations() throws {
            let base = FileManager.default.isWritableFile(atPath: "/dev/shm") ? "/dev/shm" : "/tmp"
            let root = base + "/align-fuzz-\(getpid())"
            defer { Files.remove(root) }
            try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
            let model = try TinyLlama(seed: 9)
            try CheckpointWriter.save(.init(config: model.config), tensors: model.sources, dtype: .bf16, shardBytes: 20_000, to: root + "/sharded")
            try CheckpointWriter.save(.init(config: model.config), tensors: model.sources, dtype: .f16, to: root + "/single")
            let mixed = safetensors(
                header: #"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"I64","shape":[1],"data_offsets":[16,24]},"c":{"dtype":"F16","shape":[3],"data_offsets":[24,30]},"d":{"dtype":"BOOL","shape":[2],"data_offsets":[30,32]}}"#,
                data: (0..<32).map { UInt8($0) })
            func contents(_ name: String) throws -> [UInt8] { try InputFile.contents(root + "/" + name, limit: 1 << 20) }
            let subjects: [(name: String, original: [UInt8], prefix: Int, share: Int, check: (String) -> Bool)] = [
                ("mixed.safetensors", mixed, 8, 2500, Self.readsTensors),
                ("single/model.safetensors", try contents("single/model.safetensors"), 8, 1500, { _ in Self.survives(root + "/single") }),
                ("f16.gguf", model.gguf(type: .f16).bytes(), 8, 2500, Self.survives),
                ("q4.gguf", model.gguf(type: .q4_1).bytes(), 8, 1500, Self.survives),
                ("single/config.json", try contents("single/config.json"), 0, 1000, { _ in Self.survives(root + "/single") }),
                ("sharded/model.safetensors.index.json", try contents("sharded/model.safetensors.index.json"), 0, 1000, { _ in Self.survives(root + "/sharded") }),
            ]
            let rounds = ProcessInfo.processInfo.environment["ALIGN_FUZZ_ROUNDS"].flatMap { Int($0) } ?? 1  // more of them, by hand
            var generator = TestGenerator(2026), good = 0, total = 0
            try? Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/self/clear_refs"))  // the peak counts from here on
            let before = Self.peakMemory(), clock = ContinuousClock(), start = clock.now
            for (name, original, prefix, share, check) in subjects {
                let path = root + "/" + name
                for index in 0..<(rounds * share) {
                    let mutated = Self.mutate(original, prefix: prefix, keepsPrefix: index % 3 == 0, &generator)
                    try Data(mutated).write(to: URL(fileURLWithPath: path))
                    if check(path) { good += 1 }
                    total += 1
                }
                try Data(original).write(to: URL(fileURLWithPath: path))
                #expect(check(path), "\(name) itself does not open")
            }
            let growth = Self.peakMemory() - before
            #expect(total == rounds * 10_000 && before > 0 && good < total, "\(total) mutations, \(good) still good")
            #expect(growth < 512 << 20, "memory grew by \(growth >> 20) MB, 512 allowed")
            print("\(total) mutations in \(clock.now - start): \(good) harmless, \(total - good) refused; memory grew by \(growth >> 20) MB")
        }
    }
}
