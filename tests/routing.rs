//! The planner over a fleet of values: each form of a name, each rule, each restriction, as a configuration file states
//! them.

#![allow(clippy::too_many_lines, reason = "a test is as long as its story")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use remuda::config::from_sources;
use remuda::ids::{ModelId, ProviderId};
use remuda::routing::{
    Having, Needs, NoPlan, Permission, PlanRequest, PlanStep, ProviderStanding, Router, StepModel,
    View,
};
use remuda::settings::{Settings, Strategy};
use remuda_formats::client::Operation;
use remuda_formats::facts::Facts;

#[path = "routing/names.rs"]
mod names;
#[path = "routing/turns.rs"]
mod turns;

/// As names are compared.
fn folded(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    name.strip_suffix(":latest").unwrap_or(&name).to_owned()
}

/// A fleet as a test wants it; names are as the real one has them.
#[derive(Default)]
struct Herd {
    /// Name → model, and who has it by which name.
    models: Vec<(Vec<String>, Vec<Having>)>,
    standings: Vec<ProviderStanding>,
    silent: Vec<usize>,
    settling: Vec<usize>,
    unavailable: Vec<usize>,
}

/// A [`Herd`] that can be changed.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Herd>>);

impl View for Shared {
    fn lookup(&self, name: &str) -> Option<ModelId> {
        let name = folded(name);
        let herd = self.0.lock().unwrap();
        let index = herd
            .models
            .iter()
            .position(|(names, _)| names.contains(&name))?;
        Some(ModelId(u32::try_from(index).unwrap()))
    }

    fn having(&self, model: ModelId) -> Vec<Having> {
        self.0.lock().unwrap().models[model.0 as usize].1.clone()
    }

    fn tells_no_models(&self, provider: ProviderId) -> bool {
        self.0.lock().unwrap().silent.contains(&provider.position())
    }

    fn is_settling(&self, provider: ProviderId) -> bool {
        self.0
            .lock()
            .unwrap()
            .settling
            .contains(&provider.position())
    }

    fn standings(&self, _: Option<ModelId>, _: Instant) -> Vec<ProviderStanding> {
        self.0.lock().unwrap().standings.clone()
    }

    fn available(&self, provider: ProviderId, _: Instant) -> bool {
        !self
            .0
            .lock()
            .unwrap()
            .unavailable
            .contains(&provider.position())
    }
}

/// A planner with its fleet.
struct World {
    settings: Arc<Settings>,
    herd: Shared,
    router: Router,
}

/// A provider of each sort.
const PROVIDERS: &str = "
  - { name: gpus, backends: [gpu1] }
  - { name: openai, api_key: k }
  - { name: openrouter, api_key: k }
  - { name: vllm, base_url: 'http://gpu9:8000/v1' }
  - { name: anthropic, api_key: k }
  - { name: google, api_key: k }
";

impl World {
    /// With these providers and this `routing:`.
    fn new(providers: &str, routing: &str) -> World {
        let yaml = format!("providers:{providers}\nrouting: {{ {routing} }}\n");
        let loaded = from_sources(Some(("test.yaml", &yaml)), &Default::default());
        let settings = Arc::new(
            loaded
                .unwrap_or_else(|report| panic!("{report:?}"))
                .settings,
        );
        let herd = Shared::default();
        let healthy = ProviderStanding {
            healthy: true,
            slots: 10,
            ..ProviderStanding::ABSENT
        };
        herd.0.lock().unwrap().standings = vec![healthy; settings.providers.len()];
        let router = Router::new(
            Arc::clone(&settings),
            Arc::new(Facts::bundled()),
            Arc::new(herd.clone()),
            Arc::default(),
        );
        World {
            router: router.unwrap(),
            settings,
            herd,
        }
    }

    /// With a provider of each sort, and models at them.
    fn usual(routing: &str) -> World {
        World::new(PROVIDERS, routing)
            .has("gpus", &["llama3.2", "qwen3:8b"])
            .has("openai", &["gpt-5.4", "gpt-4.1"])
            .has("openrouter", &["qwen/qwen3-32b", "gpt-4.1"])
            .has("vllm", &["llama3.2"])
            .has("anthropic", &["claude-opus-5"])
            .has("google", &["gemini-2.5-flash"])
    }

