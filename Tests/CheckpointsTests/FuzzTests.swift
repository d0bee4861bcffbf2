import Foundation
import Serialization
import Testing
import Tokenizers

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

        /// One seeded mutation of a whole file. Of every third the structure's front stays good, so that damage gets past the first check:
        /// a safetensors header is changed and the length before it made to fit, a GGUF file keeps its magic, version and counts, JSON keeps
        /// its first half.
        static func mutate(_ original: [UInt8], name: String, keepsFront: Bool, _ generator: inout TestGenerator) -> [UInt8] {
            guard keepsFront else { return mutate(original, prefix: 0, keepsPrefix: false, &generator) }
            if name.hasSuffix(".safetensors") {
                let end = 8 + original[0..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
                let header = mutate(Array(original[8..<end]), prefix: 0, keepsPrefix: false, &generator)
                return little(UInt64(header.count)) + header + original[end...]
            }
            let prefix = name.hasSuffix(".gguf") ? 24 : min(original.count / 2, 2000)
            return mutate(original, prefix: prefix, keepsPrefix: true, &generator)
        }

        /// Opens and reads everything, and makes tokenizer and template work; true if all of it was good.
        static func survives(_ path: String) -> Bool {
            do throws(CheckpointError) {
                let checkpoint = try Checkpoint.open(path)
                for name in checkpoint.tensors.keys { _ = try checkpoint.floats(name) }
                if let tokenizer = checkpoint.tokenizer { _ = tokenizer.decode(tokenizer.encode("abc ab<s> \u{1F642}", addSpecialTokens: true)) }
                if let template = checkpoint.chatTemplate {
                    do throws(TemplateError) {
                        _ = try template.render(messages: [["role": "user", "content": "a"]], addGenerationPrompt: true)
                    } catch { return error.description.isEmpty }
                }
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

        /// Each a file to damage and how it is opened, with a share of 10,000.
        static func subjects(in root: String) throws -> [(name: String, share: Int, check: (String) -> Bool)] {
            try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
            let model = try TinyLlama(seed: 9)
            let tokens = JSONObject(["<unk>", "<s>", "</s>", "a", "b", "c", "ab", "abc", "Ġ", "Ġa"].enumerated().map { ($1, .integer($0)) })
            let tokenizer = try Tokenizer(
                json: [
                    "version": "1.0", "added_tokens": [["id": 1, "content": "<s>", "special": true, "normalized": false]], "normalizer": ["type": "NFC"],
                    "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true],
                    "decoder": ["type": "ByteLevel"],
                    "model": ["type": "BPE", "vocab": .object(tokens), "merges": ["a b", "ab c", "Ġ a"], "unk_token": "<unk>"],
                ], config: ["bos_token": "<s>", "eos_token": "</s>"], file: "tokenizer.json")
            let template = try ChatTemplate(source: "{% for m in messages %}{{ bos_token }}{{ m.role | upper }}: {{ m['content'][:20] }}\n{% endfor %}")
            let saved = CheckpointWriter.Model(config: model.config, tokenizer: tokenizer, chatTemplate: template)
            try CheckpointWriter.save(saved, tensors: model.sources, dtype: .bf16, shardBytes: 20_000, to: root + "/sharded")
            try CheckpointWriter.save(saved, tensors: model.sources, dtype: .f16, to: root + "/single")
            // The template then comes from tokenizer_config.json.
            try FileManager.default.removeItem(atPath: root + "/single/chat_template.jinja")
            let header = """
                {"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"I64","shape":[1],\
                "data_offsets":[16,24]},"c":{"dtype":"F16","shape":[3],"data_offsets":[24,30]},"d":{"dtype":"BOOL","shape":[2],"data_offsets":[30,32]}}
                """
            try Data(safetensors(header: header, data: (0..<32).map { UInt8($0) })).write(to: URL(fileURLWithPath: root + "/mixed.safetensors"))
            try Data(model.gguf(type: .f16).bytes()).write(to: URL(fileURLWithPath: root + "/f16.gguf"))
            try Data(model.gguf(type: .q4_1).bytes()).write(to: URL(fileURLWithPath: root + "/q4.gguf"))
            return [
                ("mixed.safetensors", 2000, readsTensors), ("single/model.safetensors", 1200, { _ in survives(root + "/single") }),
                ("f16.gguf", 2000, survives), ("q4.gguf", 1200, survives), ("single/config.json", 1000, { _ in survives(root + "/single") }),
                ("sharded/model.safetensors.index.json", 800, { _ in survives(root + "/sharded") }),
                ("single/tokenizer.json", 1200, { _ in survives(root + "/single") }),
                ("single/tokenizer_config.json", 600, { _ in survives(root + "/single") }),
            ]
        }

        /// Runs in the child.
        static func run(rounds: Int) throws {
            let shared = "/dev/shm"  // memory, where there is such a folder
            let base = FileManager.default.isWritableFile(atPath: shared) ? shared : FileManager.default.temporaryDirectory.path
            let root = base + "/align-fuzz-\(getpid())"
            defer { Files.remove(root) }
            let subjects = try subjects(in: root)
            try limitAddressSpace(toFurther: 2 << 30)
            var generator = TestGenerator(2026), good = 0, total = 0
            let clock = ContinuousClock(), start = clock.now
            for (name, share, check) in subjects {
                let path = root + "/" + name, original = try InputFile.contents(path, limit: 1 << 20)
                for index in 0..<(rounds * share) {
                    let mutated = mutate(original, name: name, keepsFront: index % 3 == 0, &generator)
                    try Data(mutated).write(to: URL(fileURLWithPath: path))
                    let started = clock.now
                    if check(path) { good += 1 }
                    total += 1
                    let seconds = (clock.now - started).components.seconds
                    if seconds > 5 { print("\(name), mutation \(index): took \(seconds) s") }
                }
                try Data(original).write(to: URL(fileURLWithPath: path))
                #expect(check(path), "\(name) itself does not open")
            }
            #expect(total == rounds * 10_000 && good > 0 && good < total, "\(total) mutations, \(good) still good")
            print("\(total) mutations in \(clock.now - start): \(good) harmless, \(total - good) refused")
        }

        /// ALIGN_FUZZ_ROUNDS asks for more of them, by hand.
        @Test("10,000 mutations of weights, configs and tokenizers end in a value or a typed error, in a process that may map 2 GB")
        func mutations() async {
            let child = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
                try FuzzTests.run(rounds: ProcessInfo.processInfo.environment["ALIGN_FUZZ_ROUNDS"].flatMap { Int($0) } ?? 1)
            }
            print(String(decoding: child?.standardOutputContent ?? [], as: UTF8.self), terminator: "")
        }
    }
}

/// Lets this process map no more than `bytes` beyond what it has mapped; an allocation beyond that ends it.
func limitAddressSpace(toFurther bytes: Int) throws {
    let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ").first.flatMap { Int($0) } ?? 0
    let limit = rlim_t(pages * Int(getpagesize()) + bytes)
    var limits = rlimit(rlim_cur: limit, rlim_max: limit)
    let code = setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limits)
    #expect(pages > 0 && code == 0, "\(pages) pages mapped, setrlimit gave \(code)")
}
