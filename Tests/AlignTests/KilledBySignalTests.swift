import Foundation
import Tensors
import Testing
import Training

@testable import align

/// Ctrl-C and SIGTERM: the program saves, exits with 75, and goes on where it was.
@Suite("Runs stopped by a signal", .serialized) struct KilledBySignalTests {
    /// Runs the program until it has written a line that holds `word` to standard error, signals it `count` times, and waits for its end.
    private func run(_ words: [String], until word: String, signal: Int32, count: Int = 1) throws -> (code: Int32, err: String) {
        let process = Process(), pipe = Pipe()
        process.executableURL = URL(fileURLWithPath: try Child.program())
        process.arguments = words
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = pipe
        // A page: the program waits for its reader, so it is never far beyond the line that was read, however slow this process is.
        _ = fcntl(pipe.fileHandleForReading.fileDescriptor, 1031 /* F_SETPIPE_SZ */, 4096)
        try process.run()
        try pipe.fileHandleForWriting.close()
        var text = Data(), isSignalled = false
        while true {
            let piece = pipe.fileHandleForReading.availableData
            if piece.isEmpty { break }
            text += piece
            if !isSignalled, String(decoding: text, as: UTF8.self).contains(word) {
                isSignalled = true
                for _ in 0..<count { kill(process.processIdentifier, signal) }
            }
        }
        process.waitUntilExit()
        let err = String(decoding: text, as: UTF8.self)
        #expect(process.terminationReason == .exit && isSignalled, "the program was ended by a signal, or never wrote '\(word)': \(err)")
        return (process.terminationStatus, err)
    }

    /// 150 steps: a page of progress is about 50 of them.
    @Test("exit 75, and --resume ends with the same bits", arguments: [(SIGTERM, " 17/"), (SIGINT, " 9/"), (SIGTERM, "reference "), (SIGINT, "evaluation ")])
    func stopped(number: Int32, word: String) throws {
        let place = try KilledFolder(rows: 60)
        let more = ["--max-steps", "150", "--eval-steps", "20", "--save-steps", "50", "--eval-split", "0.5", "--batch-size", "1"]
        let stopped = try run(["dpo"] + place.words("parts", more), until: word, signal: number)
        #expect(stopped.code == 75, "exit \(stopped.code): \(stopped.err.suffix(2000))")
        #expect(stopped.err.contains("--resume") && stopped.err.contains(place.path + "/parts"), "\(stopped.err.suffix(500))")
        #expect(try place.record("parts")["status"]?.string == "interrupted")
        #expect(!FileManager.default.fileExists(atPath: place.path + "/parts/model"))

        let resumed = try Child(["dpo", "--resume"] + place.words("parts", more)).wait()
        #expect(resumed.code == 0, "exit \(resumed.code): \(resumed.err)")
        let whole = try Child(["dpo"] + place.words("whole", more)).wait()
        #expect(whole.code == 0, "exit \(whole.code): \(whole.err)")
        // Where the run was stopped there is a checkpoint that the other lacks, and each keeps its newest two.
        let differences = try place.differences("parts", "whole").filter { !$0.hasPrefix("checkpoints/step-") }
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
        #expect(try place.record("parts")["status"]?.string == "finished")
    }

    @Test("a sample that was cut short is not kept") func sample() async throws {
        let place = try KilledFolder()
        await #expect(processExitsWith: .success) { [model = place.folder.model as String, out = place.path as String] in
            func samples() throws -> Int {
                let settings = TrainingSettings(learningRate: 0), compute = try Compute(threads: 1)
                let sampler = HeldOutSampler(model: model, out: out, limit: 8, settings: settings, compute: compute)
                sampler.before([[70, 71, 72]])
                return sampler.samples.count
            }
            Interrupt.install()
            let whole = try samples()
            kill(getpid(), SIGTERM)
            while !Interrupt.isRequested { usleep(1000) }  // another thread may be the one that takes it
            let cut = try samples()
            #expect(whole == 1 && cut == 0, "\(whole) and \(cut) samples, 1 and 0 were expected")
        }
    }

    @Test("a second signal ends the program at once, with 75 too") func twice() throws {
        let place = try KilledFolder(rows: 60)
        let more = ["--max-steps", "150", "--save-steps", "10", "--batch-size", "1", "--eval-steps", "50"]
        let stopped = try run(["dpo"] + place.words("parts", more), until: " 31/", signal: SIGTERM, count: 2)
        #expect(stopped.code == 75, "exit \(stopped.code): \(stopped.err.suffix(2000))")
        #expect(try Child(["dpo", "--resume"] + place.words("parts", more)).wait().code == 0)
        #expect(try Child(["dpo"] + place.words("whole", more)).wait().code == 0)
        let differences = try place.differences("parts", "whole").filter { !$0.hasPrefix("checkpoints/step-") }
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
    }
}
