import Serialization

extension ModelConfig {
    /// `config.json` for these weights, which transformers 4 and 5 load: `raw`, with the members that differ from it brought up to date.
    /// - Parameter dtype: `F32`, `BF16` or `F16` (or already `float32`, `bfloat16`, `float16`).
    public func json(dtype: String) -> JSON {
        var object = raw.object ?? JSONObject()
        let read = try? ModelConfig(json: raw, file: "config.json")
        func update<Value: Equatable>(_ key: String, _ path: KeyPath<ModelConfig, Value>, _ value: JSON) {
            if read?[keyPath: path] != self[keyPath: path] { object[key] = value }
        }
        func tokens(_ ids: [Int]) -> JSON { ids.count == 1 ? .integer(ids[0]) : ids.isEmpty ? .null : .array(ids.map { .integer($0) }) }

        update("architectures", \.architecture, .array([.string(architecture)]))
        update("model_type", \.modelType, .string(modelType))
        update("vocab_size", \.vocabularySize, .integer(vocabularySize))
        update("hidden_size", \.hiddenSize, .integer(hiddenSize))
        update("intermediate_size", \.intermediateSize, .integer(intermediateSize))
        update("num_hidden_layers", \.layers, .integer(layers))
        update("num_attention_heads", \.heads, .integer(heads))
        update("num_key_value_heads", \.keyValueHeads, .integer(keyValueHeads))
        update("head_dim", \.headDimension, .integer(headDimension))
        update("max_position_embeddings", \.maxPositions, .integer(maxPositions))
        update("rms_norm_eps", \.normEpsilon, .number(normEpsilon))
        update("hidden_act", \.activation, .string(activation.rawValue))
        update("attention_bias", \.attentionBias, .bool(attentionBias))
        update("mlp_bias", \.mlpBias, .bool(mlpBias))
        update("tie_word_embeddings", \.tiesEmbeddings, .bool(tiesEmbeddings))
        update("bos_token_id", \.bosID, tokens(bosID.map { [$0] } ?? []))
        update("eos_token_id", \.eosIDs, tokens(eosIDs))
        update("pad_token_id", \.padID, tokens(padID.map { [$0] } ?? []))
        if modelType == "mistral" { update("sliding_window", \.slidingWindows, (slidingWindows.first ?? nil).map { .integer($0) } ?? .null) }
        if read?.ropeTheta != ropeTheta || read?.ropeScaling != ropeScaling {
            let members = ropeScaling.members(maxPositions: maxPositions)
            if object["rope_parameters"]?.object != nil {  // transformers 5: one object holds both
                object["rope_parameters"] = .object(
                    JSONObject([("rope_theta", .number(ropeTheta))] + (members ?? [("rope_type", "default")])))
            } else {
                object["rope_theta"] = .number(ropeTheta)
                object["rope_scaling"] = members.map { .object(JSONObject($0)) } ?? .null
            }
        }
        if scoresSequences {
            // As many labels as the head has rows: what makes transformers build it so.
            if object["id2label"]?.object?.count != scoreOutputs {
                let labels = (0..<scoreOutputs).map { ("LABEL_\($0)", $0) }
                object["id2label"] = .object(JSONObject(labels.map { ("\($0.1)", .string($0.0)) }))
                object["label2id"] = .object(JSONObject(labels.map { ($0.0, .integer($0.1)) }))
            }
            object["num_labels"] = .integer(scoreOutputs)
            if scoreOutputs == 1 && object["problem_type"] == nil { object["problem_type"] = "regression" }
            object["align_grading_outputs"] = gradingOutputs > 0 ? .integer(gradingOutputs) : nil
        }
        object[object["dtype"] != nil ? "dtype" : "torch_dtype"] = .string(
            ["F32": "float32", "BF16": "bfloat16", "F16": "float16"][dtype] ?? dtype)
        return .object(object)
    }
}
