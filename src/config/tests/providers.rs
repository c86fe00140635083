//! Providers of every kind: the shipped examples, defaults, credentials from file and environment.

use super::*;
use crate::settings::{ChatApi, Placement, ProviderKind, SamplingFields, Strategy};

const EXAMPLES: &str = include_str!("../../../conf/providers.yaml");

/// Every variable that the examples name.
fn keys() -> Vec<(&'static str, &'static str)> {
    let mut names: Vec<&str> = EXAMPLES
        .split("${")
        .skip(1)
        .map(|rest| rest.split('}').next().unwrap())
        .collect();
    names.dedup();
    names.into_iter().map(|name| (name, "hunter2")).collect()
}

fn provider(yaml: &str, pairs: &[(&str, &str)]) -> Provider {
    let yaml = format!("providers: [ {yaml} ]");
    let loaded = read_with(&yaml, pairs).unwrap();
    assert_eq!(loaded.warnings, [], "{yaml}");
    loaded.settings.providers.into_iter().next().unwrap()
}

fn url(provider: &Provider) -> String {
    let [entry] = provider.backends.as_slice() else {
        panic!("one backend: {:?}", provider.backends);
    };
    let scheme = if entry.tls { "https" } else { "http" };
    format!("{scheme}://{}:{}{}", entry.host, entry.port, entry.path)
}

#[test]
fn the_examples_have_every_kind_and_ten_compatible_services() {
    let loaded = read_with(EXAMPLES, &keys()).unwrap();
    assert_eq!(loaded.warnings, []);
    let providers = loaded.settings.providers;
    for (name, kind) in ProviderKind::NAMES {
        assert!(providers.iter().any(|one| one.kind == *kind), "{name}");
    }
    let compatible = providers
        .iter()
        .filter(|one| one.kind == ProviderKind::OpenAiCompatible);
    assert!(compatible.count() >= 10);
    assert!(providers.iter().skip(1).all(|one| one.backends.len() == 1));
}

#[test]
fn the_examples_print_and_read_back_as_the_same_without_their_keys() {
    let settings = read_with(EXAMPLES, &keys()).unwrap().settings;
    let printed = to_yaml(&settings);
    assert!(!printed.contains("hunter2"), "{printed}");
    let again = read_with(&printed, &[]).unwrap();
    assert_eq!(again.warnings, [], "{printed}");
    assert_eq!(to_yaml(&again.settings), printed);
    let open = |mut settings: Settings| {
        for one in &mut settings.providers {
            one.api_key = None;
            one.aws.access_key = None;
            one.aws.secret_key = None;
        }
        settings
    };
    assert_eq!(open(again.settings), open(settings));
}

#[test]
fn a_cloud_service_has_defaults_of_its_own() {
    let openai = provider("{ name: openai, api_key: k }", &[]);
    assert_eq!(openai.kind, ProviderKind::OpenAi);
    assert_eq!(url(&openai), "https://api.openai.com:443/v1");
    assert_eq!(openai.placement, Placement::Off);
    assert_eq!(openai.max_concurrent_per_backend, 100);
    assert_eq!(openai.interval, Duration::from_secs(60));
    assert_eq!(openai.probe_timeout, Duration::from_secs(10));
    assert!(openai.list_models);
    assert_eq!(openai.chat_api, ChatApi::Auto);
    let azure = provider(
        "{ name: azure, api_key: k, base_url: 'https://r.openai.azure.com/openai/v1' }",
        &[],
    );
    assert!(!azure.list_models);
    assert_eq!(url(&azure), "https://r.openai.azure.com:443");
    // Variables of the balancer of GPU servers do not reach it.
    let pairs = [
        ("MAX_CONCURRENT_PER_BACKEND", "1"),
        ("SCAN_INTERVAL_SECONDS", "5"),
        ("PROBE_TIMEOUT_SECONDS", "1"),
        ("HEALTH_CHECK_INTERVAL", "30"),
    ];
    let openai = provider("{ name: openai, api_key: k }", &pairs);
    assert_eq!(openai.max_concurrent_per_backend, 100);
    assert_eq!(openai.interval, Duration::from_secs(30));
    assert_eq!(openai.probe_timeout, Duration::from_secs(10));
}

