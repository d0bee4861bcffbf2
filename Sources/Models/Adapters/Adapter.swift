import Checkpoints
import Tensors

/// Low-rank adapters on a frozen model's linear layers: the only parameters that train.
final class Adapter {
    /// One product of a decoder block.
    enum Product: Int, CaseIterable { case queryKeyValue, output, gateUp, down }

    let config: AdapterConfig
    let parameters: [ParameterInfo]
    let weights: FloatBuffer
    let gradients: FloatBuffer
    /// By layer and product; nil where nothing is adapted.
    private let linears: [[AdaptedLinear?]]
    private let scoreBlock: ParameterLayout.Block?
    private let seed: UInt64
    /// Of the optimizer step under way: dropout draws anew in each.
    var step = 0

    /// Tensors of a product: the ends of their names, and their rows.
    static func tensors(_ product: Product, _ c: ModelConfig) -> [(name: String, rows: Int)] {
        let (q, kv) = (c.heads * c.headDimension, c.keyValueHeads * c.headDimension)
        switch product {
        case .queryKeyValue: return [("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)]
        case .output: return [("self_attn.o_proj", c.hiddenSize)]
        case .gateUp: return [("mlp.gate_proj", c.intermediateSize), ("mlp.up_proj", c.intermediateSize)]
        case .down: return [("mlp.down_proj", c.hiddenSize)]
        }
    }

    /// - Parameters:
    ///   - base: The products of a layer, by `Product.rawValue`.
    ///   - seed: Of A at the start and of dropout.
    /// - Throws: `AdapterError.nothingToAdapt`, and what a pattern of the config throws.
    init(
        _ config: AdapterConfig, model: ModelConfig, base: (_ layer: Int, _ product: Product) -> PackedLinear, seed: UInt64, precision: Precision, trains: Bool,
        on compute: Compute
    ) throws {
        self.config = config
        self.seed = seed
        var layout = AdapterLayout()
        var targets: [[[AdaptedLinear.Target]]] = []
        for layer in 0..<model.layers {
            targets.append(try Product.allCases.map { product in
                try layout.place(config, layer: layer, tensors: Self.tensors(product, model), inputs: base(layer, product).inputs)
            })
        }
        let isEmpty = layout.parameters.isEmpty
        let head = layout.place(heads: model.scoreHeads, width: model.hiddenSize)
        guard !isEmpty else { throw AdapterError.nothingToAdapt(targets: config.targets) }
        parameters = layout.parameters
        scoreBlock = head
        weights = FloatBuffer(count: layout.count)
        gradients = FloatBuffer(count: trains ? layout.count : 0)
        let (weights, gradients) = (weights, gradients)
        linears = targets.enumerated().map { layer, products in
            zip(Product.allCases, products).map { product, targets in
                guard !targets.isEmpty else { return nil }
                return AdaptedLinear(
                    base(layer, product), targets: targets, parts: product == .gateUp ? 2 : 1, key: UInt64(layer * 4 + product.rawValue + 1) &* 0xA24B_AED4_963E_E407,
                    weights: weights, gradients: gradients, precision: precision, on: compute)
            }
        }
        start()
        weightsChanged(on: compute)
    }

    /// PEFT's start: A uniform in ±1/√inputs, B zero, m the norms of W: the adapted model is the base.
    private func start() {
        for parameter in parameters where parameter.name.hasSuffix(".lora_A.weight") {
            var random = RandomStream(seed: seed, stream: 0x10A4, index: UInt64(parameter.offset))
            let bound = 1 / Double(parameter.shape[1]).squareRoot()
            for i in parameter.range { weights.base[i] = Float((2 * random.uniform() - 1) * bound) }
        }
        for linear in linears.joined() { linear?.startMagnitudes() }
    }

    subscript(layer: Int, product: Product) -> AdaptedLinear? { linears[layer][product.rawValue] }

    /// The score head's place in one of the flat buffers; nil for a model without one.
    func scoreHead(_ buffer: FloatBuffer?) -> Matrix? {
        guard let scoreBlock, let buffer, buffer.count > 0 else { return nil }
        return Matrix(buffer: buffer, offset: scoreBlock.offset, rows: scoreBlock.rows, columns: scoreBlock.columns, stride: scoreBlock.columns)
    }

    /// The first layer whose backward anything needs.
    var firstLayer: Int { linears.firstIndex { $0.contains { $0 != nil } } ?? 0 }

    func weightsChanged(keepsNorms: Bool = false, on compute: Compute) {
        for linear in linears.joined() { linear?.weightsChanged(keepsNorms: keepsNorms, on: compute) }
    }

    /// Reads the values of a saved adapter, which must be of the same modules and ranks.
    /// - Throws: `CheckpointError.missingTensor` or `.shapeMismatch`.
    func load(_ file: AdapterFile, on compute: Compute) throws {
        let given = Set(file.modules.map(\.name))
        for parameter in parameters {
            let module = Adapter.module(of: parameter.name)
            if !parameter.name.contains(".lora_") {
                try file.readReplaced(module, shape: parameter.shape, into: UnsafeMutableBufferPointer(start: weights.base + parameter.offset, count: parameter.count))
                continue
            }
            guard given.contains(module), let found = file.module(module) else {
                throw CheckpointError.missingTensor(file: file.file.path, tensor: parameter.name, shape: parameter.shape)
            }
            let values = parameter.name.hasSuffix(".lora_A.weight") ? try file.a(found)
                : parameter.name.hasSuffix(".lora_B.weight") ? try file.b(found) : try file.magnitude(found) ?? []
            guard values.count == parameter.count else {
                throw CheckpointError.shapeMismatch(file: file.file.path, tensor: parameter.name, expected: parameter.shape, found: [values.count])
            }
            values.withUnsafeBufferPointer { (weights.base + parameter.offset).update(from: $0.baseAddress!, count: values.count) }
        }
        weightsChanged(on: compute)
    }

    /// `model.layers.0.self_attn.q_proj` of a tensor's name in PEFT's layout.
    static func module(of name: String) -> String {
        let own = name.dropFirst(AdapterFile.prefix.count)
        let ending = [".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"].first { own.hasSuffix($0) } ?? ""
        return String(own.dropLast(ending.count))
    }

    /// Dropout of a batch's rows: each token's follows from the seed, the step and its chain of tokens, whatever it is batched with.
    func rowKeys(_ batch: SegmentTree) -> [UInt64]? {
        guard config.dropout > 0 else { return nil }
        var keys = [UInt64](repeating: 0, count: batch.tokenCount)
        var ends: [UInt64] = []
        let start = DropoutMask.key(DropoutMask.key(seed, token: Int32(truncatingIfNeeded: step)), token: -1)
        for segment in batch.segments {
            var key = segment.parent.map { ends[$0] } ?? start
            for i in segment.range {
                key = DropoutMask.key(key, token: batch.tokens[i])
                keys[i] = key
            }
            ends.append(key)
        }
        return keys
    }

    func mask(_ rowKeys: [UInt64]?, _ linear: AdaptedLinear) -> DropoutMask? {
        rowKeys.map { DropoutMask(rowKeys: $0, layerKey: linear.key, probability: config.dropout) }
    }
}

/// An adapter that cannot be made.
public enum AdapterError: Error, Equatable, CustomStringConvertible {
    case nothingToAdapt(targets: AdapterConfig.Targets)

    public var description: String {
        switch self {
        case let .nothingToAdapt(targets):
            let text = switch targets { case let .modules(names): names.joined(separator: ","); case let .pattern(pattern): pattern }
            return "no linear layer is named by \"\(text)\"; the model's are \(AdapterConfig.linearNames.joined(separator: ", "))."
        }
    }
}

/// Where an adapter's parameters lie in the flat buffers: of one product, all A one under the other, then each B, then each magnitude.
struct AdapterLayout {
    private(set) var parameters: [ParameterInfo] = []
    private(set) var count = 0

    mutating func place(_ config: AdapterConfig, layer: Int, tensors: [(name: String, rows: Int)], inputs: Int) throws -> [AdaptedLinear.Target] {
        var (targets, row, rank): ([AdaptedLinear.Target], Int, Int) = ([], 0, 0)
        for (name, rows) in tensors {
            let module = "model.layers.\(layer).\(name)"
            if try config.adapts(module) {
                let own = try config.rank(of: module)
                targets.append(AdaptedLinear.Target(
                    name: module, outputs: row..<row + rows, ranks: rank..<rank + own, scale: try config.scale(of: module, rank: own), a: 0, b: 0, magnitude: nil))
                rank += own
            }
            row += rows
        }
        align()
        for i in targets.indices { targets[i].a = add(targets[i].name + ".lora_A.weight", [targets[i].ranks.count, inputs], decays: true) }
        for i in targets.indices {
            align()
            targets[i].b = add(targets[i].name + ".lora_B.weight", [targets[i].outputs.count, targets[i].ranks.count], decays: true)
        }
        for i in targets.indices where config.isDoRA {
            align()
            targets[i].magnitude = add(targets[i].name + ".lora_magnitude_vector", [targets[i].outputs.count], decays: false)
        }
        return targets
    }

    /// Heads that train whole, one under the other.
    mutating func place(heads: [(name: String, outputs: Int)], width: Int) -> ParameterLayout.Block? {
        guard !heads.isEmpty else { return nil }
        align()
        let start = count
        for (name, outputs) in heads { _ = add(name, [outputs, width], decays: true) }
        return ParameterLayout.Block(offset: start, rows: heads.reduce(0) { $0 + $1.outputs }, columns: width)
    }

    private mutating func add(_ name: String, _ shape: [Int], decays: Bool) -> Int {
        let size = shape.reduce(1, *)
        parameters.append(ParameterInfo(name: AdapterFile.prefix + name, shape: shape, offset: count, count: size, decays: decays))
        defer { count += size }
        return count
    }

    /// On to the next cache line.
    private mutating func align() { count = (count + 15) / 16 * 16 }
}