    fn index(&self, provider: &str) -> usize {
        let mut providers = self.settings.providers.iter();
        providers.position(|one| *one.name == *provider).unwrap()
    }

    /// A provider lists models: a service with its name before them, too.
    fn has(self, provider: &str, models: &[&str]) -> World {
        let index = self.index(provider);
        let is_fleet = self.settings.providers[index].kind.is_fleet();
        for model in models {
            let having = || Having {
                provider: ProviderId::at(index),
                own: Some((*model).into()),
                context: None,
            };
            let full = folded(&format!("{provider}/{model}"));
            let bare = folded(model);
            let mut herd = self.herd.0.lock().unwrap();
            for name in [Some(bare), (!is_fleet).then_some(full)]
                .into_iter()
                .flatten()
            {
                let mut known = herd.models.iter_mut();
                match known.find(|(names, _)| names.contains(&name)) {
                    Some((_, all)) => {
                        all.push(having());
                        all.sort_by_key(|one| one.provider);
                    }
                    None => herd.models.push((vec![name], vec![having()])),
                }
            }
        }
        self
    }

    fn change(&self, change: impl FnOnce(&mut Herd)) {
        change(&mut self.herd.0.lock().unwrap());
    }

    fn plan(&self, model: &str) -> Result<String, NoPlan> {
        self.ask(PlanRequest::of(model))
    }

    /// `provider+provider=name, …`, with `*` for all that have it, `!` before reserves, and `~` before a step that is as
    /// good as the one before it. What is explained must be
    /// what is planned.
    fn ask(&self, ask: PlanRequest<'_>) -> Result<String, NoPlan> {
        let now = Instant::now();
        let turning = |strategy| !matches!(strategy, Strategy::RoundRobin | Strategy::Weighted);
        let explained = self.router.explain(&ask, now, |_| None);
        let plan = self.router.plan(&ask, now);
        assert_eq!(
            explained.error,
            plan.as_ref().err().map(NoPlan::to_string),
            "{}",
            ask.model
        );
        let plan = plan?;
        assert!(!plan.steps.is_empty());
        if turning(self.settings.routing.strategy) && ask.strategy.is_none_or(turning) {
            assert_eq!(explained.steps.len(), plan.steps.len(), "{}", ask.model);
            for (told, step) in explained.steps.iter().zip(&plan.steps) {
                let names = step.providers.iter();
                let names: Vec<_> = names
                    .map(|one| &*self.settings.providers[*one].name)
                    .collect();
                assert!(step.providers.is_empty() || told.providers == names);
                assert!(!told.providers.is_empty(), "{}", ask.model);
            }
        }
        let steps = plan.steps.iter().map(|step| self.shown(step));
        Ok(steps.collect::<Vec<_>>().join(", "))
    }

    fn shown(&self, step: &PlanStep) -> String {
        let names = step.providers.iter();
        let names: Vec<_> = names
            .map(|index| &*self.settings.providers[*index].name)
            .collect();
        let providers = if names.is_empty() {
            "*".to_owned()
        } else {
            names.join("+")
        };
        let herd = self.herd.0.lock().unwrap();
        let model = match &step.model {
            StepModel::Listed(id) => herd.models[id.0 as usize].0[0].clone(),
            StepModel::Named(own) => format!("'{own}'"),
            StepModel::ListedAs(id, own) => {
                format!("{} as '{own}'", herd.models[id.0 as usize].0[0])
            }
        };
        let reserve = if step.reserve { "!" } else { "" };
        let equal = if step.equal { "~" } else { "" };
        format!("{reserve}{equal}{providers}={model}")
    }
}

#[track_caller]
fn check(world: &World, cases: &[(&str, &str)]) {
    for (model, expected) in cases {
        let plan = world.plan(model);
        assert_eq!(plan.as_deref(), Ok(*expected), "{model}");
    }
}

#[test]
fn a_listed_model_is_served_by_all_that_list_it() {
    let world = World::usual("bundled_rules: false");
    check(
        &world,
        &[
            ("qwen3:8b", "*=qwen3:8b"),
            ("llama3.2", "*=llama3.2"),
            ("Llama3.2:latest", "*=llama3.2"),
            (" gpt-4.1 ", "*=gpt-4.1"),
            ("gpt-5.4", "*=gpt-5.4"),
            ("qwen/qwen3-32b", "*=qwen/qwen3-32b"),
        ],
    );
    for unknown in ["no-such-model", "", "gp", "nobody/gpt-5.4"] {
        assert_eq!(world.plan(unknown), Err(NoPlan::Unknown), "{unknown}");
    }
}

