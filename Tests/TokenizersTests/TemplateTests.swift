import Serialization
import Testing

@testable import Tokenizers

@Suite("Chat templates") struct TemplateTests {
    static let chatML =
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

    static func messages(_ turns: (String, String)...) -> [JSON] { turns.map { ["role": .string($0.0), "content": .string($0.1)] } }

    static func render(_ source: String, _ variables: [String: JSON] = [:], limits: TemplateLimits = TemplateLimits()) throws(TemplateError) -> String {
        var template = try ChatTemplate(source: source)
        template.limits = limits
        return try template.render(messages: [], addGenerationPrompt: false, variables: variables)
    }

    static func error(_ source: String, _ variables: [String: JSON] = [:], limits: TemplateLimits = TemplateLimits()) -> TemplateError? {
        do throws(TemplateError) { _ = try render(source, variables, limits: limits) } catch { return error }
        return nil
    }

    @Test("what it renders is what Jinja renders", arguments: [
        ("{{ x.items() | list }}", "[('a', 1)]"), ("{% for k in x %}{{ k }}{% endfor %}", "a"), ("{{ 'ab'.center(5) }}|", "  ab |"),
        ("{{ '%.2f' % 1.005 }} {{ '%5' is string }}", "1.00 True"), ("{{ 'a,b,,c'.split(',') }}", "['a', 'b', '', 'c']"),
        ("{{ ' a  b '.split() }} {{ ' a b c'.rsplit(' ', 1) }}", "['a', 'b'] [' a b', 'c']"), ("{{ 'ß'.upper() }}{{ 'é'|length }}", "SS1"),
        ("{{ 'e\\u0301' == '\\u00e9' }}", "False"), ("{{ '\\r\\n'|length }}", "2"), ("{{ ('a',) }} {{ () }} {{ (1, 2) }}", "('a',) () (1, 2)"),
        ("{{ 'abc'[::-2] }} {{ [1,2,3,4][-3:-1] }} {{ 'abc'[5:] }}", "ca [2, 3] "), ("{{ -7 // 2 }} {{ -7 % 3 }} {{ 7.5 // 2 }}", "-4 2 3.0"),
        ("{{ [1, 2, 3] | map('string') | join('-') }}", "1-2-3"), ("{{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }}", "[1]"),
        ("{{ ['b', 'a', 'C'] | sort(case_sensitive=true) }}", "['C', 'a', 'b']"), ("{{ [3, 1] | min }}{{ [3, 1] | max }}", "13"),
        ("{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210"),
        ("{% macro box() %}[{{ caller('x') }}]{% endmacro %}{% call(v) box() %}<{{ v }}>{% endcall %}", "[<x>]"),
        ("{% for i in [[1, [2]], 3] recursive %}{% if i is iterable %}{{ loop(i) }}{% else %}{{ loop.depth }}:{{ i }} {% endif %}{% endfor %}", "2:1 3:2 1:3 "),
        ("{% for i in [1, 1, 2] %}{{ loop.changed(i) }} {% endfor %}", "True False True "),
        ("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "3False"),
        ("{% set s | upper | replace('A', 'b') %}a{% endset %}{{ s }}", "b"), ("{{ 'a'|safe + '<' }} {{ '<'|e|e }}", "a&lt; &lt;"),
        ("{{ x|tojson(indent=2) }}", "{\n  \"a\": 1\n}"), ("{{ ['é', '\\u0001']|tojson(ensure_ascii=true) }}", "[\"\\u00e9\", \"\\u0001\"]"),
        ("{{ 'abc'.find('z') }} {{ 'aXbX'.count('X') }} {{ 'ab'.partition('b') }}", "-1 2 ('a', 'b', '')"),
        ("{% if true %}\n  a\n{% endif %}\nb", "  a\nb"), ("{{ 1 }}  {%+ if true %}x{% endif %}", "1  x"), ("a\r\nb\n", "a\nb"),
        ("{{ '{} {0}'.format('a') if false else '{0}{1}{0}'.format('a', 'b') }}", "aba"), ("{{ 'x' 'y' }}", "xy"), ("{{ 0x1F + 0b11 }}", "34"),
        ("{{ 'a' if x else 'b' if y else 'c' }}", "a"), ("{{ x['a'] in [1] and not 2 in [1] }}", "True"), ("{{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}", "0.5 64"),
        ("{{ {'a': 1} == {'a': 1.0} }} {{ [1] < [1, 2] }} {{ 1 is sameas 1.0 }}", "True True False"), ("{{ -0.0 }} {{ 1e16 }} {{ 123456789.0 }}", "-0.0 1e+16 123456789.0"),
        ("{{ [1,2,3,4,5]|batch(2, 0)|list }} {{ [1,2,3]|slice(2)|list }}", "[[1, 2], [3, 4], [5, 0]] [[1, 2], [3]]"),
        ("{{ 'hello big world'|truncate(12, false, '..', 0) }} {{ 'it is'|title }} {{ \"they're\".title() }}", "hello big.. It Is They'Re"),
    ])
    func rendering(source: String, expected: String) throws {
        let found = try Self.render(source, ["x": ["a": 1]])
        #expect(same(found, expected), "\(source): \(found.debugDescription) instead of \(expected.debugDescription)")
    }

    @Test("broken sources are refused with their line", arguments: [
        "{{", "{{ }}", "{% if %}", "{% if x %}", "{% endif %}", "{% for x %}{% endfor %}", "{{ 'a }}", "{{ (1 }}", "{{ a b }}", "{% raw %}", "{# a",
        "{{ 1 + }}", "{% set x %}", "{% for in y %}{% endfor %}", "{{ ) }}", "{{ a[ }}", "{% macro %}{% endmacro %}", "{{ '\\x4' }}", "{{ $ }}",
        "{% macro f(a=1, b) %}{% endmacro %}", "{% %}", "{{ {1 2} }}", "{{ f(a=1, 2) }}", "{% else %}", "{{ a[1:2:3:4] }}", "{{ not }}", "{% call x %}{% endcall %}",
    ])
    func syntax(source: String) {
        let error = Self.error("\n" + source)
        switch error {
        case let .syntax(line, _, _): #expect(line == 2, "\(source)")
        case .unsupported: break
        default: Issue.record("\(source): \(String(describing: error))")
        }
    }

    @Test("what is not there is said") func unsupported() {
        #expect(Self.error("{{ 1|nosuch }}") == .unsupported(line: 1, feature: "the filter", found: "nosuch"))
        #expect(Self.error("{{ 1 is nosuch }}") == .unsupported(line: 1, feature: "the test", found: "nosuch"))
        #expect(Self.error("\n{% include 'x' %}") == .unsupported(line: 2, feature: "the statement", found: "include"))
        #expect(Self.error("{{ f(*x) }}") == .unsupported(line: 1, feature: "argument", found: "*"))
        #expect(Self.error("{{ '%q' % 1 }}") == .unsupported(line: 1, feature: "the format", found: "%q"))
        #expect(Self.error("{% set n = namespace() %}{{ [n] }}") == .unsupported(line: 1, feature: "keeping inside another value a", found: "Namespace"))
    }

    @Test("wrong values throw, with the line") func values() {
        #expect(Self.error("\n{{ x }}{{ x.y }}") == .undefined(line: 2, message: "'x' is undefined"))
        #expect(Self.error("{{ {}.a.b }}") == .undefined(line: 1, message: "'dict object' has no attribute 'a'"))
        #expect(Self.error("{{ f() }}") == .undefined(line: 1, message: "'f' is undefined"))
        #expect(Self.error("{{ raise_exception('no') }}") == .raised(message: "no"))
        for name in ["append", "pop", "clear"] {
            #expect(Self.error("{{ [1].\(name)(2) }}") == .forbidden(line: 1, message: "access to attribute '\(name)' of 'list' object is unsafe"))
        }
        for source in [
            "{{ 'a' + 1 }}", "{{ 1 + none }}", "{{ 1 < 'a' }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{% for x in 3 %}{% endfor %}", "{{ 1() }}", "{{ [] - 1 }}",
            "{{ 9223372036854775807 + 1 }}", "{{ (0 - 9223372036854775807 - 1) // -1 }}", "{{ 2 ** 64 }}", "{{ 5|length }}", "{{ ''.split('') }}",
            "{{ [1][::0] }}", "{{ range(1, 2, 0) }}", "{% set a.b = 1 %}", "{% set a, b = [1] %}", "{{ {[]: 1} }}", "{{ x|tojson }}", "{{ 'a'.join([1]) }}",
            "{{ 1 is divisibleby 0 }}", "{{ '{'.format() }}", "{{ '%d' % 'x' }}", "{{ '%s' % () }}", "{{ '%' % 1 }}", "{{ [1]|batch(0) }}",
            "{% for x in [1] %}{{ loop([]) }}{% endfor %}", "{% macro f() %}{% endmacro %}{{ f(1) }}", "{{ 'a' in 3 }}", "{{ 3 in 'a' }}", "{{ none|items }}",
        ] {
            if case .invalid? = Self.error(source) { continue }
            Issue.record("\(source): \(String(describing: Self.error(source)))")
        }
    }

    @Test("hostile templates end with a limit", arguments: [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{{ range(1000000000) }}", "{{ 'a' * 100000000000 }}", "{{ [0] * 9223372036854775807 }}", "{{ 100000000000 * 'ab' }}",
        "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
        "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s == n.s|list }}{{ n.s|tojson }}",
        "{% set n = namespace(s=[]) %}{% for i in range(100000) %}{% set n.s = [n.s] %}{% endfor %}",
        "{% set n = namespace(s={}) %}{% for i in range(100000) %}{% set n.s = {'a': n.s} %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in ['a'] recursive %}{{ loop(['a']) }}{% endfor %}",
        "{% for a in range(1000) %}{{ 'aaaaaaaaaa' * 100000 }}{% endfor %}", "{{ 'a'.center(9223372036854775807) }}{{ 'a'.zfill(9223372036854775807) }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}", "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}", "{{ 'a\\nb'|indent(9223372036854775807) }}",
        "{{ ([''] * 1000000)|join('a' * 1000000) }}", "{{ ('a' * 1000000).join([''] * 1000000) }}", "{{ [1]|batch(9223372036854775807, 0) }}",
        "{{ [1]|slice(9223372036854775807) }}", "{{ {'a': 1}|tojson(indent=9223372036854775807) }}", "{% set s = '%s' * 10000 %}{{ s % ([('a' * 1000000)] * 10000) }}",
        "{{ (['a' * 100000] * 100000)|map('upper')|list }}", "{{ [range(100000)] * 100000 }}",
    ])
    func limits(source: String) {
        var limits = TemplateLimits()
        limits.steps = 1_000_000
        limits.outputBytes = 1 << 20
        switch Self.error(source, limits: limits) {
        case .limit, .invalid: break
        default: Issue.record("\(source): \(String(describing: Self.error(source, limits: limits)))")
        }
    }

    @Test("nesting is bounded in sources and in data") func nesting() {
        func repeated(_ open: String, _ middle: String, _ close: String) -> String {
            "{{ " + String(repeating: open, count: 50_000) + middle + String(repeating: close, count: 50_000) + " }}"
        }
        for source in [
            repeated("(", "1", ")"), repeated("[", "", "]"), repeated("not ", "1", ""), repeated("-", "1", ""), repeated("1 + ", "1", ""),
            repeated("", "x", ".a"), repeated("", "x", "|trim"), repeated("", "x", "[0]"), repeated("1 if 1 else ", "1", ""), repeated("{1: ", "1", "}"),
            repeated("", "x", " is defined"), repeated("", "f", "()"),
            String(repeating: "{% if 1 %}", count: 50_000), String(repeating: "{% for x in y %}", count: 50_000), "{% for " + String(repeating: "(", count: 50_000) + "x" + String(repeating: ")", count: 50_000) + " in y %}{% endfor %}",
        ] {
            if case .limit? = Self.error(source) { continue }
            Issue.record("\(source.prefix(30)): \(String(describing: Self.error(source)).prefix(200))")
        }
        var deep: JSON = []
        for _ in 0..<250 { deep = [deep] }
        #expect(Self.error("{{ x }}", ["x": deep]) == .limit(line: 0, quantity: "levels of nesting in the data", limit: 200))
        // Many branches and long texts are no nesting.
        #expect((try? Self.render("{% if 0 %}" + String(repeating: "{% elif 0 %}", count: 5_000) + "{% else %}x{% endif %}")) == "x")
    }

    @Test("messages end with what to do or with the fact") func messages() {
        let all: [TemplateError] = [
            .syntax(line: 1, found: "a", expected: "b"), .unsupported(line: 1, feature: "f", found: "g"), .undefined(line: 1, message: "m"),
            .invalid(line: 1, message: "m"), .raised(message: "m"), .forbidden(line: 1, message: "m"), .limit(line: 1, quantity: "q", limit: 2),
            .notPrefixPreserving(turn: 1, rendered: "a", found: "b"),
        ]
        for error in all { #expect(error.description.contains("template"), "\(error)") }
    }
}
