//! What the scheduler decides, as clients notice it.

use super::*;

fn generate(model: &str, more: &str) -> String {
    format!(r#"{{"model":"{model}","prompt":"hi","stream":false{more}}}"#)
}

#[tokio::test]
async fn the_wait_for_a_slot_is_what_the_durations_leave() {
    let running = with("llama3.2", |options| {
        options.machine.answer_tokens = 40..=40;
        options.machine.decode_speed = 200.0;
    })
    .await;
    post(&running, "/api/generate", r#"{"model":"llama3.2"}"#).await;
    let body = generate("llama3.2", "");
    let (one, two) = tokio::join!(
        post(&running, "/api/generate", &body),
        post(&running, "/api/generate", &body)
    );
    let wait = |answer: &Answer| {
        let answer = answer.json();
        let of = |name: &str| answer[name].as_u64().unwrap_or(0);
        let known = of("load_duration") + of("prompt_eval_duration") + of("eval_duration");
        Duration::from_nanos(of("total_duration") - known)
    };
    let waits = [wait(&one), wait(&two)];
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*least < Duration::from_millis(100), "{waits:?}");
    assert!(
        *most >= Duration::from_millis(190),
        "one run's length: {waits:?}"
    );
}

#[tokio::test]
async fn a_copy_that_hangs_is_cured_by_unloading_once_nobody_waits_for_it() {
    let running = fast("llama3.2,qwen3:8b").await;
    running.inject(&fault("hang:model=llama3.2,times=1"));
    let hangs = begin(&running, "/api/chat", CHAT).await;
    until(&running, |stats| stats.active == 1).await;
    let later = begin(&running, "/api/chat", CHAT).await;
    until(&running, |stats| stats.waiting == 1).await;
    let load = post(&running, "/api/generate", r#"{"model":"llama3.2"}"#).await;
    assert_eq!(load.json()["done_reason"], "load");
    let render = generate("llama3.2", r#","_debug_render_only":true"#);
    let render = post(&running, "/api/generate", &render).await;
    assert_eq!(render.status, 200);
    let other = generate("qwen3:8b", "");
    assert_eq!(post(&running, "/api/generate", &other).await.status, 200);
    let unload = r#"{"model":"llama3.2","keep_alive":0}"#;
    let unload = post(&running, "/api/generate", unload).await;
    assert_eq!(unload.json()["done_reason"], "unload");
    let loaded = |stats: &Stats| stats.loaded.iter().any(|name| name == "llama3.2:latest");
    assert!(loaded(&running.stats()[0]), "it is waited for");
    drop((hangs, later));
    until(&running, |stats| !loaded(stats)).await;
    assert_eq!(post(&running, "/api/chat", CHAT).await.status, 200);
}

#[tokio::test]
async fn embeddings_hang_alone() {
    let running = fast("llama3.2,nomic-embed-text").await;
    running.inject(&fault("hang:route=/api/embed"));
    let body = r#"{"model":"nomic-embed-text","input":"a"}"#;
    let _hangs = begin(&running, "/api/embed", body).await;
    until(&running, |stats| stats.active == 1).await;
    assert_eq!(post(&running, "/api/chat", CHAT).await.status, 200);
    let load = r#"{"model":"nomic-embed-text","input":[]}"#;
    assert_eq!(post(&running, "/api/embed", load).await.status, 200);
    assert_eq!(running.stats()[0].active, 1);
}

#[tokio::test]
async fn the_inputs_of_one_request_are_embedded_in_as_many_slots_as_there_are() {
    for (slots, capabilities, rounds) in [
        (4, &["completion", "embedding"][..], 1),
        (1, &["completion", "embedding"][..], 4),
        // What only embeds has one.
        (4, &["embedding"][..], 4),
    ] {
        let running = with("nomic-embed-text", |options| {
            options.models[0][0].capabilities = capabilities;
            options.machine.parallel = slots;
            // 102 tokens in a quarter of a second.
            options.machine.prompt_speed = 408.0;
        })
        .await;
        let input = vec!["x".repeat(400); 4];
        let body = serde_json::json!({"model": "nomic-embed-text", "input": input});
        let answer = post(&running, "/api/embed", &body.to_string()).await.json();
        assert_eq!(answer["embeddings"].as_array().unwrap().len(), 4);
        assert_eq!(answer["prompt_eval_count"], 4 * 102);
        let quarters = answer["total_duration"].as_u64().unwrap() / 250_000_000;
        assert!(quarters >= rounds, "{quarters} of {rounds}");
        assert!(rounds > 1 || quarters < 4, "{quarters}");
    }
}

#[tokio::test]
async fn a_load_that_fails_or_never_ends_is_answered_500() {
    let running = with("llama3.2", |options| {
        options.machine.load_timeout = Duration::from_millis(50);
    })
    .await;
    running.inject(&fault("fail_load:model=llama3.2,times=1"));
    let answer = post(&running, "/api/chat", CHAT).await;
    let text = "llama-server process has terminated: exit status 3".to_owned();
    assert_eq!(answer.error(), (500, text));
    running.inject(&fault("stuck_load:times=1"));
    let answer = post(&running, "/api/chat", CHAT).await;
    let text = "timed out waiting for llama-server to start".to_owned();
    assert_eq!(answer.error(), (500, text));
    assert_eq!(running.stats()[0].failed_loads, 2);
    assert_eq!(post(&running, "/api/chat", CHAT).await.status, 200);
}

#[tokio::test]
async fn a_slow_gpu_takes_its_factor() {
    let running = with("llama3.2", |options| {
        options.machine.answer_tokens = 20..=20;
        options.machine.decode_speed = 1_000.0;
    })
    .await;
    running.inject(&fault("slow_gpu:factor=10"));
    let answer = post(&running, "/api/generate", &generate("llama3.2", "")).await;
    assert!(answer.json()["eval_duration"].as_u64().unwrap() >= 200_000_000);
}

#[tokio::test]
async fn prompts_are_shortened_in_silence_or_refused() {
    let running = fast("llama3.2").await;
    let long = |more: &str| {
        let prompt = "these words ".repeat(4_000);
        format!(
            r#"{{"model":"llama3.2","prompt":"{prompt}","stream":false,"options":{{"num_ctx":4096}}{more}}}"#
        )
    };
    let cut = post(&running, "/api/generate", &long("")).await;
    assert_eq!(cut.json()["prompt_eval_count"], 2_051);
    let refused = post(&running, "/api/generate", &long(r#","truncate":false"#)).await;
    assert!(refused.error().1.contains(r#""n_ctx":4096}"#));
    assert_eq!(running.stats()[0].loads, 1);
    let refused = post(&running, "/api/generate", &long(r#","shift":false"#)).await;
    assert!(refused.error().1.starts_with("the prompt is longer than"));
    assert_eq!(running.stats()[0].loads, 2, "after a reload");
}

#[tokio::test]
async fn an_answer_without_shift_ends_where_the_context_does() {
    let running = with("llama3.2", |options| {
        options.machine.answer_tokens = 500..=500;
    })
    .await;
    let of = |more: &str| {
        generate(
            "llama3.2",
            &format!(r#","options":{{"num_ctx":100}}{more}"#),
        )
    };
    let shifts = post(&running, "/api/generate", &of("")).await.json();
    assert_eq!(
        (&shifts["done_reason"], &shifts["eval_count"]),
        (&"stop".into(), &500.into())
    );
    let ends = post(&running, "/api/generate", &of(r#","shift":false"#))
        .await
        .json();
    assert_eq!(ends["done_reason"], "length");
    let count = |name: &str| ends[name].as_u64().unwrap();
    assert_eq!(count("prompt_eval_count") + count("eval_count"), 100);
}

#[tokio::test]
async fn an_answer_goes_on_from_a_rendered_prompt() {
    let running = fast("llama3.2").await;
    let whole = post(
        &running,
        "/api/chat",
        &CHAT.replace("]}", r#"],"stream":false}"#),
    )
    .await;
    let whole = whole.json()["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = CHAT.replace("]}", r#"],"_debug_render_only":true}"#);
    let rendered = post(&running, "/api/chat", &body).await.json();
    let prompt = rendered["_debug_info"]["rendered_template"]
        .as_str()
        .unwrap();
    let begun = &whole[..whole.find(' ').unwrap()];
    let body = serde_json::json!({
        "model": "llama3.2", "prompt": prompt.to_owned() + begun, "raw": true, "stream": false,
    });
    let rest = post(&running, "/api/generate", &body.to_string())
        .await
        .json();
    assert_eq!(begun.to_owned() + rest["response"].as_str().unwrap(), whole);
}

#[tokio::test]
async fn a_prompt_that_is_remembered_costs_less() {
    let running = with("llama3.2", |options| {
        options.machine.prompt_speed = 10_000.0;
        options.machine.tells_cached = true;
    })
    .await;
    let prompt = "these words ".repeat(700);
    let body = format!(r#"{{"model":"llama3.2","prompt":"{prompt}","stream":false}}"#);
    let first = post(&running, "/api/generate", &body).await.json();
    let again = post(&running, "/api/generate", &body).await.json();
    assert_eq!(first["prompt_eval_cached_count"], 0);
    assert_eq!(first["prompt_eval_count"], again["prompt_eval_count"]);
    assert!(again["prompt_eval_cached_count"].as_u64().unwrap() > 2_000);
    let time = |answer: &Value| answer["prompt_eval_duration"].as_u64().unwrap();
    assert!(time(&first) >= 200_000_000 && time(&again) < time(&first) / 2);
}

#[tokio::test]
async fn an_older_version_tells_less() {
    let running = with("llama3.2", |options| options.machine.older = true).await;
    let tags = get(&running, "/api/tags").await.json();
    let model = &tags["models"][0];
    assert_eq!(model.get("capabilities"), None);
    assert_eq!(model["details"].get("context_length"), None);
    let body = CHAT.replace("]}", r#"],"_debug_render_only":true,"stream":false}"#);
    let answer = post(&running, "/api/chat", &body).await.json();
    assert_eq!(answer["done"], true, "the field is not known");
}