#[test]
fn a_prefix_names_the_only_provider() {
    let world = World::usual("");
    check(
        &world,
        &[
            ("openai/gpt-4.1", "openai=openai/gpt-4.1"),
            ("OpenRouter/gpt-4.1", "openrouter=openrouter/gpt-4.1"),
            (
                "openrouter/qwen/qwen3-32b",
                "openrouter=openrouter/qwen/qwen3-32b",
            ),
            // It knows better what it has.
            ("openai/gpt-9:latest", "openai='gpt-9'"),
            ("gpus/llama3.2", "gpus=llama3.2 as 'llama3.2'"),
            ("vllm-llama3.2", "vllm=vllm/llama3.2"),
            ("openai-gpt-9", "openai='gpt-9'"),
            ("OpenAI-gpt-4.1", "openai=openai/gpt-4.1"),
            ("gemini-gemini-2.5-flash", "google=google/gemini-2.5-flash"),
            // A kind, where no provider has the name.
            ("openai_compatible/some-model", "vllm='some-model'"),
            ("ollama/llama3.2", "gpus=llama3.2 as 'llama3.2'"),
        ],
    );
    for unknown in ["gpus/gpt-5.4", "gpus-llama3.2", "openai/", "ollama/gpt-5.4"] {
        assert_eq!(world.plan(unknown), Err(NoPlan::Unknown), "{unknown}");
    }
}

#[test]
fn aliases_go_before_all() {
    let aliases = "aliases: { fast: vllm/llama3.2, Small: 'qwen3:8b', both: gpt-4.1, gpt-5.4: claude-opus-5 }";
    let world = World::usual(aliases);
    check(
        &world,
        &[
            ("fast", "vllm=vllm/llama3.2"),
            ("FAST:latest", "vllm=vllm/llama3.2"),
            ("small", "gpus=qwen3:8b as 'qwen3:8b'"),
            (
                "both",
                "openai=gpt-4.1 as 'gpt-4.1', openrouter=gpt-4.1 as 'gpt-4.1'",
            ),
            ("gpt-5.4", "anthropic=claude-opus-5 as 'claude-opus-5'"),
            ("claude-sonnet", "anthropic='claude-sonnet-5-5'"),
        ],
    );
    let world = World::usual("bundled_aliases: false");
    assert_eq!(world.plan("chatgpt"), Err(NoPlan::Unknown));
    assert_eq!(World::usual("").plan("deepseek"), Err(NoPlan::Unknown));
}

#[test]
fn a_preferred_provider_goes_first() {
    let world = World::usual("");
    let ask = |model, provider| {
        world.ask(PlanRequest {
            provider: Some(provider),
            ..PlanRequest::of(model)
        })
    };
    let plan = |model, provider| ask(model, provider).unwrap();
    assert_eq!(plan("llama3.2", "vllm"), "vllm=llama3.2, gpus=llama3.2");
    assert_eq!(
        plan("gpt-4.1", "OpenRouter"),
        "openrouter=gpt-4.1, openai=gpt-4.1"
    );
    assert_eq!(plan("gpt-9", "openai"), "openai='gpt-9'");
    // A kind is as good as a name.
    assert_eq!(plan("llama3.2", "ollama"), "gpus=llama3.2, vllm=llama3.2");
    // The provider's own name may begin like another provider.
    assert_eq!(plan("qwen/qwen3-32b", "openrouter"), "*=qwen/qwen3-32b");
    assert_eq!(plan("openai/gpt-4.1", "openai"), "*=openai/gpt-4.1");
    // What it has not, others have.
    assert_eq!(plan("gpt-5.4", "gpus"), "*=gpt-5.4");
    assert_eq!(
        ask("openai/gpt-4.1", "anthropic"),
        Err(NoPlan::Contradiction)
    );
    let Err(NoPlan::NoSuchProvider { names }) = ask("gpt-4.1", "nobody") else {
        panic!("a provider that is not there was taken");
    };
    assert_eq!(names.len(), 6);
    let told = NoPlan::NoSuchProvider { names }.to_string();
    assert!(
        told.ends_with("gpus, openai, openrouter, vllm, anthropic, google"),
        "{told}"
    );
}

