//! One public name for several models: mapped names, lists of models behind an alias, aliases after a provider's name.

use super::*;

/// Two fleets that map the same name to different models, a service that does, and a fleet that has one of that name.
const MAPPED: &str = "
  - { name: big, backends: [gpu1], model_map: { large: 'gpt-oss:120b' } }
  - { name: small, backends: [gpu2], model_map: { Large: 'gpt-oss-q4', plain: qwen3 } }
  - { name: cloud, base_url: 'http://c/v1', model_map: { large: vendor/gpt-oss } }
  - { name: native, backends: [gpu3] }
";

fn mapped(routing: &str) -> World {
    World::new(MAPPED, &format!("bundled_rules: false, {routing}"))
        .has("big", &["gpt-oss:120b"])
        .has("small", &["gpt-oss-q4", "qwen3"])
        .has("cloud", &["large", "vendor/gpt-oss"])
        .has("native", &["large", "qwen3"])
}

const BIG: &str = "big=gpt-oss:120b as 'gpt-oss:120b'";
const SMALL: &str = "small=gpt-oss-q4 as 'gpt-oss-q4'";

#[test]
fn each_provider_resolves_a_mapped_name_for_itself() {
    let all = format!("{BIG}, ~{SMALL}, ~cloud+native=large");
    check(
        &mapped(""),
        &[
            ("large", &*all),
            ("LARGE:latest", &*all),
            ("big/large", BIG),
            ("small/large", SMALL),
            // The name of another's model, and one's own name for it.
            ("plain", "small=qwen3 as 'qwen3'"),
            ("gpt-oss-q4", "*=gpt-oss-q4"),
        ],
    );
    let world = mapped("");
    let preferred = PlanRequest {
        provider: Some("small"),
        ..PlanRequest::of("large")
    };
    let plan = world.ask(preferred).unwrap();
    assert_eq!(plan, format!("{SMALL}, {BIG}, ~cloud+native=large"));
}

#[test]
fn whoever_maps_a_name_to_what_it_has_not_does_not_have_it() {
    let world = World::new(MAPPED, "bundled_rules: false").has("small", &["gpt-oss-q4", "large"]);
    // Nor does its own model of that name count, which the operator has given away.
    check(&world, &[("large", SMALL)]);
    assert_eq!(world.plan("big/large"), Err(NoPlan::Unknown));
}

#[test]
fn everything_that_names_a_model_may_use_a_mapped_name() {
    let all = format!("{BIG}, ~{SMALL}, ~cloud=large as 'large', ~native=large as 'large'");
    let merged = all.replace("cloud=large as 'large', ~native", "cloud+native");
    let world = mapped(
        "aliases: { alias: large, one: small/large }, default_model: large,
         rules: [{ match: 'rule*', provider: small, model: large }],
         models: { qwen3: { overflow: [large] } }",
    );
    check(
        &world,
        &[
            ("alias", &*merged),
            ("one", SMALL),
            ("nobody-knows", &*merged),
            ("rule-1", SMALL),
        ],
    );
    let overflow = format!("*=qwen3, !{BIG}, !~{SMALL}, !~cloud+native=large");
    check(&world, &[("qwen3", &*overflow)]);
}

#[test]
fn an_alias_may_stand_for_any_of_several() {
    let routing =
        "aliases: { any: ['qwen3:8b', vllm/llama3.2, openai/gpt-9, nobody/x], one: [gpt-5.4] }";
    let world = World::usual(routing);
    let any = "gpus=qwen3:8b as 'qwen3:8b', ~vllm=vllm/llama3.2, ~openai='gpt-9'";
    check(
        &world,
        &[
            ("any", any),
            ("ANY:latest", any),
            ("one", "openai=gpt-5.4 as 'gpt-5.4'"),
        ],
    );
    // One after the other, where the strategy says so.
    let world = World::usual(&format!("strategy: failover, {routing}"));
    check(&world, &[("any", &*any.replace('~', ""))]);
    // Under `manual` the operator has named them.
    let world = World::usual(&format!("strategy: manual, {routing}"));
    check(&world, &[("any", any)]);
    let lost = World::usual("aliases: { any: [nobody, nothing] }");
    assert_eq!(lost.plan("any"), Err(NoPlan::Unknown));
}

