//! The bundled file against the reference it was written from, and files that are refused.

use super::*;
use crate::ir::{self, Thinking};
use EffortLevel::{High, Low, Max, Medium, Minimal, None as Off, Xhigh};
use Parameter::*;
use ProviderKind::{
    Anthropic, Azure, Bedrock, Google, Ollama, OpenAi, OpenAiCompatible, OpenRouter, Perplexity,
};

const SAMPLING: [Parameter; 3] = [Temperature, TopP, Logprobs];
const PENALTIES: [Parameter; 2] = [PresencePenalty, FrequencyPenalty];

fn refused(facts: &ModelFacts, parameters: &[Parameter], ask: ReasoningSetting) -> bool {
    let refused = |parameter: &&Parameter| facts.refuses(**parameter, ask);
    let count = parameters.iter().filter(refused).count();
    assert!(count == 0 || count == parameters.len(), "{facts:?}");
    count > 0
}

#[test]
fn every_entry_is_found_and_every_alias_has_one() {
    let facts = Facts::bundled();
    assert!(facts.files[0].entries.len() > 80);
    let kinds = ProviderKind::NAMES;
    for (alias, target) in facts.aliases() {
        assert_eq!(
            facts.alias(&format!(" {}:latest", alias.to_uppercase())),
            Some(target)
        );
        let (provider, model) = target.split_once('/').unwrap();
        let kind = kinds.iter().find(|(name, _)| *name == provider);
        let kind = kind.map_or(OpenAiCompatible, |(_, kind)| *kind);
        let found = facts.find(kind, model);
        assert!(!found.family.is_empty() && found.price.is_some(), "{alias}");
        assert!(
            found.retires.is_none(),
            "{alias} stands for a model that ends"
        );
    }
    assert_eq!(facts.alias("nobody"), None);
}