#[test]
fn bundled_rules_say_who_is_asked_first() {
    let world = World::usual("");
    check(
        &world,
        &[
            ("gpt-4.1", "openai=gpt-4.1, openrouter=gpt-4.1"),
            ("llama3.2", "gpus=llama3.2, vllm=llama3.2"),
            // Nobody lists these.
            ("gpt-4-0314", "openai='gpt-4-0314'"),
            ("Claude-3-Haiku:latest", "anthropic='Claude-3-Haiku'"),
            ("gemini-9", "google='gemini-9'"),
        ],
    );
    // No server has it, and no provider is of its maker.
    for unknown in [
        "mistral-large",
        "sonar",
        "anthropic.claude-3",
        "a@b.openai.azure.com",
    ] {
        assert_eq!(world.plan(unknown), Err(NoPlan::Unknown), "{unknown}");
    }
    let azure = "
  - { name: east, kind: azure, base_url: 'https://e.services.ai.azure.com', api_key: k, deployments: { mine: gpt-5.4-mini } }
  - { name: west, kind: azure, base_url: 'https://w.openai.azure.com', api_key: k, deployments: { mine: gpt-5.4 } }
  - { name: bedrock, api_key: k, region: us-east-1 }
";
    check(
        &World::new(azure, ""),
        &[
            ("mine@w.openai.azure.com", "west='mine'"),
            ("Mine@E.openai.azure.com:latest", "east='mine'"),
            (
                "anthropic.claude-3-haiku-v1:0",
                "bedrock='anthropic.claude-3-haiku-v1:0'",
            ),
            (
                "us.amazon.nova-lite-v1:0",
                "bedrock='us.amazon.nova-lite-v1:0'",
            ),
            ("gpt-5.4", "west='mine'"),
        ],
    );
}

#[test]
fn a_deployment_of_a_resource_that_nobody_is_at_is_refused_by_name() {
    let west = "
  - { name: west, kind: azure, base_url: 'https://w.openai.azure.com', api_key: k }
";
    let refused = World::new(west, "").plan("mine@other.openai.azure.com");
    let why = refused.unwrap_err();
    let host = "other.openai.azure.com".to_owned();
    assert_eq!(why, NoPlan::NoResource { host });
    assert!(
        why.to_string()
            .contains("no Azure provider has its base_url there"),
        "{why}"
    );
}

#[test]
fn a_stated_strategy_chooses_among_all_that_list_a_model() {
    let world = World::usual("strategy: failover");
    check(
        &world,
        &[
            ("gpt-4.1", "openai=gpt-4.1, openrouter=gpt-4.1"),
            ("llama3.2", "gpus=llama3.2, vllm=llama3.2"),
        ],
    );
    let reversed = PROVIDERS.replace("name: vllm,", "name: vllm, priority: 1,");
    let world = World::new(&reversed, "strategy: failover")
        .has("gpus", &["llama3.2"])
        .has("vllm", &["llama3.2"]);
    check(&world, &[("llama3.2", "vllm=llama3.2, gpus=llama3.2")]);
}

#[test]
fn the_operators_rules_go_before_the_bundled_ones() {
    let rules = "rules: [
        { match: 'gpt-4*', provider: openrouter, model: 'openai/$0' },
        { match: 'llama*', provider: nobody },
        { match: 'llama*', provider: vllm },
        { regex: '(fast|slow)-(.+)', provider: openai, model: 'gpt-$2' },
        { match: 'o1', provider: openai_compatible } ]";
    let world = World::usual(rules);
    check(
        &world,
        &[
            ("gpt-4.1", "openrouter='openai/gpt-4.1'"),
            ("LLAMA3.2", "vllm=llama3.2, gpus=llama3.2"),
            ("llama9", "vllm='llama9'"),
            ("fast-5.4", "openai=gpt-5.4 as 'gpt-5.4'"),
            ("slow-9", "openai='gpt-9'"),
            ("o1", "vllm='o1'"),
            // The client's own words go before.
            ("openai/gpt-4.1", "openai=openai/gpt-4.1"),
        ],
    );
    let preferred = PlanRequest {
        provider: Some("openai"),
        ..PlanRequest::of("gpt-4.1")
    };
    assert_eq!(
        world.ask(preferred).as_deref(),
        Ok("openai=gpt-4.1, openrouter=gpt-4.1")
    );
    let world = World::usual("bundled_rules: false");
    assert_eq!(world.plan("gpt-4-0314"), Err(NoPlan::Unknown));
}

