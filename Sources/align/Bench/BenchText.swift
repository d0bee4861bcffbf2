import Tensors

/// English-looking text that is the same on every machine: common words by frequency, rarer ones made of syllables, numbers,
/// punctuation, paragraphs, and now and then a line of code or a word with accents.
enum BenchText {
    private static let common = """
        the of and to a in is that for it as was with be by on not he his but at are this have from or had an they which one you were \
        all her she there would their we him been has when who will no more if out so up said what its about than into them can only \
        other time new some could these two may first then do any like my now over such our man me even most made after also did many \
        before must through years where much your way well down should because each just those people how too little state good very \
        make world still see own work long here get both between life being under never day same another know while last might us great
        """.split(separator: " ").map(String.init)
    private static let syllables = """
        al an ar be ca ce co con de di dis en er es ex fi for gen im in ing ist ive ly ma men mis mo na ness ni no or per ple po pre pro \
        ra re ri ro sal se sion sta ter ti tion tive to tra tu un ur val ver vi za
        """.split(separator: " ").map(String.init)
    private static let rare = ["naïve", "café", "Zürich", "façade", "€40", "—", "…", "日本", "Привет", "e.g.", "don't", "I'm", "they've"]
    private static let code = ["    for i in range(10):\n        total += values[i] * 2\n", "let x = try f(a, b)  // ok\n", "{\"id\": 17, \"name\": \"abc\"}\n"]

    /// Documents of about 2 kB, `bytes` together.
    static func documents(bytes: Int) -> [String] {
        (0..<max(1, bytes / 2048)).map { index in
            var random = RandomStream(seed: 7, stream: 3, index: UInt64(index))
            return document(bytes: 2048, &random)
        }
    }

    private static func document(bytes: Int, _ random: inout RandomStream) -> String {
        var text = ""
        while text.utf8.count < bytes {
            for sentence in 0..<3 + Int(random.next() % 4) {
                if sentence > 0 { text += " " }
                let count = 6 + Int(random.next() % 14)
                for position in 0..<count {
                    var next = word(&random)
                    if position == 0 { next = next.prefix(1).uppercased() + next.dropFirst() }
                    text += (position > 0 ? " " : "") + next
                    if position < count - 1, random.uniform() < 0.08 { text += "," }
                }
                text += random.uniform() < 0.9 ? "." : "?"
            }
            text += "\n\n"
            if random.uniform() < 0.15 { text += code[Int(random.next() % UInt64(code.count))] }
        }
        return text
    }

    private static func word(_ random: inout RandomStream) -> String {
        let kind = random.uniform()
        if kind < 0.6 {
            // About Zipf: the frequent ones stand first.
            let place = Double(common.count) * random.uniform() * random.uniform()
            return common[min(Int(place), common.count - 1)]
        }
        if kind < 0.95 { return (0..<2 + Int(random.next() % 3)).map { _ in syllables[Int(random.next() % UInt64(syllables.count))] }.joined() }
        if kind < 0.98 { return "\(random.next() % 10_000)" }
        return rare[Int(random.next() % UInt64(rare.count))]
    }
}
