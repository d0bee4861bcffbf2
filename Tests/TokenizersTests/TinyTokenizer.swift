import Serialization
import Testing

@testable import Tokenizers

/// A vocabulary that fits in the head: 256 bytes (ids 0 to 255), seven merges, two special tokens and one added word.
enum TinyTokenizer {
    static let merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("Ġw", "o"), ("1", "2")]
    static let (begin, end, word) = (263, 264, 265)

    static var vocabulary: [String] {
        ByteAlphabet.scalars.map { String(Unicode.Scalar($0)!) } + merges.map { $0.0 + $0.1 }
    }

    static func json(
        pre: JSON = ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true], normalizer: JSON = nil,
        ignoresMerges: Bool = false, processor: JSON? = nil, decoder: JSON = ["type": "ByteLevel"], added: [JSON]? = nil
    ) -> JSON {
        let tokens = JSONObject(vocabulary.enumerated().map { ($1, .integer($0)) })
        let special: [JSON] = [
            ["id": .integer(begin), "content": "<s>", "special": true, "normalized": false],
            ["id": .integer(end), "content": "</s>", "special": true, "normalized": false],
            ["id": .integer(word), "content": "align", "special": false, "normalized": false],
        ]
        let template: JSON = [
            "type": "TemplateProcessing", "single": [["SpecialToken": ["id": "<s>", "type_id": 0]], ["Sequence": ["id": "A", "type_id": 0]]],
            "special_tokens": ["<s>": ["id": "<s>", "ids": [.integer(begin)], "tokens": ["<s>"]]],
        ]
        return [
            "version": "1.0", "added_tokens": .array(added ?? special), "normalizer": normalizer, "pre_tokenizer": pre,
            "post_processor": processor ?? template, "decoder": decoder,
            "model": [
                "type": "BPE", "vocab": .object(tokens), "merges": .array(merges.map { .string($0.0 + " " + $0.1) }),
                "ignore_merges": .bool(ignoresMerges),
            ],
        ]
    }

    static func make(_ json: JSON = json(), config: JSON? = nil) throws -> Tokenizer { try Tokenizer(json: json, config: config, file: "tiny.json") }

    /// The json with one member of an object replaced.
    static func json(replacing path: [String], by value: JSON?, in json: JSON = json()) -> JSON {
        guard let key = path.first, case var .object(object) = json else { return value ?? json }
        object[key] = path.count == 1 ? value : object[key].map { TinyTokenizer.json(replacing: Array(path.dropFirst()), by: value, in: $0) }
        return .object(object)
    }
}