#[test]
fn names_of_the_configuration_hold_before_and_without_a_list() {
    let providers = "
  - { name: one, base_url: 'http://a:8000/v1', model_map: { gpt-4: big-model } }
  - { name: two, base_url: 'http://b:8000/v1', models: [extra] }
";
    let world = World::new(providers, "bundled_rules: false");
    check(
        &world,
        &[
            ("gpt-4", "one='big-model'"),
            ("GPT-4:latest", "one='big-model'"),
            ("one/gpt-4", "one='big-model'"),
            ("extra", "two='extra'"),
        ],
    );
    assert_eq!(world.plan("other"), Err(NoPlan::Unknown));
    // A service that lists nothing at all may have anything.
    world.change(|herd| herd.silent = vec![0]);
    check(&world, &[("other", "one='other'")]);
    world.change(|herd| herd.settling = vec![1]);
    assert_eq!(world.plan("other-2"), Err(NoPlan::Unknown));
}

#[test]
fn balancers_ask_services_that_tell_nothing_too() {
    let providers = "
  - { name: one, base_url: 'http://a:8000/v1', model_map: { gpt-4: big-model } }
  - { name: two, base_url: 'http://b:8000/v1' }
";
    let plan = |strategy: &str| {
        let world = World::new(providers, &format!("strategy: {strategy}")).has("two", &["gpt-4"]);
        world.change(|herd| herd.silent = vec![0]);
        world.plan("gpt-4").unwrap()
    };
    assert_eq!(plan("failover"), "one='big-model', two=gpt-4");
    assert_eq!(plan("least_loaded"), "*=gpt-4");
    assert_eq!(plan("capability_based"), "*=gpt-4");
}

#[test]
fn a_default_model_is_opt_in() {
    let world = World::usual("default_model: 'qwen3:8b'");
    check(&world, &[("whatever", "gpus=qwen3:8b as 'qwen3:8b'")]);
    // Whoever names a provider means it.
    assert_eq!(world.plan("gpus/whatever"), Err(NoPlan::Unknown));
    world.change(|herd| herd.settling = vec![3]);
    assert_eq!(world.plan("whatever-2"), Err(NoPlan::Unknown));
    let lost = World::usual("default_model: lost");
    assert_eq!(lost.plan("whatever"), Err(NoPlan::Unknown));
}

#[test]
fn a_fleet_that_has_not_answered_is_awaited() {
    let world = World::usual("");
    world.change(|herd| herd.settling = vec![0]);
    assert_eq!(world.plan("phi4"), Err(NoPlan::Unknown));
    // So is a service whose name a model may begin with.
    world.change(|herd| herd.settling = vec![1]);
    assert_eq!(world.plan("openai-gpt-9"), Err(NoPlan::Unknown));
    // A service takes what its rule sends it, listed or not.
    world.change(|herd| herd.settling = vec![1]);
    check(&world, &[("gpt-4-0314", "openai='gpt-4-0314'")]);
}

#[test]
fn what_is_filtered_is_not_there() {
    let filter = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(filter.path(), "gpt-*\nllama3.2\n!openrouter/*\n").unwrap();
    let path = filter.path().display();
    let world = World::usual(&format!(
        "models_filter: '{path}', aliases: {{ q: 'qwen3:8b' }}"
    ));
    check(
        &world,
        &[
            ("gpt-4.1", "openai=gpt-4.1"),
            ("llama3.2", "gpus=llama3.2, vllm=llama3.2"),
        ],
    );
    for hidden in [
        "qwen3:8b",
        "gpus/qwen3:8b",
        "q",
        "claude-opus-5",
        "openrouter/gpt-4.1",
    ] {
        assert_eq!(world.plan(hidden), Err(NoPlan::Unknown), "{hidden}");
    }
    let filter = world.router.filter();
    assert!(filter.admits("openai", &["gpt-5.4"]));
    assert!(!filter.admits("openrouter", &["gpt-5.4"]));
    let explained = world
        .router
        .explain(&PlanRequest::of("gpt-4.1"), Instant::now(), |_| None);
    let verdict = &explained.providers[world.index("openrouter")];
    assert_eq!(verdict.why, ["routing.models_filter leaves the model out"]);
    assert_eq!(verdict.step, None);
}

