import Glibc

// Weights as they lie in the file, for those who multiply with them as they are.
extension Checkpoint {
    /// Whether matrices lie in blocks of quants, as in most GGUF files.
    public var isQuantized: Bool {
        guard case let .gguf(file, names) = weights, adapter == nil else { return false }
        return names.values.contains { (file.stored[$0]?.type.blockElements ?? 1) > 1 }
    }

    /// The type that a tensor of a GGUF file is stored in; nil for other files and unknown names.
    public func storedType(_ name: String) -> ElementType? {
        guard case let .gguf(file, names) = weights, adapter == nil else { return nil }
        return names[name].flatMap { file.stored[$0]?.type }
    }

    /// Reads some rows of a matrix of a GGUF file as stored, in the order of the Hugging Face layout. Several threads may read at once.
    /// - Parameter destination: As many bytes as the rows take.
    /// - Throws: `.missingTensor` for a name without stored rows; `.truncated`, `.changed`, `.system` if the file is no longer what was opened.
    public func readStored(_ name: String, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(CheckpointError) {
        guard case let .gguf(gguf, names) = weights, let stored = names[name].flatMap({ gguf.stored[$0] }), stored.shape.count == 2,
            let rowBytes = stored.type.bytes(of: stored.shape[1])
        else { throw .missingTensor(file: path, tensor: name, shape: []) }
        precondition(rows.lowerBound >= 0 && rows.upperBound <= stored.shape[0] && destination.count == rows.count * rowBytes,
            "rows \(rows) of \(stored.shape) into \(destination.count) bytes")
        guard !rows.isEmpty, rowBytes > 0 else { return }
        try gguf.file.checkUnchanged()
        guard let heads = interleavedHeads(name) else {
            return try gguf.file.read(into: destination, at: stored.offset + rows.lowerBound * rowBytes, field: "tensor '\(name)'")
        }
        // Row j·d/2 + i of a head is the file's 2i + j (see `GGUFFile.readPermuted`): whole heads are read.
        let d = stored.shape[0] / heads
        let (first, last) = (rows.lowerBound / d * d, (rows.upperBound + d - 1) / d * d)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: (last - first) * rowBytes, alignment: 64)
        defer { buffer.deallocate() }
        try gguf.file.read(into: buffer, at: stored.offset + first * rowBytes, field: "tensor '\(name)'")
        for row in rows {
            let (local, head) = (row % d, row / d * d - first)
            let source = head + 2 * (local % (d / 2)) + local / (d / 2)
            (destination.baseAddress! + (row - rows.lowerBound) * rowBytes).copyMemory(from: buffer.baseAddress! + source * rowBytes, byteCount: rowBytes)
        }
    }

    /// Heads whose rows a GGUF file of arch `llama` interleaves; nil for tensors in plain order.
    private func interleavedHeads(_ name: String) -> Int? {
        guard name.hasPrefix("model.layers.") else { return nil }
        if name.hasSuffix(".self_attn.q_proj.weight") { return config.heads }
        return name.hasSuffix(".self_attn.k_proj.weight") ? config.keyValueHeads : nil
    }
}