/// Providers that state every key of cloud services.
const CLOUD_SERVICES: &str = "
providers:
  - name: mine
    kind: openai-compatible
    base_url: http://gpu1:8000
    models: [ a, 'meta-llama/Llama-3.3-70B-Instruct-Turbo', 'm:1' ]
    model_map: { gpt-4: a, 4: b }
    list_models: no
    headers: { HTTP-Referer: 'https://x', Helicone-Auth: Bearer hunter2 }
    chat_api: responses
    sampling_fields: llama-cpp
  - name: az
    kind: azure
    base_url: https://r.openai.azure.com
    api_key: k
    api_version: 2024-10-21
    deployments: { my-gpt: gpt-5.4 }
  - name: aws
    kind: bedrock
    access_key: AK
    secret_key: SK
    session_token: ST
    region: EU-west-1
    control_url: http://127.0.0.1:5
  - { name: gpus, backends: [ gpu1 ], num_ctx: 8192, model_map: { gpt-4: 'llama3.2' } }
routing:
  fidelity: strict
  aliases: { fast: mine/a }
  bundled_aliases: no
  reasoning_field: reasoning_content
";

#[test]
fn every_key_of_a_cloud_service_is_read() {
    let loaded = read_with(CLOUD_SERVICES, &[]).unwrap();
    assert_eq!(loaded.warnings, []);
    let settings = loaded.settings;
    let [mine, az, aws, gpus] = settings.providers.as_slice() else {
        panic!("four providers");
    };
    assert_eq!(url(mine), "http://gpu1:8000/v1");
    assert_eq!(mine.models.len(), 3);
    assert_eq!(&*mine.model_map["4"], "b");
    assert!(!mine.list_models);
    assert_eq!(mine.headers.len(), 2);
    assert_eq!(mine.chat_api, ChatApi::Responses);
    assert_eq!(mine.sampling, SamplingFields::LlamaCpp);
    assert_eq!(az.azure.api_version.as_deref(), Some("2024-10-21"));
    assert_eq!(&*az.azure.deployments["my-gpt"], "gpt-5.4");
    assert_eq!(&*aws.aws.region, "eu-west-1");
    assert_eq!(
        url(aws),
        "https://bedrock-runtime.eu-west-1.amazonaws.com:443"
    );
    assert_eq!(aws.aws.session_token.as_ref().unwrap().expose(), "ST");
    assert_eq!(aws.aws.control_url.as_deref(), Some("http://127.0.0.1:5"));
    assert_eq!(gpus.num_ctx, Some(8192));
    assert_eq!(&*settings.routing.aliases["fast"][0], "mine/a");

    let printed = to_yaml(&settings);
    for secret in ["hunter2", "AK", "SK", "ST\n"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    let mut again = used(&printed);
    assert_eq!(&*again.providers[0].headers[0].1, "https://x");
    assert_eq!(&*again.providers[0].headers[1].1, "***");
    again.providers[0].headers.clone_from(&mine.headers);
    again.providers[1].api_key.clone_from(&az.api_key);
    again.providers[2].aws = aws.aws.clone();
    assert_eq!(again, settings, "{printed}");
}

#[test]
fn a_region_is_stated_or_that_of_the_address_or_of_the_environment() {
    let region = |rest: &str, pairs: &[(&str, &str)]| {
        let yaml = format!("{{ name: bedrock, api_key: k{rest} }}");
        provider(&yaml, pairs).aws.region
    };
    let elsewhere = ", base_url: 'https://bedrock-runtime.eu-west-3.amazonaws.com'";
    let set = [
        ("AWS_REGION", "ap-south-1"),
        ("AWS_BEDROCK_REGION", "us-west-2"),
    ];
    assert_eq!(&*region("", &[]), "us-east-1");
    assert_eq!(&*region("", &set[..1]), "ap-south-1");
    assert_eq!(&*region("", &set), "us-west-2");
    assert_eq!(&*region(elsewhere, &set), "eu-west-3");
    assert_eq!(&*region(", region: ca-central-1", &set), "ca-central-1");
}

#[test]
fn a_key_of_the_environment_fills_in_where_the_file_has_none() {
    let pairs = [
        ("OPENAI_API_KEY", "from-environment"),
        ("GEMINI_API_KEY", "of-gemini"),
        ("MISTRAL_API_KEY", "of-mistral"),
        ("OLLAMA_API_KEY", "of-ollama"),
        ("AWS_ACCESS_KEY_ID", "AK"),
        ("AWS_SECRET_ACCESS_KEY", "SK"),
    ];
    let key = |yaml: &str| {
        let key = provider(yaml, &pairs).api_key;
        key.map(|key| key.expose().to_owned())
    };
    assert_eq!(key("{ name: openai }").as_deref(), Some("from-environment"));
    assert_eq!(
        key("{ name: mine, kind: openai, base_url: 'http://127.0.0.1:1' }").as_deref(),
        Some("from-environment")
    );
    assert_eq!(
        key("{ name: openai, api_key: own }").as_deref(),
        Some("own")
    );
    assert_eq!(key("{ name: google }").as_deref(), Some("of-gemini"));
    assert_eq!(key("{ name: mistral }").as_deref(), Some("of-mistral"));
    // These are other servers under the names of services.
    assert_eq!(
        key("{ name: mistral, base_url: 'http://gpu1:8000/v1' }"),
        None
    );
    assert_eq!(key("{ name: ollama, backends: [ gpu1 ] }"), None);
    assert_eq!(key("{ name: ollama, discover: { ports: 5 } }"), None);
    assert_eq!(
        key("{ name: ollama, base_url: 'https://ollama.com' }").as_deref(),
        Some("of-ollama")
    );
    let bedrock = provider("{ name: bedrock }", &pairs);
    assert_eq!(bedrock.aws.access_key.unwrap().expose(), "AK");
    assert!(bedrock.api_key.is_none());

    let bearer = [pairs[4], pairs[5], ("AWS_BEARER_TOKEN_BEDROCK", "bearer")];
    let bedrock = provider("{ name: bedrock }", &bearer);
    assert_eq!(bedrock.api_key.unwrap().expose(), "bearer");
    assert!(bedrock.aws.access_key.is_none());
    let bedrock = provider("{ name: bedrock, access_key: a, secret_key: s }", &bearer);
    assert!(bedrock.api_key.is_none());
    assert_eq!(bedrock.aws.access_key.unwrap().expose(), "a");
}

#[test]
fn a_file_s_list_of_providers_is_not_added_to_by_keys() {
    let settings = read_with(ONE, &[("OPENAI_API_KEY", "k")]).unwrap().settings;
    assert_eq!(settings.providers.len(), 1);
    assert!(settings.providers[0].api_key.is_none());
}

#[test]
fn keys_alone_make_providers() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-file\n").unwrap();
    let settings = alone(&[
        ("ANTHROPIC_API_KEY", "k"),
        ("OPENAI_API_KEY_FILE", file.path().to_str().unwrap()),
        ("GEMINI_API_KEY", "k"),
        ("PERPLEXITY_API_KEY", "k"),
        ("GROQ_API_KEY", "k"),
        ("DEEPSEEK_API_KEY", "k"),
        ("MISTRAL_API_KEY", "k"),
        ("XAI_API_KEY", "k"),
        ("OPENROUTER_API_KEY", ""),
        ("AWS_BEARER_TOKEN_BEDROCK", "k"),
        ("OLLAMA_API_KEY", "k"),
    ]);
    let names: Vec<&str> = settings.providers.iter().map(|one| &*one.name).collect();
    assert_eq!(
        names,
        [
            "openai",
            "anthropic",
            "google",
            "bedrock",
            "perplexity",
            "groq",
            "deepseek",
            "mistral",
            "xai"
        ]
    );
    let key = settings.providers[0].api_key.as_ref().unwrap();
    assert_eq!(key.expose(), "from-file");
    // There is no port range, whose bounds these would be.
    assert_eq!(settings.queue, Queue::default());
    assert_eq!(settings.timeouts, Timeouts::default());
    let both = alone(&[("XAI_API_KEY", "k"), ("BACKEND_PORT_START", "24050")]);
    let names: Vec<&str> = both.providers.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["xai", "local"]);
}