#[test]
fn those_that_cannot_are_out_unless_none_can() {
    let world = World::usual("bundled_rules: false")
        .has("openai", &["text-embedding-3-small"])
        .has("vllm", &["text-embedding-3-small", "gpt-5.4"]);
    let tools = Needs {
        tools: true,
        ..Needs::default()
    };
    let ask = |model, needs| {
        world
            .ask(PlanRequest {
                needs,
                ..PlanRequest::of(model)
            })
            .unwrap()
    };
    assert_eq!(
        ask("text-embedding-3-small", Needs::default()),
        "*=text-embedding-3-small"
    );
    // Of a compatible server's models nothing is known but by their names, which are the same here.
    assert_eq!(
        ask("text-embedding-3-small", tools),
        "*=text-embedding-3-small"
    );
    let embeddings = Needs {
        operation: Some(Operation::Embed),
        embeddings: true,
        ..Needs::default()
    };
    let world = World::usual("bundled_rules: false")
        .has("gpus", &["multi"])
        .has("anthropic", &["multi"]);
    let ask = |needs| {
        world
            .ask(PlanRequest {
                needs,
                ..PlanRequest::of("multi")
            })
            .unwrap()
    };
    assert_eq!(ask(Needs::default()), "*=multi");
    assert_eq!(ask(embeddings), "gpus=multi");
}

#[test]
fn reserves_come_after_all_others() {
    let providers = PROVIDERS.replace("name: gpus,", "name: gpus, fallback_only: true,");
    let world = World::new(&providers, "")
        .has("gpus", &["llama3.2", "alone"])
        .has("vllm", &["llama3.2"])
        .has("openai", &["llama3.2"]);
    check(
        &world,
        &[
            ("llama3.2", "openai+vllm=llama3.2, !gpus=llama3.2"),
            ("alone", "*=alone"),
            ("gpus/alone", "gpus=alone as 'alone'"),
        ],
    );
}

#[test]
fn the_unavailable_come_last() {
    let world = World::usual("bundled_rules: false");
    world.change(|herd| herd.unavailable = vec![0]);
    check(
        &world,
        &[
            ("llama3.2", "vllm=llama3.2, !gpus=llama3.2"),
            ("qwen3:8b", "*=qwen3:8b"),
        ],
    );
}

#[test]
fn a_model_may_overflow() {
    let models = "models: {
        'qwen3:8b': { overflow: [openrouter/qwen/qwen3-32b, nobody/x, gpt-4.1], max_wait: 10s },
        llama3.2: { strategy: failover } }";
    let world = World::usual(models);
    let expected = "*=qwen3:8b, !openrouter=openrouter/qwen/qwen3-32b, !openai=gpt-4.1";
    check(
        &world,
        &[
            ("Qwen3:8B", expected),
            ("gpus/qwen3:8b", "gpus=qwen3:8b as 'qwen3:8b'"),
            ("llama3.2", "gpus=llama3.2, vllm=llama3.2"),
        ],
    );
    let plan = world
        .router
        .plan(&PlanRequest::of("qwen3:8b"), Instant::now())
        .unwrap();
    let waits: Vec<_> = plan.steps.iter().map(|step| step.max_wait).collect();
    let ten = Some(Duration::from_secs(10));
    assert_eq!(waits, [None, ten, ten]);
    let due = |seconds| {
        let expected = |step: &PlanStep| (!step.reserve).then_some(Duration::from_secs(seconds));
        let ask = PlanRequest::of("qwen3:8b");
        let steps = world.router.explain(&ask, Instant::now(), expected).steps;
        let due = steps.iter().map(|step| step.due);
        due.collect::<Vec<_>>()
    };
    assert_eq!(due(10), [false, false, false]);
    assert_eq!(due(11), [false, true, true]);
    // Down, it comes behind what is there.
    world.change(|herd| herd.unavailable = vec![0]);
    let expected = "openrouter=openrouter/qwen/qwen3-32b, !openai=gpt-4.1, !gpus=qwen3:8b";
    check(&world, &[("qwen3:8b", expected)]);
}

