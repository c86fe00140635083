//! The bundled rules: where a name that many know goes, as long as the operator says nothing else. Newest families last
//! within their maker; of several rules for one name, the first whose provider is there holds.

use super::pattern::Pattern;
use super::rule::Rule;
use crate::settings::Matching;

/// Provider (a name or a kind), and the patterns of the models that are its own.
const RULES: &[(&str, &[&str])] = &[
    (
        "bedrock",
        &[
            "anthropic.claude*",
            "amazon.titan*",
            "amazon.nova*",
            "meta.llama*",
            "mistral.*",
            "cohere.*",
            "ai21.*",
            "stability.*",
            "deepseek.*",
            "openai.gpt-oss*",
            "qwen.*",
            "us.*.*",
            "us-gov.*.*",
            "eu.*.*",
            "apac.*.*",
            "jp.*.*",
            "au.*.*",
            "global.*.*",
            "arn:aws*:bedrock:*",
        ],
    ),
    // Open weights under a name that begins like OpenAI's own.
    ("ollama", &["gpt-oss*"]),
    (
        "openai",
        &[
            "gpt-3.5*",
            "gpt-4*",
            "gpt-5*",
            "gpt-6*",
            "gpt-audio*",
            "gpt-image*",
            "gpt-realtime*",
            "chatgpt-*",
            "o1*",
            "o3*",
            "o4*",
            "codex-*",
            "computer-use-*",
            "text-davinci*",
            "davinci-*",
            "babbage-*",
            "text-embedding-ada*",
            "text-embedding-3*",
            "dall-e*",
            "whisper-1",
            "tts-1*",
            "omni-moderation*",
        ],
    ),
    (
        "anthropic",
        &["claude-instant*", "claude-2*", "claude-3*", "claude-*"],
    ),
    (
        "google",
        &[
            "palm*",
            "bison*",
            "text-bison*",
            "chat-bison*",
            "gemini*",
            "text-embedding-004",
            "text-embedding-005",
            "text-multilingual-embedding*",
            "imagen*",
            "veo-*",
            "learnlm*",
        ],
    ),
    ("perplexity", &["sonar*", "r1-1776"]),
    (
        "ollama",
        &[
            "llama*",
            "mistral*",
            "codellama*",
            "vicuna*",
            "alpaca*",
            "qwen*",
            "qwq*",
            "gemma*",
            "codegemma*",
            "deepseek*",
            "phi*",
            "mixtral*",
            "codestral*",
            "devstral*",
            "magistral*",
            "ministral*",
            "command-r*",
            "command-a*",
            "granite*",
            "smollm*",
            "olmo*",
            "starcoder*",
            "nomic-embed*",
            "mxbai-embed*",
            "all-minilm*",
            "bge-*",
            "snowflake-arctic*",
            "llava*",
            "moondream*",
            "minicpm*",
            "falcon*",
            "yi*",
            "hermes*",
            "nemotron*",
            "glm*",
            "kimi*",
        ],
    ),
    // The makers' own services, where no server has the model.
    ("deepseek", &["deepseek*"]),
    (
        "mistral",
        &[
            "mistral*",
            "open-mistral*",
            "open-mixtral*",
            "codestral*",
            "devstral*",
            "magistral*",
            "ministral*",
            "pixtral*",
            "voxtral*",
        ],
    ),
    ("xai", &["grok*"]),
    ("groq", &["llama-*-versatile", "llama-*-instant"]),
];

/// Returns the bundled rules in their order.
pub(super) fn rules() -> Vec<Rule> {
    // The deployment's name stands before the address of the resource.
    let text = r"([^@]+)@[^@]+\.openai\.azure\.com";
    let azure = Rule {
        written: "*@*.openai.azure.com".into(),
        pattern: Pattern::new(&Matching::Regex(text.into()))
            .expect("the bundled expression is read in a test"),
        provider: "azure".into(),
        model: Some("$1".into()),
        at_resource: true,
        is_bundled: true,
    };
    let others = RULES.iter().flat_map(|(provider, patterns)| {
        patterns.iter().map(move |pattern| Rule {
            written: (*pattern).into(),
            pattern: Pattern::glob(pattern),
            provider: (*provider).into(),
            model: None,
            at_resource: false,
            is_bundled: true,
        })
    });
    std::iter::once(azure).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::super::pattern::folded;
    use super::*;

    /// Providers to which the rules send a name, in their order.
    fn providers(name: &str) -> Vec<String> {
        let name = folded(name);
        let rules = rules();
        let matching = rules.iter().filter(|rule| rule.pattern.matches(&name));
        let mut providers: Vec<_> = matching.map(|rule| rule.provider.to_string()).collect();
        providers.dedup();
        providers
    }

    #[test]
    fn families_go_to_their_makers() {
        for (name, first) in [
            ("my-gpt@res.openai.azure.com", "azure"),
            ("anthropic.claude-3-haiku-20240307-v1:0", "bedrock"),
            ("amazon.titan-text-express-v1", "bedrock"),
            ("meta.llama3-70b-instruct-v1:0", "bedrock"),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock"),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/x", "bedrock"),
            ("gpt-4", "openai"),
            ("GPT-4o-mini", "openai"),
            ("gpt-3.5-turbo", "openai"),
            ("gpt-5.4-mini", "openai"),
            ("o1", "openai"),
            ("o3-mini", "openai"),
            ("text-embedding-ada-002", "openai"),
            ("text-embedding-3-small", "openai"),
            ("claude-3-opus-20240229", "anthropic"),
            ("claude-2.1", "anthropic"),
            ("claude-instant-1.2", "anthropic"),
            ("claude-opus-5", "anthropic"),
            ("gemini-2.5-flash", "google"),
            ("palm-2", "google"),
            ("bison-001", "google"),
            ("sonar-pro", "perplexity"),
            ("llama3.2", "ollama"),
            ("mistral-nemo", "ollama"),
            ("codellama:7b", "ollama"),
            ("qwen3:8b", "ollama"),
            ("gemma3", "ollama"),
            ("phi4", "ollama"),
            ("gpt-oss:20b", "ollama"),
            ("grok-4", "xai"),
        ] {
            assert_eq!(
                providers(name).first().map(String::as_str),
                Some(first),
                "{name}"
            );
        }
        assert_eq!(providers("deepseek-r1"), ["ollama", "deepseek"]);
        assert_eq!(providers("mistral-large-latest"), ["ollama", "mistral"]);
        assert!(providers("my-gpt-4").is_empty());
        assert!(providers("no-such-model").is_empty());
    }

    #[test]
    fn the_deployment_stands_before_the_resource() {
        let rules = rules();
        let name = "my-gpt@res.openai.azure.com";
        assert_eq!(rules[0].own(name).as_deref(), Some("my-gpt"));
        assert_eq!(rules[1].own(name), None);
    }
}