#[test]
fn the_variables_of_a_service_are_read() {
    let settings = alone(&[
        ("OPENAI_API_KEY", "k"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
        ("OPENAI_TIMEOUT", "400"),
        ("OPENAI_MAX_CONCURRENT_REQUESTS", "7"),
        ("ANTHROPIC_API_KEY", "k"),
        ("ANTHROPIC_ENABLED", "false"),
        ("AZURE_ENABLED", "true"),
        ("AZURE_API_KEY", "k"),
        ("AZURE_BASE_URL", "https://r.openai.azure.com"),
        ("AZURE_TIMEOUT", "200"),
        ("OLLAMA_BASE_URL", "http://gpu1:11434"),
        ("AWS_BEDROCK_ACCESS_KEY", "AK"),
        ("AWS_BEDROCK_SECRET_KEY", "SK"),
        ("AWS_BEDROCK_SESSION_TOKEN", "ST"),
        ("AWS_BEDROCK_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "other"),
        ("MAX_CONCURRENT_REQUESTS", "100"),
        ("MAX_QUEUE_SIZE", "500"),
    ]);
    let [openai, azure, bedrock, ollama] = settings.providers.as_slice() else {
        panic!("{:?}", settings.providers);
    };
    assert_eq!(url(openai), "http://127.0.0.1:1/v1");
    assert_eq!(openai.max_concurrent, Some(7));
    assert_eq!(url(azure), "https://r.openai.azure.com:443");
    assert_eq!(bedrock.aws.access_key.as_ref().unwrap().expose(), "AK");
    assert_eq!(bedrock.aws.session_token.as_ref().unwrap().expose(), "ST");
    assert_eq!(
        url(bedrock),
        "https://bedrock-runtime.eu-west-1.amazonaws.com:443"
    );
    assert_eq!(
        (ollama.kind, url(ollama)),
        (ProviderKind::Ollama, "http://gpu1:11434".into())
    );
    let waits = [openai, azure, bedrock].map(|provider| provider.timeouts.first_byte);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(waits, [seconds(400), seconds(200), None]);
    assert_eq!(settings.timeouts, crate::settings::Timeouts::default());
    assert_eq!(
        (settings.queue.max_concurrent, settings.queue.size),
        (100, 500)
    );
}

#[test]
fn a_bad_key_of_the_environment_is_named_and_not_shown() {
    for (pairs, wanted) in [
        (
            vec![("OPENAI_API_KEY", "hunter2 hunter3")],
            "environment: OPENAI_API_KEY: expected a credential",
        ),
        (
            vec![("OPENAI_API_KEY_FILE", "/nonexistent")],
            "environment: OPENAI_API_KEY: cannot read /nonexistent (OPENAI_API_KEY_FILE): ",
        ),
        (
            vec![("OPENAI_ENABLED", "true")],
            "environment: providers[0]: has no key, which the kind openai needs; add api_key or \
             api_key_file, or set OPENAI_API_KEY",
        ),
        (
            vec![("AZURE_API_KEY", "hunter2")],
            "environment: providers[0]: has no address; add base_url",
        ),
        (
            vec![("AWS_BEDROCK_ACCESS_KEY", "hunter2")],
            "environment: AWS_BEDROCK_SECRET_KEY: is not set, and AWS_BEDROCK_ACCESS_KEY is; set both or \
             neither",
        ),
    ] {
        let report = from_sources(None, &environment(&pairs))
            .unwrap_err()
            .to_string();
        assert!(report.starts_with(wanted), "{report}");
        assert_eq!(report.lines().count(), 1, "{report}");
        assert!(!report.contains("hunter"), "{report}");
    }
}

#[test]
fn a_key_that_means_nothing_to_the_kind_is_warned_of() {
    let yaml = "\
providers:
  - name: openai
    api_key: k
    region: us-east-1
    num_ctx: 5
    deployments: { a: b }
    sampling_fields: vllm
  - { name: gpus, backends: [ gpu1 ], chat_api: auto, models: [ a ] }
";
    let warnings = read_with(yaml, &[]).unwrap().warnings;
    let warnings: Vec<String> = warnings.iter().map(Problem::to_string).collect();
    assert_eq!(
        warnings,
        [
            "remuda.yaml:7: providers[0].sampling_fields: means nothing to the kind openai",
            "remuda.yaml:5: providers[0].num_ctx: means nothing to the kind openai",
            "remuda.yaml:6: providers[0].deployments: means nothing to the kind openai",
            "remuda.yaml:4: providers[0].region: means nothing to the kind openai",
            "remuda.yaml:8: providers[1].chat_api: means nothing to the kind ollama",
        ]
    );
}

/// A file of a balancer of providers, as its documentation has it.
const BALANCER: &str = "
providers:
  - name: primary
    base_url: https://api.openai.com/v1
    api_key: ${OPENAI_API_KEY}
    weight: 3
    max_concurrent: 5
    model_map:
      gpt-4: gpt-4-turbo-preview
  - name: azure-backup
    base_url: https://my-resource.openai.azure.com/openai/v1
    api_key: ${AZURE_KEY:-none}
    weight: 0
    fallback_only: true
  - name: local
    base_url: http://localhost:8000/v1
    api_key: dummy
    fallback_only: false
  - name: old-ollama
    base_url: http://gpu1:11434/v1
    api_key: dummy
    model_map: { gpt-4: llama3.2 }
routing:
  strategy: failover
  health_check: { enabled: true, interval: 30, timeout: 5 }
timeouts: { request: 30, connect: 5 }
queue: { max_concurrent: 100, timeout: 60 }
monitoring: { log_level: INFO, track_latency: true, track_errors: false }
";

#[test]
fn a_provider_balancer_s_file_starts_as_it_is() {
    let loaded = read_with(BALANCER, &[("OPENAI_API_KEY", "k")]).unwrap();
    let kinds: Vec<_> = loaded
        .settings
        .providers
        .iter()
        .map(|one| one.kind)
        .collect();
    let expected = [
        ProviderKind::OpenAi,
        ProviderKind::Azure,
        ProviderKind::OpenAiCompatible,
        ProviderKind::Ollama,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(url(&loaded.settings.providers[3]), "http://gpu1:11434");
    assert_eq!(loaded.settings.queue.max_concurrent, 100);
    let watched = |index: usize| {
        let provider = &loaded.settings.providers[index];
        (
            provider.interval.as_secs(),
            provider.probe_timeout.as_secs(),
        )
    };
    assert_eq!((watched(0), watched(3)), ((30, 5), (5, 1)));
    assert_eq!(loaded.settings.routing.strategy, Strategy::Failover);
    let fallback_only = loaded
        .settings
        .providers
        .iter()
        .map(|one| one.fallback_only);
    assert_eq!(
        fallback_only.collect::<Vec<_>>(),
        [false, true, false, false]
    );
    let mut warnings: Vec<_> = loaded
        .warnings
        .iter()
        .map(|one| (one.line, &*one.key))
        .collect();
    warnings.sort_unstable();
    assert_eq!(
        warnings,
        [
            (Some(13), "providers[1].weight"),
            (Some(28), "monitoring.track_errors"),
        ]
    );
}