#[test]
fn manual_takes_none_but_who_is_named() {
    let rules = "strategy: manual, bundled_rules: false, rules: [{ match: 'gpt-4*', provider: openrouter }]";
    let world = World::usual(rules);
    check(
        &world,
        &[
            ("gpt-4.1", "openrouter=gpt-4.1"),
            ("openai/gpt-4.1", "openai=openai/gpt-4.1"),
            ("qwen3:8b", "*=qwen3:8b"),
        ],
    );
    let Err(NoPlan::Ambiguous { names }) = world.plan("llama3.2") else {
        panic!("somebody was chosen");
    };
    assert_eq!(names, ["gpus", "vllm"].map(std::sync::Arc::<str>::from));
    let named = PlanRequest {
        provider: Some("vllm"),
        ..PlanRequest::of("llama3.2")
    };
    assert_eq!(world.ask(named).as_deref(), Ok("vllm=llama3.2"));
}

#[test]
fn a_key_narrows_and_chooses() {
    struct Key {
        providers: &'static [&'static str],
        models: &'static [&'static str],
    }
    impl Permission for Key {
        fn may_ask(&self, provider: &str) -> bool {
            self.providers.is_empty() || self.providers.contains(&provider)
        }

        fn may_use(&self, names: &[&str]) -> bool {
            self.models.is_empty() || names.iter().any(|name| self.models.contains(name))
        }
    }
    let world = World::usual("bundled_rules: false");
    let ask = |model, providers, models| {
        let key = Key { providers, models };
        world.ask(PlanRequest {
            permission: Some(&key),
            strategy: Some(Strategy::Failover),
            ..PlanRequest::of(model)
        })
    };
    assert_eq!(
        ask("llama3.2", &[], &[]).as_deref(),
        Ok("gpus=llama3.2, vllm=llama3.2")
    );
    assert_eq!(
        ask("llama3.2", &["vllm"], &[]).as_deref(),
        Ok("vllm=llama3.2")
    );
    assert_eq!(ask("llama3.2", &["openai"], &[]), Err(NoPlan::Forbidden));
    // Nobody else, although nobody else has it now: one that gets it while the request waits may not be the key's.
    assert_eq!(world.plan("qwen3:8b").as_deref(), Ok("*=qwen3:8b"));
    assert_eq!(
        ask("qwen3:8b", &["gpus"], &[]).as_deref(),
        Ok("gpus=qwen3:8b")
    );
    assert_eq!(ask("llama3.2", &[], &["gpt-5.4"]), Err(NoPlan::Forbidden));
    assert_eq!(
        ask("llama3.2", &[], &["vllm/llama3.2"]).as_deref(),
        Ok("vllm=llama3.2")
    );
    assert_eq!(ask("nobody", &["vllm"], &[]), Err(NoPlan::Unknown));
    let without = |providers: &[usize]| {
        let without: Vec<_> = providers.iter().copied().map(ProviderId::at).collect();
        let ask = PlanRequest {
            without: &without,
            ..PlanRequest::of("llama3.2")
        };
        world.ask(ask)
    };
    assert_eq!(without(&[0]).as_deref(), Ok("vllm=llama3.2"));
    assert_eq!(without(&[0, 3]), Err(NoPlan::Exhausted));
}

#[test]
fn approaches_go_to_an_optillm_server() {
    let providers = PROVIDERS.replace("name: vllm,", "name: vllm, approaches: true,");
    let world = World::new(&providers, "")
        .has("openai", &["gpt-4", "proxy-listed"])
        .has("gpus", &["llama3.2"]);
    check(
        &world,
        &[
            ("proxy-gpt-4", "openai=gpt-4 as 'gpt-4'"),
            ("proxy-llama3.2", "gpus=llama3.2 as 'llama3.2'"),
            ("proxy-openai/gpt-9", "openai='gpt-9'"),
            ("bon&proxy-gpt-4", "vllm='bon&proxy-gpt-4'"),
            ("moa-gpt-4", "vllm='moa-gpt-4'"),
            // A model of that very name.
            ("proxy-listed", "*=proxy-listed"),
        ],
    );
    let approach = PlanRequest {
        approach: Some("bon"),
        ..PlanRequest::of("gpt-4")
    };
    assert_eq!(world.ask(approach).as_deref(), Ok("vllm='gpt-4'"));
    let world = World::usual("");
    let Err(refused @ NoPlan::NoApproach { .. }) = world.ask(approach) else {
        panic!("there is no server for it");
    };
    assert!(
        refused.to_string().contains("approaches: true"),
        "{refused}"
    );
    assert!(world.plan("bon&proxy-gpt-4.1").is_err());
}

