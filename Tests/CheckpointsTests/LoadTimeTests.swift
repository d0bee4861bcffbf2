import Testing

@testable import Checkpoints

/// Tests that look at the memory or the speed of the whole process: one after the other.
@Suite("Whole-process measurements", .serialized) enum Measurements {}

extension Measurements {
    @Suite("Load time") struct LoadTimeTests {
        @Test("SmolLM2-135M loads with two threads (where the file is there); the time is printed") func realFile() async throws {
            guard let path = Checkpoint.defaultModel() else {
                print("note: no cached SmolLM2-135M-Instruct.Q4_1.gguf; its load time is not measured")
                return
            }
            let clock = ContinuousClock()
            let opening = clock.now
            let model = try Checkpoint.open(path)
            let opened = clock.now - opening
            #expect(model.config.hiddenSize == 576 && model.config.layers == 30 && model.config.tiesEmbeddings && model.config.vocabularySize == 49152)
            let names = model.tensors.keys.sorted(), counts = names.map { model.tensors[$0]!.count }
            let offsets = counts.reduce(into: [0]) { $0.append($0.last! + $1) }
            let total = offsets.last!
            for round in ["first", "second"] {
                nonisolated(unsafe) let weights = UnsafeMutableBufferPointer<Float>.allocate(capacity: total)  // each tensor has its own part
                defer { weights.deallocate() }
                let start = clock.now
                await withTaskGroup(of: CheckpointError?.self) { group in
                    for half in 0..<2 {
                        group.addTask {
                            for index in stride(from: half, to: names.count, by: 2) {
                                do throws(CheckpointError) {
                                    try model.read(names[index], into: UnsafeMutableBufferPointer(rebasing: weights[offsets[index]..<offsets[index + 1]]))
                                } catch { return error }
                            }
                            return nil
                        }
                    }
                    for await error in group { #expect(error == nil) }
                }
                print("SmolLM2-135M Q4_1: opened in \(opened), \(total) weights read with 2 threads in \(clock.now - start) (\(round) time)")
                #expect(weights.allSatisfy { $0.isFinite })
            }
            let start = clock.now
            let hash = try model.contentHash(), first = clock.now - start
            #expect(try model.contentHash() == hash)
            print("SmolLM2-135M Q4_1: content hash \(hash.prefix(12))… in \(first), again in \(clock.now - start - first)")
        }
    }
}