#[test]
fn a_key_for_the_alias_may_use_all_that_it_stands_for() {
    struct Key(&'static [&'static str]);
    impl Permission for Key {
        fn may_ask(&self, _: &str) -> bool {
            true
        }

        fn may_use(&self, names: &[&str]) -> bool {
            names.iter().any(|name| self.0.contains(name))
        }
    }
    let world = World::usual("aliases: { any: ['qwen3:8b', gpt-5.4] }");
    let ask = |model, models| {
        let key = Key(models);
        let ask = PlanRequest {
            permission: Some(&key),
            ..PlanRequest::of(model)
        };
        world.ask(ask)
    };
    let all = "gpus=qwen3:8b as 'qwen3:8b', ~openai=gpt-5.4 as 'gpt-5.4'";
    assert_eq!(ask("any", &["any"]).as_deref(), Ok(all));
    let one = "gpus=qwen3:8b as 'qwen3:8b'";
    assert_eq!(ask("any", &["qwen3:8b"]).as_deref(), Ok(one));
    assert_eq!(ask("gpt-5.4", &["any"]), Err(NoPlan::Forbidden));
    // The same for an alias after its provider's name.
    assert_eq!(
        ask("anthropic/claude-sonnet", &["claude-sonnet"]).as_deref(),
        Ok("anthropic='claude-sonnet-5-5'")
    );
    assert_eq!(
        ask("anthropic/claude-sonnet", &["x"]),
        Err(NoPlan::Forbidden)
    );
}

#[test]
fn an_alias_may_stand_after_its_providers_name() {
    let providers = format!(
        "{PROVIDERS}  - {{ name: claude, kind: anthropic, base_url: 'http://c', api_key: k }}\n"
    );
    let routing =
        "aliases: { fast: claude-haiku, local: llama3.2, wide: [openai/gpt-5.4, vllm/llama3.2] }";
    let world = World::new(&providers, routing)
        .has("gpus", &["llama3.2"])
        .has("openai", &["gpt-5.4"])
        .has("vllm", &["llama3.2"])
        .has("anthropic", &["claude-haiku-5-5"]);
    check(
        &world,
        &[
            ("anthropic/claude-sonnet", "anthropic='claude-sonnet-5-5'"),
            (
                "Anthropic/Claude-Sonnet:latest",
                "anthropic='claude-sonnet-5-5'",
            ),
            ("anthropic-claude-sonnet", "anthropic='claude-sonnet-5-5'"),
            (
                "anthropic/claude-haiku",
                "anthropic=anthropic/claude-haiku-5-5",
            ),
            ("claude/claude-sonnet", "claude='claude-sonnet-5-5'"),
            ("claude-claude-sonnet", "claude='claude-sonnet-5-5'"),
            // Nobody lists it, and it is known to be one of Google's.
            ("gemini-gemini-2.5-flash", "google='gemini-2.5-flash'"),
            (
                "gemini-gemini-2.5-flash:latest",
                "google='gemini-2.5-flash'",
            ),
            // What only begins like a provider is no prefix.
            ("claude-opus-4-5", "anthropic='claude-opus-4-5'"),
            ("gemini-2.5-flash", "google='gemini-2.5-flash'"),
            // The operator's own, and those that stand for another.
            ("anthropic/fast", "anthropic=anthropic/claude-haiku-5-5"),
            ("fast", "anthropic=anthropic/claude-haiku-5-5"),
            ("gpus/local", "gpus=llama3.2 as 'llama3.2'"),
            ("vllm/local", "vllm=vllm/llama3.2"),
            ("vllm/wide", "vllm=vllm/llama3.2"),
            ("openai-wide", "openai=openai/gpt-5.4"),
            // No alias of this provider's.
            ("openai/claude-sonnet", "openai='claude-sonnet'"),
        ],
    );
    let plain = World::usual("bundled_aliases: false");
    check(
        &plain,
        &[("anthropic/claude-sonnet", "anthropic='claude-sonnet'")],
    );
    // The name of a kind stands for its provider, whatever that is called.
    let one = "\n  - { name: work, kind: anthropic, base_url: 'http://c', api_key: k }\n";
    check(
        &World::new(one, ""),
        &[
            ("anthropic/claude-sonnet", "work='claude-sonnet-5-5'"),
            ("anthropic-claude-sonnet", "work='claude-sonnet-5-5'"),
        ],
    );
}

#[test]
fn of_two_providers_that_a_name_begins_with_the_one_that_has_it_is_meant() {
    let providers = "
  - { name: my, base_url: 'http://a/v1' }
  - { name: my-own, base_url: 'http://b/v1' }
";
    let world = World::new(providers, "")
        .has("my-own", &["gpt"])
        .has("my", &["other"]);
    check(
        &world,
        &[
            ("my-own-gpt", "my-own=my-own/gpt"),
            ("my-other", "my=my/other"),
            ("my-own-nobody-knows", "my-own='nobody-knows'"),
        ],
    );
}

#[test]
fn an_alias_that_is_a_models_name_too_ends_there() {
    let routing =
        "bundled_rules: false, aliases: { a: gpt-5.4, gpt-5.4: gpt-4.1, x: y, y: x, loop: loop }";
    let world = World::usual(routing).has("gpus", &["x", "y"]);
    check(
        &world,
        &[
            ("a", "openai=gpt-5.4 as 'gpt-5.4'"),
            ("gpt-5.4", "openai+openrouter=gpt-4.1 as 'gpt-4.1'"),
            ("x", "gpus=y as 'y'"),
            ("y", "gpus=x as 'x'"),
        ],
    );
    assert_eq!(world.plan("loop"), Err(NoPlan::Unknown));
}