#[test]
fn turns_are_taken_for_each_model() {
    let world = World::usual("strategy: round_robin");
    for expected in [3, 3] {
        let mut firsts = [0; 6];
        for _ in 0..6 {
            let plan = world
                .router
                .plan(&PlanRequest::of("llama3.2"), Instant::now())
                .unwrap();
            firsts[plan.steps[0].providers[0]] += 1;
        }
        assert_eq!(firsts[0], expected);
        assert_eq!(firsts[3], expected);
    }
}

#[test]
fn one_fleet_and_no_more_is_looked_up_as_it_is() {
    let world = World::new("\n  - { name: gpus, backends: [gpu1] }", "").has("gpus", &["llama3.2"]);
    check(
        &world,
        &[
            ("llama3.2", "*=llama3.2"),
            ("gpus/llama3.2", "gpus=llama3.2 as 'llama3.2'"),
            ("proxy-llama3.2", "gpus=llama3.2 as 'llama3.2'"),
        ],
    );
    assert_eq!(world.plan("qwen3"), Err(NoPlan::Unknown));
    assert_eq!(world.plan("gpt-4"), Err(NoPlan::Unknown));
}

#[test]
fn a_service_is_told_from_a_fleet() {
    let world = World::usual("");
    let service = |model: &str| {
        let plan = world
            .router
            .plan(&PlanRequest::of(model), Instant::now())
            .unwrap();
        let service = world.router.service(&plan)?;
        let name = &world.settings.providers[service.provider].name;
        Some(format!("{name} {}", service.own))
    };
    for (model, expected) in [
        ("gpt-5.4", Some("openai gpt-5.4")),
        ("openai/gpt-9", Some("openai gpt-9")),
        ("vllm/llama3.2", Some("vllm llama3.2")),
        ("qwen/qwen3-32b", Some("openrouter qwen/qwen3-32b")),
        ("llama3.2", None),
        ("qwen3:8b", None),
    ] {
        assert_eq!(service(model).as_deref(), expected, "{model}");
    }
}

#[test]
fn what_was_found_is_kept_until_the_fleet_changes() {
    let world = World::usual("");
    check(&world, &[("gpt-5.4", "*=gpt-5.4")]);
    let world = world.has("vllm", &["gpt-5.4"]);
    // Nobody has told that anything changed.
    let plan = world
        .router
        .plan(&PlanRequest::of("gpt-5.4"), Instant::now())
        .unwrap();
    assert_eq!(plan.steps.len(), 1);
    let explained = world
        .router
        .explain(&PlanRequest::of("gpt-5.4"), Instant::now(), |_| None);
    assert_eq!(explained.steps.len(), 2);
}

#[test]
fn an_explanation_tells_what_decided() {
    let world = World::usual("aliases: { swift: llama3.2 }");
    world.change(|herd| {
        herd.standings[3].healthy = false;
        herd.unavailable = vec![3];
        herd.settling = vec![5];
    });
    let explained = world
        .router
        .explain(&PlanRequest::of("swift"), Instant::now(), |_| None);
    assert_eq!(
        explained.decided_by,
        [
            "alias: swift stands for llama3.2",
            "bundled rule: llama* to ollama"
        ]
    );
    assert_eq!(explained.strategy, "capability_based");
    let verdict = |provider: &str| &explained.providers[world.index(provider)];
    assert_eq!(verdict("gpus").step, Some(1));
    assert!(verdict("gpus").why.is_empty());
    assert_eq!(verdict("vllm").step, Some(2));
    assert_eq!(verdict("vllm").why.len(), 2);
    assert_eq!(verdict("openai").step, None);
    assert_eq!(verdict("openai").why, ["it does not have the model"]);
    assert!(
        verdict("google")
            .why
            .contains(&"it has not answered its first probe".to_owned())
    );
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["steps"][1]["reserve"], true);
    assert_eq!(json["providers"][0]["provider"], "gpus");
}
