use super::super::Metrics;
use super::*;

const CHAT: &str = "/api/chat";

fn key(model: u32, provider: usize, route: &'static str) -> SeriesKey {
    SeriesKey {
        model: About::Known(ModelId(model)),
        provider: About::Known(ProviderId::at(provider)),
        route,
    }
}

fn page(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

/// A request of every kind that is measured, with every histogram.
fn ask(metrics: &Metrics, key: SeriesKey, measured: Measured, now: Instant) {
    let SeriesKey {
        model: About::Known(model),
        provider: About::Known(provider),
        ..
    } = key
    else {
        unreachable!("those of the tests are known");
    };
    let name = format!("some/model-of-a-usual-length-{}:latest", model.0);
    let provider = format!("provider-{}", provider.position());
    let series = metrics.series(key, measured, now, || (&name, &provider));
    series.count(200);
    series.duration.observe(0.3);
}

#[test]
fn codes_are_written_in_decimal_and_are_few() {
    let mut digits = [0; 5];
    assert_eq!(decimal(499, &mut digits), "499");
    assert_eq!(decimal(0, &mut digits), "0");
    assert_eq!(decimal(u16::MAX, &mut digits), "65535");
    let mut all: Vec<u16> = (0..=u16::MAX).map(told).collect();
    all.sort_unstable();
    all.dedup();
    assert!(all.len() < 80, "{all:?}");
    for code in [0, 200, 404, 429, 499, 500, 503, 529] {
        assert_eq!(told(code), code);
    }
    assert_eq!(
        [told(477), told(599), told(999), told(7)],
        [400, 500, 500, 100]
    );
}

#[test]
fn a_series_is_resolved_once_and_counts_by_code() {
    let metrics = Metrics::new();
    let key = key(1, 0, CHAT);
    let now = Instant::now();
    let series = metrics.series(key, Measured::Text, now, || ("llama3.2:latest", "gpus"));
    series.count(200);
    series.count(499);
    metrics
        .series(key, Measured::Text, now, || {
            unreachable!("already resolved")
        })
        .count(200);
    let text = page(&metrics);
    assert!(text.contains(
        r#"remuda_requests_total{gen_ai_request_model="llama3.2:latest",http_response_status_code="200",http_route="/api/chat",remuda_provider="gpus"} 2"#
    ), "{text}");
    assert!(text.contains(r#"http_response_status_code="499""#));
}

const ROUTES: [(&str, Measured); 12] = [
    (CHAT, Measured::Text),
    ("/api/generate", Measured::Text),
    ("/v1/chat/completions", Measured::Text),
    ("/v1/completions", Measured::Text),
    ("/v1/responses", Measured::Text),
    ("/v1/messages", Measured::Text),
    ("/v1/audio/transcriptions", Measured::Text),
    ("/v1/images/generations", Measured::Text),
    ("/api/embed", Measured::Vectors),
    ("/api/embeddings", Measured::Vectors),
    ("/v1/embeddings", Measured::Vectors),
    ("/api/show", Measured::Plain),
];

/// Five hundred models on every route make a page of no more than five megabytes, at any number of providers; and every
/// request is counted.
#[test]
fn the_page_is_bounded_whatever_is_asked() {
    for providers in [1, 10] {
        let metrics = Metrics::new();
        let now = Instant::now();
        let mut asked = 0;
        for model in 0..500 {
            for (route, measured) in ROUTES {
                for provider in 0..providers {
                    ask(&metrics, key(model, provider, route), measured, now);
                    asked += 1;
                }
            }
        }
        let text = page(&metrics);
        assert!(text.len() < 4_500_000, "{} of {providers}", text.len());
        let lines = text
            .lines()
            .filter(|line| line.starts_with("remuda_requests_total"));
        let counts = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        assert_eq!(counts.sum::<u64>(), asked);
        // As many as fit have their names.
        let own = text
            .matches("gen_ai_server_request_duration_seconds_count{gen_ai_request_model=\"some/");
        assert!(own.count() > 150, "of {providers}");
    }
}

/// What nobody has used for a while makes room, and comes back when it is asked for.
#[test]
fn idle_series_make_room_for_others() {
    let metrics = Metrics::new();
    let begin = Instant::now();
    for model in 0..500 {
        ask(&metrics, key(model, 0, CHAT), Measured::Text, begin);
    }
    let text = page(&metrics);
    let own = |text: &str, model: u32| text.contains(&format!("length-{model}:latest"));
    assert!(own(&text, 0) && !own(&text, 499));
    // The first one is in use; the others are not.
    let later = begin + IDLE - Duration::from_secs(60);
    ask(&metrics, key(0, 0, CHAT), Measured::Text, later);
    ask(&metrics, key(499, 0, CHAT), Measured::Text, later);
    let latest = begin + IDLE + Duration::from_secs(60);
    ask(&metrics, key(600, 0, CHAT), Measured::Text, latest);
    ask(&metrics, key(499, 0, CHAT), Measured::Text, latest);
    let text = page(&metrics);
    assert!(own(&text, 0) && own(&text, 600) && own(&text, 499) && !own(&text, 1));
    assert!(text.len() < 200_000, "{}", text.len());
    ask(&metrics, key(1, 0, CHAT), Measured::Text, latest);
    let counted = r#"length-1:latest",http_response_status_code="200",http_route="/api/chat",remuda_provider="provider-0"} 1"#;
    assert!(page(&metrics).contains(counted));
}

#[test]
fn use_of_models_is_told_once_where_they_share_a_name() {
    let metrics = Metrics::new();
    let now = Instant::now();
    for model in 0..500 {
        let key = key(model, 0, CHAT);
        let name = format!("model-{model}");
        let series = metrics.series(key, Measured::Text, now, || (&name, "gpus"));
        series.model.as_ref().unwrap().queue_wait.observe(0.0);
    }
    let usage = metrics.model_usage(ProviderId::at(0));
    assert_eq!(usage.iter().map(|usage| usage.requests).sum::<u64>(), 500);
    assert!(
        usage
            .iter()
            .any(|usage| usage.model == About::Other && usage.requests > 100)
    );
}