#[test]
fn what_a_server_tells_of_its_context_counts_more_than_what_is_usual() {
    let world = World::usual("bundled_rules: false")
        .has("openai", &["shared"])
        .has("vllm", &["shared"]);
    let tell = |provider: usize, context| {
        world.change(|herd| {
            for (_, all) in &mut herd.models {
                let mut mine = all
                    .iter_mut()
                    .filter(|one| one.provider.position() == provider);
                mine.by_ref().for_each(|one| one.context = context);
            }
        });
    };
    let ask = |tokens| {
        let needs = Needs {
            tokens,
            ..Needs::default()
        };
        let ask = PlanRequest {
            needs,
            approach: None,
            ..PlanRequest::of("shared")
        };
        // Explained anew each time, as what was found is remembered until the fleet changes.
        let explained = world.router.explain(&ask, Instant::now(), |_| None);
        explained.steps[0].providers.join("+")
    };
    // Of neither is anything known.
    assert_eq!(ask(3000), "openai+vllm");
    tell(3, Some(2048));
    assert_eq!(ask(2000), "openai+vllm");
    // One whose size nobody knows may be tried, one that is too small is not.
    assert_eq!(ask(3000), "openai");
    tell(1, Some(2500));
    assert_eq!(ask(2400), "openai");
    // Where none can, all may say so.
    assert_eq!(ask(3000), "openai+vllm");
}

/// What stands before `/` and `-` for each kind, whatever its provider is called, as users of LiteLLM write it.
#[test]
fn the_name_of_a_kind_before_a_model_is_not_the_models() {
    for (kind, more, prefixes, models) in [
        (
            "google",
            "",
            &["google", "gemini"][..],
            &["gemini-2.5-flash", "gemini-9-flash"][..],
        ),
        (
            "anthropic",
            "",
            &["anthropic", "claude"],
            &["claude-opus-4-5", "claude-opus-99"],
        ),
        ("openai", "", &["openai"], &["gpt-4.1", "gpt-99", "o3"]),
        (
            "openrouter",
            "",
            &["openrouter"],
            &["google/gemini-2.5-flash", "qwen/qwen3-32b"],
        ),
        (
            "perplexity",
            "",
            &["perplexity", "pplx"],
            &["sonar-pro", "sonar-99"],
        ),
        (
            "openai_compatible",
            "",
            &["openai_compatible", "hosted_vllm"],
            &["qwen3", "a/b"],
        ),
        (
            "azure",
            "",
            &["azure", "azure_openai", "azure-openai"],
            &["my-deployment", "gpt-4.1"],
        ),
        (
            "bedrock",
            ", region: us-east-1, api_key: k",
            &["bedrock", "aws_bedrock", "aws-bedrock"],
            &[
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "amazon.nova-pro-v1:0",
            ],
        ),
    ] {
        for name in ["work", kind, prefixes[prefixes.len() - 1]] {
            let base = match kind {
                "bedrock" => "",
                "azure" => ", base_url: 'https://r.openai.azure.com', api_key: k",
                _ => ", base_url: 'http://c/v1', api_key: k",
            };
            let provider = format!("\n  - {{ name: {name}, kind: {kind}{base}{more} }}\n");
            let world = World::new(&provider, "");
            for prefix in prefixes {
                for model in models {
                    let expected = format!("{name}='{model}'");
                    check(&world, &[(&*format!("{prefix}/{model}"), &*expected)]);
                }
            }
        }
    }
    // A server's model is a fleet's whatever the fleet is called.
    let fleet =
        World::new("\n  - { name: gpus, backends: [gpu1] }\n", "").has("gpus", &["llama3.2"]);
    for name in ["ollama/llama3.2", "ollama_chat/llama3.2"] {
        check(&fleet, &[(name, "gpus=llama3.2 as 'llama3.2'")]);
    }
    for (name, asked, own) in [
        ("google", "gemini-gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "google-gemini-9-flash", "gemini-9-flash"),
        ("gemini", "google-gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini", "gemini-gemini-9-flash", "gemini-9-flash"),
        // A model that is newer than what is known here, and no `9-flash` of a provider called gemini.
        ("gemini", "gemini-9-flash", "gemini-9-flash"),
    ] {
        let provider =
            format!("\n  - {{ name: {name}, kind: google, base_url: 'http://c', api_key: k }}\n");
        let expected = format!("{name}='{own}'");
        check(&World::new(&provider, ""), &[(asked, &*expected)]);
    }
}
