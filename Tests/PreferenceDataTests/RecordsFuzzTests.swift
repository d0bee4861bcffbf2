import Foundation
import Serialization
import Testing

@testable import PreferenceData

/// Damages small files of rows in seeded ways and reads what comes out, in a process that may map 2 GB more than it has. Whatever bytes
/// change, files are read or refused; the type system says that nothing but `RecordError` is thrown.
@Suite struct RecordsFuzzTests {
    struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let z = (state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD
            return z ^ (z >> 33)
        }
    }

    /// One row of every shape: seven of pairs, then six of examples.
    static let rows = [
        #"{"prompt": "Q", "chosen": "A b", "rejected": "A é", "margin": 1}"#,
        #"{"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "\n\nHuman: Hi\n\nAssistant: B"}"#,
        #"{"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4]}"#, #"{"question": "Q", "response_j": "A", "response_k": "B"}"#,
        #"{"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}}"#,
        #"{"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "rejected": [{"role": "assistant", "content": "\ud83d\ude42"}]}"#,
        #"{"instruction": "Q", "input": "x", "chosen": "A", "rejected": "B"}"#, #"{"input_ids": [1, 2], "loss_mask": [0, 1]}"#,
        #"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}"#,
        #"{"prompt": "Q", "completion": "A"}"#, #"{"instruction": "Q", "input": "", "output": "A"}"#, #"{"text": "Once upon a time"}"#,
        #"{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "tools": "[]"}"#,
    ]

    private static let spare = Array("{}[]\",:\\\n\u{0}0-é".utf8)

    /// - Parameter front: So many bytes at the start stay as they are.
    static func mutate(_ original: [UInt8], front: Int, _ generator: inout Generator) -> [UInt8] {
        var bytes = original
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            guard bytes.count > front else { break }
            let place = Int.random(in: front..<bytes.count, using: &generator)
            switch Int.random(in: 0..<5, using: &generator) {
            case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
            case 1: bytes.insert(spare.randomElement(using: &generator) ?? 0, at: place)
            case 2: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 1...20, using: &generator)))
            case 3: bytes.removeLast(Int.random(in: 0...min(40, bytes.count - front), using: &generator))
            default: bytes.replaceSubrange(place..<place, with: bytes[place..<min(bytes.count, place + 9)])
            }
        }
        return bytes.isEmpty ? [0] : bytes
    }

    /// A file of three rows as lines, as an array, or gzipped. Of every third the front stays good: the first row, or the array's bracket
    /// and first row, or all of gzip's framing around rows that are damaged.
    static func file(_ index: Int, _ generator: inout Generator) -> [UInt8] {
        let keepsFront = index % 3 == 0, own = readsPairs(index) ? Array(rows[..<7]) : Array(rows[7...])
        let three = (0..<3).map { _ in own[Int.random(in: 0..<own.count, using: &generator)] }
        let lines = Array(three.joined(separator: "\n").utf8), first = three[0].utf8.count
        switch index / 3 % 3 {
        case 0: return mutate(lines, front: keepsFront ? first + 1 : 0, &generator)
        case 1: return mutate(Array("[\n\(three.joined(separator: ",\n"))\n]".utf8), front: keepsFront ? first + 2 : 0, &generator)
        default: return keepsFront ? gzipped(mutate(lines, front: 0, &generator)) : mutate(gzipped(lines), front: 0, &generator)
        }
    }

    /// Two of five files are read as pairs, two as examples, one as prompts.
    private static func readsPairs(_ index: Int) -> Bool { index % 5 < 2 || index % 10 == 4 }

    /// True if every row was good.
    static func reads(_ path: String, index: Int) -> Bool {
        do throws(RecordError) {
            let onBadRow: OnBadRow = index % 2 == 0 ? .skip : .stop, file = [RecordFile(path: path)]
            switch index % 5 {
            case 0, 1: return try Records.pairs(file, onBadRow: onBadRow).report.badRowCount == 0
            case 2, 3: return try Records.supervised(file, onBadRow: onBadRow).report.badRowCount == 0
            default: return try Records.prompts(file, onBadRow: onBadRow).report.badRowCount == 0
            }
        } catch {
            #expect(!error.description.isEmpty, "mutation \(index)")
            return false
        }
    }

    @Test("10,000 mutations of JSON lines, arrays and gzipped rows end in rows or a typed error") func mutations() async {
        let child = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
            let file = try TemporaryFile("")  // one for all: making files takes far longer than reading them
            let handle = try #require(FileHandle(forUpdatingAtPath: file.path))
            try limitAddressSpace(toFurther: 2 << 30)
            var generator = Generator(state: 7), good = 0
            for index in 0..<10_000 {
                let bytes = RecordsFuzzTests.file(index, &generator)
                try handle.seek(toOffset: 0)
                try handle.write(contentsOf: bytes)
                try handle.truncate(atOffset: UInt64(bytes.count))
                if RecordsFuzzTests.reads(file.path, index: index) { good += 1 }
            }
            print("10000 mutations of rows: \(good) harmless, \(10_000 - good) refused, in part or whole")
            #expect(good > 0 && good < 10_000, "\(good) of 10000 were harmless")
        }
        print(String(decoding: child?.standardOutputContent ?? [], as: UTF8.self), terminator: "")
    }

    /// Texts made to hurt: each is small and asks for much.
    static func hostile() -> [(name: String, bytes: [UInt8])] {
        func text(_ text: String) -> [UInt8] { Array(text.utf8) }
        let pair = (#"{"prompt": "Q", "chosen": "A", "rejected": "#, #""B"}"#)
        // Deflate with a table of its own: 258 zeros take two bits, so that a kilobyte unpacks to a megabyte; no end, no checksum.
        let table: [UInt8] = [0xED, 0xC1, 0x31, 0x01, 0, 0, 0, 0xC2, 0xA0, 0xF5, 0x4F, 0x6D, 0x08, 0x5F, 0xA0]
        let bomb = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255] + table + [UInt8](repeating: 0, count: 30_000)
        return [
            ("nested arrays", [UInt8](repeating: UInt8(ascii: "["), count: 1 << 20)),
            ("nested objects", text(String(repeating: #"{"a":"#, count: 100_000))),
            ("a deep value", text(pair.0 + String(repeating: "[", count: 50_000) + String(repeating: "]", count: 50_000) + "}")),
            ("a long number", text(pair.0 + String(repeating: "9", count: 1 << 20) + "}")),
            ("a large exponent", text(#"{"prompt_ids": [1e999999999], "chosen_ids": [2], "rejected_ids": [3e-999999999]}"#)),
            ("an open string", text(pair.0 + "\"" + String(repeating: "x", count: 1 << 20))),
            ("many keys", text("{" + (0..<100_000).map { "\"k\($0)\": 1" }.joined(separator: ",") + "}")),
            ("one key again and again", text("{" + String(repeating: #""prompt": "Q", "#, count: 50_000) + #""chosen": "A"}"#)),
            ("many rows that are bad", text(String(repeating: "{}\n", count: 20_000))),
            ("many rows that are empty", text(String(repeating: "\n", count: 1 << 20) + pair.0 + pair.1)),
            ("lone surrogates", text(pair.0 + #""\ud83d \udc00 \ud83d\ud83d"}"#)),
            ("zeros", [UInt8](repeating: 0, count: 1 << 20)), ("a bomb", bomb), ("an array of commas", text("[" + String(repeating: ",", count: 30_000))),
        ]
    }

    @Test("texts made to hurt end in rows or a typed error") func hostileTexts() async {
        await #expect(processExitsWith: .success) {
            let files = try RecordsFuzzTests.hostile().map { (name: $0.name, file: try TemporaryFile($0.bytes)) }
            try limitAddressSpace(toFurther: 2 << 30)
            for (name, file) in files {
                let good = (0..<5).count { RecordsFuzzTests.reads(file.path, index: $0) }
                let harmless = ["many rows that are empty": 3, "lone surrogates": 3, "a long number": 1]
                #expect(good == harmless[name] ?? 0, "\(name): \(good) of 5 readings found nothing wrong, \(harmless[name] ?? 0) were expected")
            }
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
