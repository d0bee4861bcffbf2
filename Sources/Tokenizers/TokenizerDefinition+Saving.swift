import Serialization

extension TokenizerDefinition {
    /// The definition as `tokenizer.json` has it.
    func json() -> JSON {
        var vocabulary = JSONObject()
        for (id, token) in tokens.enumerated() { if let token, vocabulary[token] == nil { vocabulary[token] = .integer(id) } }
        let model: JSON = [
            "type": "BPE", "dropout": nil, "unk_token": unknown.flatMap { tokens[Int($0)] }.map { .string($0) } ?? .null,
            "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": .bool(fusesUnknown),
            "byte_fallback": .bool(byteFallback), "ignore_merges": .bool(ignoresMerges), "vocab": .object(vocabulary),
            "merges": .array(merges.map { [text($0.left), text($0.right)] }),
        ]
        return [
            "version": "1.0", "truncation": nil, "padding": nil, "added_tokens": .array(added.map(json)),
            "normalizer": sequence(normalizers.map(json), "normalizers"), "pre_tokenizer": sequence(preTokenizerParts, "pretokenizers"),
            "post_processor": postProcessor, "decoder": sequence(decoder.map(json), "decoders"), "model": model,
        ]
    }

    private func text(_ id: Int32) -> JSON { .string(tokens[Int(id)] ?? "") }
    private func string(_ bytes: [UInt8]) -> JSON { .string(String(decoding: bytes, as: UTF8.self)) }

    private func sequence(_ parts: [JSON], _ key: String) -> JSON {
        parts.count > 1 ? ["type": "Sequence", (key): .array(parts)] : parts.first ?? .null
    }

    private func json(_ token: AddedToken) -> JSON {
        [
            "id": .integer(Int(token.id)), "content": string(token.content), "single_word": .bool(token.isSingleWord),
            "lstrip": .bool(token.stripsLeft), "rstrip": .bool(token.stripsRight), "normalized": .bool(token.isNormalized),
            "special": .bool(token.isSpecial),
        ]
    }

    private func json(_ normalizer: Normalizer) -> JSON {
        switch normalizer {
        case .nfc: ["type": "NFC"]
        case let .prepend(text): ["type": "Prepend", "prepend": string(text)]
        case let .replace(pattern, content): ["type": "Replace", "pattern": ["String": string(pattern)], "content": string(content)]
        }
    }

    private var preTokenizerParts: [JSON] {
        var parts: [JSON] = []
        for step in preTokenizers {
            switch step {
            case .split(.words(.gpt2), .isolated, false): parts.append(byteLevel(usesRegex: true))
            case let .split(.words(pattern), behaviour, inverted): parts.append(split(["Regex": .string(pattern.regex)], behaviour, inverted))
            case .split(.scalars(.number, 1), .isolated, false): parts.append(["type": "Digits", "individual_digits": true])
            case let .split(.literal(text), behaviour, inverted): parts.append(split(["String": string(text)], behaviour, inverted))
            default: break  // definitions from GGUF metadata hold no other steps; others are saved as they were read
            }
        }
        let hasByteLevel = preTokenizers.contains(.split(.words(.gpt2), .isolated, inverted: false))
        if isByteLevel && !hasByteLevel { parts.append(byteLevel(usesRegex: false)) }
        return parts
    }

    private func byteLevel(usesRegex: Bool) -> JSON {
        ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": .bool(usesRegex)]
    }

    private func split(_ pattern: JSON, _ behaviour: PreTokenizer.Behaviour, _ inverted: Bool) -> JSON {
        ["type": "Split", "pattern": pattern, "behavior": .string(behaviour.rawValue), "invert": .bool(inverted)]
    }

    private var postProcessor: JSON {
        guard !prefix.isEmpty || !suffix.isEmpty else { return .null }
        func parts(_ sequence: String) -> [JSON] {
            func special(_ id: Int32) -> JSON { ["SpecialToken": ["id": text(id), "type_id": 0]] }
            return prefix.map(special) + [["Sequence": ["id": .string(sequence), "type_id": 0]]] + suffix.map(special)
        }
        var special = JSONObject()
        for id in prefix + suffix {
            guard let name = tokens[Int(id)] else { continue }
            special[name] = ["id": .string(name), "ids": [.integer(Int(id))], "tokens": [.string(name)]]
        }
        return [
            "type": "TemplateProcessing", "single": .array(parts("A")), "pair": .array(parts("A") + parts("B")),
            "special_tokens": .object(special),
        ]
    }

    private func json(_ step: DecoderStep) -> JSON {
        switch step {
        case .byteLevel: ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true]
        case let .replace(pattern, content): ["type": "Replace", "pattern": ["String": string(pattern)], "content": string(content)]
        case .byteFallback: ["type": "ByteFallback"]
        case .fuse: ["type": "Fuse"]
        case let .strip(text, start, stop): ["type": "Strip", "content": string(text), "start": .integer(start), "stop": .integer(stop)]
        case let .metaspace(text, prepends):
            ["type": "Metaspace", "replacement": string(text), "prepend_scheme": prepends ? "always" : "never", "split": true]
        }
    }
}

extension Tokenizer {
    /// A `tokenizer_config.json` to save beside `json()`: what was read, with the chat template put in, or one made from the metadata.
    /// - Parameter chatTemplate: The template's source; `nil` leaves what was read as it is.
    public func configJSON(chatTemplate: String?) -> JSON {
        var config = settings.raw ?? JSONObject()
        if settings.raw == nil {
            let tokens = [("bos_token", bosToken), ("eos_token", eosToken), ("pad_token", padToken), ("unk_token", unknownToken)]
            for (key, token) in tokens { config[key] = token.map { .string($0) } ?? .null }
            config["add_bos_token"] = .bool(!definition.prefix.isEmpty)
            config["add_eos_token"] = .bool(!definition.suffix.isEmpty)
            config["clean_up_tokenization_spaces"] = false
            config["model_max_length"] = .number(1e30)
            config["tokenizer_class"] = "PreTrainedTokenizerFast"
        }
        if let chatTemplate { config["chat_template"] = .string(chatTemplate) }
        return .object(config)
    }
}
