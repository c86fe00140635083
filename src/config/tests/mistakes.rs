//! What is said of files that are wrong in one way, and the remedy that it names.

use super::problems;

/// Files that are wrong in one way, and what is said of that.
const MISTAKES: &[(&str, &str)] = &[
    ("a: [", "remuda.yaml:2: is not valid YAML: "),
    (
        "a: 1\na: 2",
        "is not valid YAML: duplicate entry with key \"a\"",
    ),
    (
        "- a",
        "remuda.yaml: expected a mapping with the keys server, providers",
    ),
    (
        "server:\n  max_header: 2MiB",
        "remuda.yaml:2: server.max_header: expected 1024 to 1048575 bytes",
    ),
    (
        "providers:\n  - kind: ollama",
        "remuda.yaml:2: providers[0]: has no name",
    ),
    ("providers:\n  - name: a b", "expected a name of up to 64"),
    (
        "providers:\n  - name: a",
        "remuda.yaml:2: providers[0]: has no backends; add discover",
    ),
    (
        "providers:\n  -\n  - name: a",
        "remuda.yaml:2: providers[0]: is empty; remove it",
    ),
    (
        "providers:\n  - name: a\n    kind: opnai",
        "remuda.yaml:3: providers[0].kind: did you mean \"openai\"? Expected one of ollama, openai, \
         openai_compatible, anthropic, google, azure, bedrock, openrouter, perplexity, got \"opnai\"",
    ),
    (
        "providers: [ { name: a, base_url: 'https://api.openai.com/v1' } ]",
        "providers[0]: has no key, which the kind openai needs; add api_key or api_key_file, or set \
         OPENAI_API_KEY",
    ),
    (
        "providers: [ { name: gemini } ]",
        "or set GOOGLE_API_KEY or GEMINI_API_KEY",
    ),
    (
        "providers: [ { name: azure, api_key: x } ]",
        "providers[0]: has no address; add base_url",
    ),
    (
        "providers: [ { name: bedrock } ]",
        "providers[0]: has no credentials; add access_key and secret_key, or api_key",
    ),
    (
        "providers: [ { name: bedrock, access_key: x } ]",
        "providers[0].access_key: is stated without secret_key; add it",
    ),
    (
        "providers: [ { name: bedrock, api_key: x, region: 'us east' } ]",
        "providers[0].region: expected a region such as us-east-1, got \"us east\"",
    ),
    (
        "providers: [ { name: a, kind: openai_compatible, base_url: 'gpu1:8000/v1' } ]",
        "providers[0].base_url: has no scheme; begin it with https:// or http://",
    ),
    (
        "providers: [ { name: a, kind: ollama, base_url: 'http://gpu1/ollama' } ]",
        "providers[0].base_url: expected an address without a path",
    ),
    (
        "providers: [ { name: openai, api_key: x, base_url: 'https://api.openai.com/v1/chat/completions' } ]",
        "leave /chat/completions off",
    ),
    (
        "providers: [ { name: a, kind: openai, api_key: x, discover: { ports: 5 } } ]",
        "providers[0].discover: finds Ollama servers only; openai has a base_url",
    ),
    (
        "providers:\n  - name: groq\n    model_map:\n      a: b\n      c: d e\n      f:\n",
        "remuda.yaml:5: providers[0].model_map.c: expected a model's name, without spaces, got \"d e\"",
    ),
    (
        "providers:\n  - name: groq\n    model_map:\n      a: b\n      f:\n",
        "remuda.yaml:5: providers[0].model_map.f: is empty; give it a value or remove it",
    ),
    (
        "providers:\n  - name: groq\n    models:\n      - a\n      - [b]\n",
        "remuda.yaml:5: providers[0].models[1]: expected a model's name, without spaces, got a list",
    ),
    (
        "providers: [ { name: groq, headers: { a b: c } } ]",
        "providers[0].headers.a b: is no name of a header field",
    ),
    (
        "providers: [ { name: groq, headers: { Content-Length: 5 } } ]",
        "providers[0].headers.Content-Length: is written for each request; remove it",
    ),
    (
        "providers: [ { name: groq, headers: { Authorization: Bearer x } } ]",
        "providers[0].headers.Authorization: is a credential; move it to api_key",
    ),
    (
        "routing: { models_file: /nonexistent }",
        "routing.models_file: cannot read /nonexistent: ",
    ),
    (
        "routing: { fidelity: strickt }",
        "did you mean \"strict\"? Expected one of lenient, strict, got \"strickt\"",
    ),
    (
        "providers: [ { name: a, discover: { interval: 1 }, interval: 2 } ]",
        "providers[0].interval: is stated here and under discover",
    ),
    (
        "providers: [ { name: a, discover: { ports: 11000-12000 } } ]",
        "the gateway's own address",
    ),
    (
        "providers: [ { name: a, backends: [ localhost ] } ]",
        "localhost:11434 is the gateway's own address",
    ),
    (
        "providers: [ { name: a, backends: [ b ], api_key: x, api_key_file: y } ]",
        "api_key_file: is stated together with api_key",
    ),
    (
        "providers: [ { name: a, backends: [ b ], api_key_file: /nonexistent } ]",
        "api_key_file: cannot read /nonexistent: ",
    ),
    (
        "providers: [ { name: a, backends: [ b ], pool: { ca_file: /nonexistent } } ]",
        "pool.ca_file: cannot read /nonexistent: ",
    ),
    (
        "keys:\n  - { name: a, key: 0123456789abcdef }\n  - { name: A, key: fedcba9876543210 }",
        "remuda.yaml:3: keys[1].name: a key named \"A\" is already there; choose another name",
    ),
    (
        "keys:\n  - { name: a, key: 0123456789abcdef }\n  - { name: b, key: 0123456789abcdef }",
        "remuda.yaml:3: keys[1]: has the credential of another key",
    ),
    (
        "keys: [ { name: a } ]",
        "keys[0]: has no credential; `remuda key` makes one",
    ),
    (
        "keys: [ { name: a, key: '***' } ]",
        "keys[0].key: is a mask, not a key",
    ),
    (
        "keys: [ { name: a, key: 0123456789abcdef, key_file: x } ]",
        "keys[0]: has several credentials; keep one",
    ),
    (
        "keys: [ { name: a, key_sha256: abc } ]",
        "keys[0].key_sha256: expected the 64 hexadecimal digits of a SHA-256",
    ),
    (
        "keys: [ { name: a, key: 0123456789abcdef, providers: [nobody] } ]",
        "keys[0].providers: names \"nobody\", and no provider is called so",
    ),
    (
        "keys: [ { name: a, key: 0123456789abcdef, budget: { per: day } } ]",
        "keys[0].budget.usd: is missing",
    ),
    ("shared: { prefix: x }", "shared.url: is missing"),
    (
        "shared: { url: 'http://x' }",
        "shared.url: expected an address such as redis://",
    ),
    (
        "server: { allow: [10.0.0.0/40] }",
        "server.allow[0]: expected an address or a network such as 10.0.0.0/8",
    ),
    (
        "server: { listen: \"${\" }",
        "server.listen: ${ without its closing }",
    ),
    (
        "x: 99999999999999999999",
        "remuda.yaml:1: holds a number beyond 64 bits",
    ),
];

#[test]
fn single_mistakes_and_their_remedies() {
    for (yaml, wanted) in MISTAKES {
        let found = problems(yaml);
        assert!(
            found.iter().any(|problem| problem.contains(wanted)),
            "{yaml}: {found:?}"
        );
    }
}