/// OpenAI's reasoning models refuse sampling parameters (https://platform.openai.com/docs/guides/reasoning).
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn openai_reasoning_models_refuse_what_is_written_of_them() {
    let facts = Facts::bundled();
    let find = |name| facts.find(OpenAi, name);
    for name in [
        "o1",
        "o3-mini",
        "o4-mini-2025-04-16",
        "o3",
        "gpt-5",
        "gpt-5-mini",
        "gpt-5.1",
        "gpt-5.4-mini",
        "gpt-5.5",
        "gpt-5.6-terra",
        "gpt-6-astra",
        "gpt-6-sol",
        "gpt-6.1-terra",
        "gpt-7",
    ] {
        let found = find(name);
        assert!(
            found.refuses(MaxTokens, ReasoningSetting::Nothing),
            "{name}"
        );
        assert!(
            refused(found, &PENALTIES, ReasoningSetting::Effort(Off)),
            "{name}"
        );
        assert!(
            refused(found, &SAMPLING, ReasoningSetting::Effort(High)),
            "{name}"
        );
    }
    for (name, parallel, stop) in [
        ("o1", true, false),
        ("o3-mini", true, false),
        ("o3", true, true),
        ("o4-mini", true, true),
        ("gpt-5", false, true),
        ("gpt-5.4", false, true),
    ] {
        assert_eq!(
            find(name).refuses(ParallelToolCalls, ReasoningSetting::Nothing),
            parallel,
            "{name}"
        );
        assert_eq!(
            find(name).refuses(Stop, ReasoningSetting::Nothing),
            stop,
            "{name}"
        );
    }
    // (name, sampling refused when nothing is said, and when told not to reason)
    for (name, by_default, off) in [
        ("gpt-5", true, true),
        ("gpt-5-2025-08-07", true, true),
        ("gpt-5.1", false, false),
        ("gpt-5.2-2025-12-11", false, false),
        ("gpt-5.4", false, false),
        ("gpt-5.5", true, false),
        ("gpt-5.6-sol", true, false),
        ("gpt-6-sol", true, false),
        ("gpt-6-luna", true, false),
        ("gpt-6.1-terra", true, false),
        ("gpt-6-astra", true, true),
        ("gpt-6.1-sol", true, true),
        ("gpt-4o", false, false),
        ("gpt-4.1-mini", false, false),
    ] {
        assert_eq!(
            refused(find(name), &SAMPLING, ReasoningSetting::Nothing),
            by_default,
            "{name}"
        );
        assert_eq!(
            refused(find(name), &SAMPLING, ReasoningSetting::Effort(Off)),
            off,
            "{name}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn an_effort_becomes_the_nearest_legal_one() {
    let facts = Facts::bundled();
    for (kind, name, expected) in [
        // What none, minimal, low, medium, high, xhigh and max become.
        (OpenAi, "o3", [Low, Low, Low, Medium, High, High, High]),
        (
            OpenAi,
            "gpt-5",
            [Minimal, Minimal, Low, Medium, High, High, High],
        ),
        (OpenAi, "gpt-5.1", [Off, Low, Low, Medium, High, High, High]),
        (
            Azure,
            "gpt-5.4",
            [Off, Low, Low, Medium, High, Xhigh, Xhigh],
        ),
        (
            OpenRouter,
            "openai/gpt-6-sol",
            [Off, Low, Low, Medium, High, Xhigh, Max],
        ),
        (
            OpenAi,
            "gpt-6-astra",
            [Low, Low, Low, Medium, High, Xhigh, Max],
        ),
        (OpenAi, "gpt-5-pro", [High; 7]),
        (
            Google,
            "models/gemini-3.5-flash",
            [Minimal, Minimal, Low, Medium, High, High, High],
        ),
        (
            Google,
            "gemini-4-argon",
            [Low, Low, Low, Medium, High, High, High],
        ),
        (
            Anthropic,
            "claude-opus-5-5",
            [Low, Low, Low, Medium, High, Xhigh, Max],
        ),
        (
            Anthropic,
            "claude-opus-4-6",
            [Low, Low, Low, Medium, High, High, Max],
        ),
        (
            OpenAiCompatible,
            "anything",
            [Off, Minimal, Low, Medium, High, Xhigh, Max],
        ),
    ] {
        let found = facts.find(kind, name);
        assert_eq!(
            EffortLevel::ALL.map(|effort| found.effort_for(effort)),
            expected.map(Some),
            "{name}"
        );
    }
    for (kind, name) in [
        (OpenAi, "gpt-4o"),
        (Anthropic, "claude-haiku-4-5"),
        (Google, "gemini-2.5-pro"),
        (OpenAiCompatible, "deepseek-v4-pro"),
    ] {
        assert_eq!(
            facts.find(kind, name).effort_for(High),
            Option::None,
            "{name}"
        );
    }
}

#[test]
fn a_budget_stays_within_what_is_legal() {
    let facts = Facts::bundled();
    for (kind, name, expected) in [
        (
            Anthropic,
            "claude-haiku-4-5",
            [0, 1024, 1024, 2048, 4096, 8192, 63_999],
        ),
        (
            Bedrock,
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            [0, 1024, 1024, 2048, 4096, 8192, 63_999],
        ),
        (
            Google,
            "gemini-2.5-pro",
            [128, 128, 1024, 8192, 24_576, 32_768, 32_768],
        ),
        (
            Google,
            "gemini-2.5-flash",
            [0, 1, 1024, 8192, 24_576, 24_576, 24_576],
        ),
        (
            Google,
            "gemini-2.5-flash-lite-preview-09-2025",
            [0, 512, 1024, 8192, 24_576, 24_576, 24_576],
        ),
    ] {
        let found = facts.find(kind, name);
        assert_eq!(
            EffortLevel::ALL.map(|effort| found.budget_for(effort)),
            expected.map(Some),
            "{name}"
        );
    }
    assert_eq!(
        facts.find(Anthropic, "claude-opus-5").budget_for(High),
        Option::None
    );
    for effort in [Off, Low, Medium, High] {
        let budget = facts
            .find(Anthropic, "claude-haiku-4-5")
            .budget_for(effort)
            .unwrap();
        assert_eq!(EffortLevel::of_budget(budget), effort);
    }
}

#[test]
fn tools_go_where_the_model_takes_them() {
    let facts = Facts::bundled();
    // (name, without tools, tools and nothing said, tools and told not to reason)
    for (name, plain, by_default, off) in [
        ("gpt-5", false, false, false),
        ("gpt-5.2", false, false, false),
        ("gpt-5.4", false, false, false),
        ("gpt-5.6-luna", false, true, false),
        ("gpt-6-sol", false, true, false),
        ("gpt-6-astra", false, true, true),
        ("gpt-6.1-sol", false, true, true),
        ("gpt-5-pro", true, true, true),
        ("gpt-5.4-pro-2026-03-05", true, true, true),
        ("gpt-5.1-codex-mini", true, true, true),
        ("o3-pro", true, true, true),
        ("gpt-4o", false, false, false),
    ] {
        let found = facts.find(OpenAi, name);
        assert_eq!(
            found.needs_responses(false, ReasoningSetting::Nothing),
            plain,
            "{name}"
        );
        assert_eq!(
            found.needs_responses(true, ReasoningSetting::Nothing),
            by_default,
            "{name}"
        );
        assert_eq!(
            found.needs_responses(true, ReasoningSetting::Effort(Off)),
            off,
            "{name}"
        );
    }
    assert!(
        facts
            .find(OpenAi, "gpt-5.4")
            .needs_responses(true, ReasoningSetting::Effort(High))
    );
}

/// Claude models that think refuse some parameters
/// (https://docs.claude.com/en/docs/build-with-claude/extended-thinking).
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn claude_models_refuse_what_is_written_of_them() {
    let facts = Facts::bundled();
    use ReasoningControl::{Adaptive, Budget};
    // (name, sampling refused, form, can be switched off, forced tool choice refused: ever, while thinking; prefill)
    for (name, sampling, form, off, forced, forced_thinking, prefill) in [
        (
            "claude-3-7-sonnet-20250219",
            false,
            Budget,
            true,
            false,
            true,
            false,
        ),
        (
            "claude-sonnet-4-20250514",
            false,
            Budget,
            true,
            false,
            true,
            false,
        ),
        ("claude-haiku-4-5", false, Budget, true, false, true, false),
        (
            "claude-sonnet-4-5-20250929",
            false,
            Budget,
            true,
            false,
            true,
            false,
        ),
        (
            "claude-opus-4-5@20251101",
            false,
            Budget,
            true,
            false,
            true,
            false,
        ),
        ("claude-opus-4-6", false, Adaptive, true, false, true, true),
        (
            "claude-sonnet-4-6",
            false,
            Adaptive,
            true,
            false,
            true,
            true,
        ),
        ("claude-opus-4-7", true, Adaptive, true, false, false, true),
        ("claude-opus-4-8", true, Adaptive, true, false, false, true),
        ("claude-opus-5", true, Adaptive, true, false, false, true),
        (
            "claude-sonnet-5-20260601",
            true,
            Adaptive,
            true,
            false,
            false,
            true,
        ),
        ("claude-haiku-5-5", true, Adaptive, true, false, false, true),
        ("claude-fable-5", true, Adaptive, false, false, false, true),
        ("claude-mythos-5", true, Adaptive, false, false, false, true),
        ("claude-opus-5-5", true, Adaptive, false, true, true, true),
        (
            "claude-sonnet-5-5-20260928",
            true,
            Adaptive,
            false,
            true,
            true,
            true,
        ),
        ("claude-fable-5-1", true, Adaptive, false, true, true, true),
        ("claude-mythos-5-1", true, Adaptive, false, true, true, true),
        ("claude-opus-6", true, Adaptive, false, true, true, true),
    ] {
        for written in [
            name.to_owned(),
            format!("anthropic/{}", name.replacen("-5-5", "-5.5", 1)),
            format!("eu.anthropic.{name}-v1:0"),
        ] {
            let found = facts.find(Anthropic, &written);
            assert_eq!(
                found.refuses(Temperature, ReasoningSetting::Nothing),
                sampling,
                "{written}"
            );
            assert_eq!(
                found.refuses(TopK, ReasoningSetting::Effort(Off)),
                sampling || !off,
                "{written}"
            );
            assert_eq!(found.reasoning.form, form, "{written}");
            assert_eq!(found.reasoning.off, off, "{written}");
            assert_eq!(
                found.refuses(ForcedToolChoice, ReasoningSetting::Nothing),
                forced,
                "{written}"
            );
            assert_eq!(
                found.refuses(ForcedToolChoice, ReasoningSetting::Effort(High)),
                forced_thinking,
                "{written}"
            );
            assert_eq!(
                found.refuses(Prefill, ReasoningSetting::Effort(Off)),
                prefill,
                "{written}"
            );
            assert_eq!(&*found.family, "claude");
        }
    }
    assert!(
        facts
            .find(Anthropic, "claude-haiku-4-5")
            .refuses(Temperature, ReasoningSetting::Effort(Low))
    );
    assert_eq!(
        facts
            .find(Anthropic, "claude-3-5-haiku-20241022")
            .reasoning
            .form,
        ReasoningControl::Never
    );
    assert!(
        facts
            .find(Anthropic, "claude-opus-4-6")
            .reasoning
            .budget
            .is_some()
    );
}

#[test]
fn gemini_thinks_by_budget_or_by_level_by_its_generation() {
    let facts = Facts::bundled();
    for (name, form, off) in [
        ("gemini-2.0-flash", ReasoningControl::Never, true),
        ("gemini-2.5-pro", ReasoningControl::Budget, false),
        (
            "gemini-2.5-flash-preview-09-2025",
            ReasoningControl::Budget,
            true,
        ),
        ("gemini-3-pro-preview", ReasoningControl::Effort, false),
        ("gemini-3.8-flash", ReasoningControl::Effort, false),
        ("gemini-4-argon", ReasoningControl::Effort, false),
        ("models/gemini-5-flash", ReasoningControl::Effort, false),
        ("gemini-pro-latest", ReasoningControl::Effort, false),
        ("gemini-3-pro-image-preview", ReasoningControl::Never, true),
    ] {
        let found = facts.find(Google, name);
        assert_eq!(
            (found.reasoning.form, found.reasoning.off),
            (form, off),
            "{name}"
        );
    }
}

#[test]
fn prices_and_sizes_are_those_of_the_list() {
    let facts = Facts::bundled();
    for (kind, name, price, context) in [
        (Anthropic, "claude-opus-5-5", "4/20 (0.2)", 1_000_000),
        (Anthropic, "claude-haiku-5-5", "0.1/0.5 (0.01)", 1_000_000),
        (Anthropic, "claude-fable-5-1", "10/50 (0.25)", 1_000_000),
        (Anthropic, "claude-opus-4-8", "5/25 (0.5)", 1_000_000),
        (Anthropic, "claude-opus-4-5", "5/25 (0.5)", 200_000),
        (Anthropic, "claude-sonnet-4-6", "3/15 (0.3)", 1_000_000),
        (OpenAi, "gpt-6-astra", "10/50 (1)", 922_000),
        (OpenAi, "gpt-6.1-terra", "1/5 (0.05)", 922_000),
        (OpenAi, "gpt-5.6-luna", "0.2/1.2 (0.02)", 922_000),
        (OpenAi, "gpt-5.4-mini", "0.75/4.5 (-)", 272_000),
        (OpenAi, "gpt-5.5", "5/30 (0.5)", 1_050_000),
        (OpenAi, "gpt-5-nano", "- (-)", 272_000),
        (OpenAi, "gpt-4o-mini", "0.15/0.6 (0.075)", 128_000),
        (OpenAi, "text-embedding-3-large", "0.13/0 (-)", 8_191),
        (Google, "gemini-3.7-flash", "0.75/3.75 (0.075)", 1_048_576),
        (Google, "gemini-embedding-2", "0.2/0 (-)", 8_192),
        (
            Bedrock,
            "us.amazon.nova-micro-v1:0",
            "0.035/0.14 (-)",
            128_000,
        ),
        (
            Bedrock,
            "amazon.nova-premier-v1:0",
            "2.5/12.5 (-)",
            1_000_000,
        ),
        (Bedrock, "amazon.titan-embed-text-v2:0", "0.02/0 (-)", 8_192),
        (Bedrock, "cohere.embed-english-v3", "0.1/0 (-)", 512),
        (Bedrock, "cohere.embed-v4:0", "0.12/0 (-)", 128_000),
        (
            OpenAiCompatible,
            "deepseek-v4-pro",
            "1.32/3.96 (0.044)",
            1_000_000,
        ),
    ] {
        let found = facts.find(kind, name);
        let shown = found.price.as_ref().map_or("-".to_owned(), |price| {
            format!("{}/{}", price.base.input, price.base.output)
        });
        let cached = found.price.as_ref().and_then(|price| price.base.cached);
        let cached = cached.map_or("-".to_owned(), |cached| cached.to_string());
        assert_eq!(format!("{shown} ({cached})"), price, "{name}");
        assert_eq!(found.context, Some(context), "{name}");
    }
    let sonar = facts
        .find(Perplexity, "perplexity/sonar")
        .price
        .as_ref()
        .unwrap();
    assert_eq!(
        sonar.base.cached.unwrap().times(1_000_000),
        62_500_000_000_000
    );
}

#[test]
fn a_long_prompt_is_billed_by_its_tier() {
    let facts = Facts::bundled();
    let price = |kind, name| facts.find(kind, name).price.clone().unwrap();
    for (kind, name, step, output) in [
        (Google, "gemini-2.5-pro", 200_000, ["10", "15"]),
        (OpenAi, "gpt-6-sol", 272_000, ["10", "15"]),
        (Anthropic, "claude-haiku-5-5", 100_000, ["0.5", "2.5"]),
    ] {
        let price = price(kind, name);
        assert_eq!(price.rates(step).output.to_string(), output[0], "{name}");
        assert_eq!(
            price.rates(step + 1).output.to_string(),
            output[1],
            "{name}"
        );
    }
}

#[test]
fn models_end_on_their_day() {
    let facts = Facts::bundled();
    for (name, day) in [
        ("o1", Some("2026-10-23")),
        ("o3", Some("2026-12-11")),
        ("gpt-5", Some("2026-12-11")),
        ("gpt-5-nano", Option::None),
        ("gpt-4o-2024-08-06", Some("2027-01-14")),
        ("gpt-4.1-mini-2025-04-14", Some("2027-01-14")),
        ("gpt-4o", Option::None),
        ("gpt-6-sol", Option::None),
    ] {
        let retires = facts.find(OpenAi, name).retires;
        assert_eq!(retires.map(|day| day.to_string()).as_deref(), day, "{name}");
    }
}

#[test]
fn vectors_have_the_lengths_that_their_model_makes() {
    let facts = Facts::bundled();
    for (kind, name, allowed, refused) in [
        (
            OpenAi,
            "text-embedding-3-small",
            &[1536, 256, 1][..],
            &[1537, 0][..],
        ),
        (OpenAi, "text-embedding-ada-002", &[1536], &[256]),
        (
            Bedrock,
            "amazon.titan-embed-text-v2:0",
            &[1024, 512, 256],
            &[300, 1536],
        ),
        (Google, "gemini-embedding-001", &[3072, 768], &[4096]),
    ] {
        let vectors = facts.find(kind, name).embeddings.as_ref().unwrap();
        assert!(
            allowed.iter().all(|length| vectors.allows(*length)),
            "{name}"
        );
        assert!(
            !refused.iter().any(|length| vectors.allows(*length)),
            "{name}"
        );
    }
}

#[test]
fn an_unknown_model_may_do_everything() {
    let facts = Facts::bundled();
    for (kind, name) in [
        (OpenAiCompatible, "my-own"),
        (Ollama, "gpt-5"),
        (Ollama, "claude-next"),
        (Anthropic, "kimi-k3"),
        (Azure, "production"),
    ] {
        let found = facts.find(kind, name);
        assert_eq!(found, &ModelFacts::default(), "{name}");
        assert!(Capability::ALL.iter().all(|can| found.can(*can)));
        assert!(!found.refuses(Temperature, ReasoningSetting::Effort(High)));
        assert!(!found.needs_responses(true, ReasoningSetting::Effort(High)));
    }
    assert!(
        facts
            .find(Perplexity, "openai/unheard-of")
            .refuses(Stop, ReasoningSetting::Nothing)
    );
}

#[test]
fn the_operators_entries_go_first() {
    let extra = "
prefixes: [acme.]
aliases: {Claude: acme/own-model}
models:
  - {match: gpt-6-sol, like: gpt-6-sol, price: {rates: {input: 1.5, output: '0.000000001'}}}
  - {match: [prod-chat, 'prod-?'], like: gpt-5.4, kinds: [azure]}
  - {match: 'claude-opus-5-5*', context: 5}
";
    let facts = Facts::with(extra).unwrap();
    let sol = facts.find(OpenAi, "gpt-6-sol-2026-10-01");
    assert_eq!(sol.price.as_ref().unwrap().base.output.nanos(), 1);
    assert_eq!(sol.effort_for(Max), Some(Max));
    assert!(
        facts
            .find(Azure, "acme.prod-x")
            .needs_responses(true, ReasoningSetting::Effort(High))
    );
    assert_eq!(facts.find(OpenAi, "prod-chat"), &ModelFacts::default());
    let opus = facts.find(Bedrock, "us.anthropic.claude-opus-5-5-20260901-v1:0");
    assert_eq!((opus.context, &*opus.family), (Some(5), ""));
    assert_eq!(facts.alias("claude"), Some("acme/own-model"));
    assert_eq!(
        facts.find(Google, "gemini-4-argon").context,
        Some(1_048_576)
    );
    for empty in ["", "# nothing\n", "models: []"] {
        assert!(Facts::with(empty).is_ok());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn a_wrong_file_is_refused_with_its_line() {
    for (text, line, part) in [
        (
            "models:\n  - match: a\n    contxt: 5\n",
            3,
            "unknown field `contxt`",
        ),
        ("modles: []\n", 1, "unknown field `modles`"),
        ("models:\n  - {family: x}\n", 2, "missing field `match`"),
        (
            "models:\n  - match: a\n    refused: [temprature]\n",
            3,
            "temprature",
        ),
        (
            "models:\n  - match: a\n    kinds: [opnai]\n",
            3,
            "`opnai` is no kind",
        ),
        (
            "models:\n  - match: a\n    retires: soon\n",
            3,
            "`soon` is no day",
        ),
        (
            "models:\n  - match: a\n    price: {rates: {input: -1}}\n",
            3,
            "US dollars",
        ),
        (
            "models:\n  - match: a\n    price: {rates: {input: 1e-3, outpt: 1}}\n",
            3,
            "outpt",
        ),
        (
            "models:\n  - match: a\n    reasoning: {form: budget}\n",
            2,
            "needs a `budget`",
        ),
        (
            "models:\n  - match: a\n  - match: b\n    reasoning: {form: effort}\n",
            3,
            "`efforts` belong",
        ),
        (
            "models:\n  - match: a\n    like: nobody-has-this\n",
            3,
            "no entry below",
        ),
        (
            "models:\n  - match: gpt-x\n  - match: b\n    like: GPT-x\n",
            4,
            "has to be below",
        ),
        ("models:\n  - match: []\n", 2, "expected a name"),
        ("aliases:\n  a: b/c\n  a: b/d\n", 2, "twice"),
        ("aliases:\n  a: model\n", 2, "not provider/model"),
        ("models: [\n", 2, ""),
    ] {
        let problem = Facts::with(text).unwrap_err();
        assert!(problem.message.contains(part), "{text}: {problem}");
        assert_eq!(problem.line, Some(line), "{text}: {problem}");
        let shown = problem.to_string();
        assert!(shown.starts_with(&format!("line {line}: ")), "{shown}");
        assert!(!shown.contains(" at line "), "{shown}");
    }
}

#[test]
fn prices_are_exact() {
    for (text, nanos) in [
        ("0.0625", 62_500_000),
        ("20", 20_000_000_000),
        ("0.07", 70_000_000),
        ("0.000000001", 1),
    ] {
        let price = UsdPerMillion::parse(text).unwrap();
        assert_eq!((price.nanos(), price.to_string().as_str()), (nanos, text));
        let read: UsdPerMillion = serde_yaml::from_str(text).unwrap();
        assert_eq!(read, price);
    }
    for text in [
        "",
        ".5",
        "1.",
        "-1",
        "1e3",
        "0.0000000001",
        "99999999999999999999",
        " 1",
    ] {
        assert_eq!(UsdPerMillion::parse(text), Option::None, "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn what_a_client_wants_becomes_what_its_model_takes() {
    let facts = Facts::bundled();
    let wishes = [
        Thinking::Off,
        Thinking::On,
        Thinking::Effort(ir::Effort::Low),
        Thinking::Effort(ir::Effort::Max),
        Thinking::Budget(3000),
    ];
    use ReasoningSetting::{Automatic, Budget, Nothing};
    let effort = ReasoningSetting::Effort;
    let on = |effort| ReasoningSetting::On(Some(effort));
    for (kind, name, expected) in [
        (OpenAi, "gpt-4o", [Nothing; 5]),
        (
            OpenAi,
            "gpt-5",
            [
                effort(Minimal),
                Nothing,
                effort(Low),
                effort(High),
                effort(Medium),
            ],
        ),
        (
            OpenAi,
            "gpt-5.1",
            [
                effort(Off),
                effort(Medium),
                effort(Low),
                effort(High),
                effort(Medium),
            ],
        ),
        (
            Anthropic,
            "claude-haiku-4-5",
            [
                ReasoningSetting::Off,
                Budget(2048),
                Budget(1024),
                Budget(63_999),
                Budget(3000),
            ],
        ),
        (
            Anthropic,
            "claude-opus-4-6",
            [
                ReasoningSetting::Off,
                ReasoningSetting::On(Option::None),
                on(Low),
                on(Max),
                Budget(3000),
            ],
        ),
        (
            Anthropic,
            "claude-opus-5",
            [
                ReasoningSetting::Off,
                ReasoningSetting::On(Option::None),
                on(Low),
                on(Max),
                on(Medium),
            ],
        ),
        (
            Anthropic,
            "claude-opus-5-5",
            [
                Nothing,
                ReasoningSetting::On(Option::None),
                on(Low),
                on(Max),
                on(Medium),
            ],
        ),
        (
            Google,
            "gemini-2.5-pro",
            [
                Budget(128),
                Automatic,
                Budget(1024),
                Budget(32_768),
                Budget(3000),
            ],
        ),
        (
            Google,
            "gemini-2.5-flash",
            [
                ReasoningSetting::Off,
                Automatic,
                Budget(1024),
                Budget(24_576),
                Budget(3000),
            ],
        ),
        (
            Google,
            "gemini-3.1-pro-preview",
            [
                effort(Low),
                Nothing,
                effort(Low),
                effort(High),
                effort(Medium),
            ],
        ),
        (
            OpenAiCompatible,
            "deepseek-v4-flash",
            [
                ReasoningSetting::Off,
                ReasoningSetting::On(Option::None),
                on(Low),
                on(Max),
                on(Medium),
            ],
        ),
        (
            OpenAiCompatible,
            "anything",
            [
                ReasoningSetting::Off,
                ReasoningSetting::On(Option::None),
                effort(Low),
                effort(Max),
                Budget(3000),
            ],
        ),
    ] {
        let found = facts.find(kind, name);
        assert_eq!(wishes.map(|wish| found.ask(Some(wish))), expected, "{name}");
        assert_eq!(found.ask(Option::None), Nothing);
    }
}

#[test]
fn what_was_found_is_remembered_for_each_kind_and_within_bounds() {
    let facts = Facts::bundled();
    let known = facts.find(OpenAi, "gpt-5").clone();
    assert_ne!(known, ModelFacts::default());
    assert_eq!(*facts.find(Ollama, "gpt-5"), ModelFacts::default());
    assert_eq!(*facts.find(OpenAi, "gpt-5"), known);
    facts.find(OpenAi, &"x".repeat(LONGEST_REMEMBERED + 1));
    for number in 0..REMEMBERED + 8 {
        facts.find(OpenAi, &format!("unheard-of-{number}"));
    }
    let found = facts.found.read().unwrap();
    assert_eq!(found.len(), REMEMBERED);
    assert!(found.keys().all(|name| name.len() <= LONGEST_REMEMBERED));
    assert_eq!(found["gpt-5"].len(), 2);
}
