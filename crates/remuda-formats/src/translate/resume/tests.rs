//! Answers that break off at every place and go on in the same format or another: what their clients read is one answer.

use http::HeaderMap;

use super::interrupted::Interrupted;
use super::retelling::{can_be_told_again, retelling};
use crate::client::Operation;
use crate::dialect::exchange::{ProviderRequest, Reply};
use crate::ir::{Event, Finish, Text, ToolNames, Usage};
use crate::translate::answer::{Ending, Translation};
use crate::translate::forms::{ClientForm, ProviderForm, chats};
use crate::translate::passing::Passing;

/// Formats that both clients and providers speak.
const SPOKEN: [(Operation, ClientForm, ProviderForm); 6] = [
    (
        Operation::Chat,
        ClientForm::OllamaChat,
        ProviderForm::OllamaChat,
    ),
    (
        Operation::Generate,
        ClientForm::OllamaGenerate,
        ProviderForm::OllamaGenerate,
    ),
    (
        Operation::OpenAiChat,
        ClientForm::OpenAiChat,
        ProviderForm::OpenAiChat,
    ),
    (
        Operation::OpenAiCompletions,
        ClientForm::OpenAiCompletions,
        ProviderForm::OpenAiCompletions,
    ),
    (
        Operation::OpenAiResponses,
        ClientForm::OpenAiResponses,
        ProviderForm::OpenAiResponses,
    ),
    (
        Operation::AnthropicMessages,
        ClientForm::AnthropicMessages,
        ProviderForm::AnthropicMessages,
    ),
];

const WORDS: [&str; 5] = ["Ein ", "naïves ", "\"Pferd\" ", "🐎\n", "läuft."];

const BROKE: &str = "the backend broke off its answer";

/// A provider's stream that says these words, in its lines or events.
fn stream(form: ClientForm, words: &[&str]) -> Vec<u8> {
    let (client, _) = chats(form, ProviderForm::OllamaChat);
    let mut encoder = (client.encoder)(Reply {
        include_usage: true,
        ..Reply::sample()
    });
    let mut out = Vec::new();
    let mut tell = |event: Event<'_>| encoder.event(&event, &mut out);
    for word in words {
        tell(Event::Text(Text::plain(word)));
    }
    tell(Event::Usage(Usage {
        prompt: Some(3),
        output: Some(words.len() as u64),
        ..Usage::default()
    }));
    tell(Event::Finish {
        reason: Finish::Stop,
        stop: None,
    });
    tell(Event::End);
    out
}

/// What a client of the format reads: the text, and whether the answer ended as it should.
fn read(form: ProviderForm, stream: &[u8]) -> (String, Result<(), String>) {
    let (_, provider) = chats(ClientForm::OllamaChat, form);
    let mut decoder = (provider.decoder)(ToolNames::default());
    let (mut text, mut ended) = (String::new(), Err("no end".to_owned()));
    let mut note = |event: Event<'_>| match event {
        Event::Text(piece) => text += &piece.decoded(),
        Event::End => ended = Ok(()),
        Event::Failed(fault) => ended = Err(fault.message.to_string()),
        Event::Malformed => ended = Err("malformed".to_owned()),
        _ => {}
    };
    decoder.feed(stream, &mut note);
    decoder.finish(&mut note);
    (text, ended)
}

fn body(operation: Operation) -> &'static [u8] {
    match operation {
        Operation::Generate | Operation::OpenAiCompletions => {
            br#"{"model":"m","prompt":"hi","stream":true}"#
        }
        Operation::OpenAiResponses => br#"{"model":"m","input":"hi","stream":true}"#,
        Operation::AnthropicMessages => {
            br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}"#
        }
        _ => br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#,
    }
}

fn translation(client: ClientForm, form: ProviderForm) -> Translation {
    let mut outgoing = ProviderRequest::default();
    Translation::chat(
        chats(client, form),
        Reply::sample(),
        &mut outgoing,
        true,
        true,
    )
}

/// Has `first` read by a client until it broke off. Returns what the client got.
fn broken(client: ClientForm, operation: Operation, first: First<'_>) -> (Vec<u8>, Interrupted) {
    match first {
        First::Passing(bytes) => {
            let mut passing = Passing::new(operation, true);
            passing.watch();
            passing.begin(true, None);
            let got = passing.feed(bytes).to_vec();
            (got, passing.interrupted(BROKE).expect("words alone"))
        }
        First::Across(form, bytes) => {
            let mut translation = translation(client, form);
            translation.watch();
            let got = translation.feed(bytes).to_vec();
            (got, translation.interrupted(BROKE).expect("words alone"))
        }
    }
}

#[derive(Clone, Copy)]
enum First<'a> {
    Passing(&'a [u8]),
    Across(ProviderForm, &'a [u8]),
}

/// Has a second telling in `form` read by the client of an answer that broke off, in pieces of `size`.
fn gone_on(
    (operation, client): (Operation, ClientForm),
    (own, form): (ProviderForm, ProviderForm),
    from: &Interrupted,
    (stream, size): (&[u8], usize),
) -> (Vec<u8>, Ending, bool) {
    let mut second = if form == own {
        retelling(operation, body(operation), Reply::sample(), from).expect("a plain request")
    } else {
        let mut second = translation(client, form);
        second.go_on_from(from);
        Box::new(second)
    };
    let mut got = Vec::new();
    for piece in stream.chunks(size) {
        got.extend_from_slice(second.feed(piece));
    }
    let differs = second.differs();
    assert!(differs || !second.may_go_on(), "it has ended");
    let (ending, last) = second.finish(&HeaderMap::new());
    got.extend_from_slice(last);
    (got, ending, differs)
}

/// The words are read once, wherever the first answer broke off.
fn assert_whole(operation: Operation, client: ClientForm, own: ProviderForm) {
    for (_, first_form, form) in SPOKEN {
        let first = stream(first_form, &WORDS);
        for (_, second_form, second_to) in SPOKEN {
            let second = stream(second_form, &WORDS.join("").split("").collect::<Vec<_>>());
            // Every place where the answer has not said why it ends.
            let places = (0..first.len()).step_by(29);
            for cut in places {
                let begun = if form == own {
                    First::Passing(&first[..cut])
                } else {
                    First::Across(form, &first[..cut])
                };
                if says_the_end(form, &first[..cut])
                    || (form == own && !is_amid_words(form, &first[..cut]))
                {
                    break;
                }
                let (mut got, from) = broken(client, operation, begun);
                let to = (own, second_to);
                let pieces = (&*second, 40);
                let (rest, ending, differs) = gone_on((operation, client), to, &from, pieces);
                got.extend_from_slice(&rest);
                let place = format!("{client:?} {form:?} {second_to:?} at {cut}");
                assert_eq!((ending, differs), (Ending::Complete, false), "{place}");
                let expected = (WORDS.concat(), Ok(()));
                assert_eq!(read(own, &got), expected, "{place}");
            }
        }
    }
}

/// Whether a stream has come as far as telling why it ends.
fn says_the_end(form: ProviderForm, stream: &[u8]) -> bool {
    let (_, provider) = chats(ClientForm::OllamaChat, form);
    let mut decoder = (provider.decoder)(ToolNames::default());
    let mut told = false;
    decoder.feed(stream, &mut |event| {
        told |= matches!(event, Event::Finish { .. } | Event::End);
    });
    told
}

/// Whether a stream of which the bytes pass has told its client of words alone.
fn is_amid_words(form: ProviderForm, stream: &[u8]) -> bool {
    let (_, provider) = chats(ClientForm::OllamaChat, form);
    let mut decoder = (provider.decoder)(ToolNames::default());
    decoder.feed(stream, &mut |_| {});
    decoder.is_amid_words()
}

/// What its client has been told in the server's own numbers, ids and ends cannot be gone on with by another's.
#[test]
fn what_has_passed_beyond_words_does_not_go_on() {
    const CHUNK: &str = r#"data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Ein "},"finish_reason":null}]}"#;
    const MESSAGE: &str = r#"data: {"type":"message_start","message":{"id":"msg_1","model":"m","content":[]}}

data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Ein "}}"#;
    const RESPONSE: &str = r#"data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"Ein "}"#;
    for (operation, before, after, may) in [
        (Operation::OpenAiChat, CHUNK, "", true),
        (
            Operation::OpenAiChat,
            CHUNK,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
            false,
        ),
        (
            Operation::OpenAiChat,
            CHUNK,
            r#"{"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":""}}}]}"#,
            false,
        ),
        (
            Operation::OpenAiChat,
            CHUNK,
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
            false,
        ),
        (
            Operation::OpenAiChat,
            CHUNK,
            r#"{"choices":[{"index":0,"delta":{}}],"citations":["https://example.com"]}"#,
            false,
        ),
        (Operation::AnthropicMessages, MESSAGE, "", true),
        (
            Operation::AnthropicMessages,
            MESSAGE,
            r#"{"type":"content_block_stop","index":0}"#,
            false,
        ),
        (
            Operation::AnthropicMessages,
            MESSAGE,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
            false,
        ),
        (Operation::OpenAiResponses, RESPONSE, "", false),
    ] {
        let mut passing = Passing::new(operation, true);
        passing.watch();
        passing.begin(true, None);
        let mut stream = format!("{before}\n\n");
        if !after.is_empty() {
            stream += &format!("data: {after}\n\n");
        }
        assert!(!passing.feed(stream.as_bytes()).is_empty());
        assert_eq!(passing.may_go_on(), may, "{stream}");
        assert_eq!(passing.interrupted(BROKE).is_some(), may, "{stream}");
    }
}

/// A line whose newline was lost is a line of its own all the same.
#[test]
fn what_goes_on_after_a_line_without_its_end_begins_a_line() {
    const LINES: &[u8] =
        b"{\"message\":{\"role\":\"assistant\",\"content\":\"Ein \"},\"done\":false}\n\
        {\"message\":{\"role\":\"assistant\",\"content\":\"na\"},\"done\":false}";
    let mut passing = Passing::new(Operation::Chat, true);
    passing.watch();
    passing.begin(true, None);
    let mut got = passing.feed(LINES).to_vec();
    let (_, rest) = passing.finish();
    got.extend_from_slice(rest);
    assert_eq!(got, [LINES, b"\n"].concat());
    assert_eq!(passing.interrupted(BROKE).unwrap().sent().words(), "Ein na");
}

#[test]
fn an_answer_goes_on_in_ollamas_format() {
    for (operation, client, own) in &SPOKEN[..2] {
        assert_whole(*operation, *client, *own);
    }
}

#[test]
fn an_answer_goes_on_in_openais_formats() {
    for (operation, client, own) in &SPOKEN[2..5] {
        assert_whole(*operation, *client, *own);
    }
}

#[test]
fn an_answer_goes_on_in_anthropics_format() {
    let (operation, client, own) = SPOKEN[5];
    assert_whole(operation, client, own);
}

/// A client that is told of events by their numbers finds none twice and none left out, and the whole text at the end.
#[test]
fn the_events_of_responses_are_numbered_as_if_nothing_had_happened() {
    let first = stream(ClientForm::OllamaChat, &WORDS);
    let lines: Vec<usize> = memchr::memchr_iter(b'\n', &first).collect();
    let begun = First::Across(ProviderForm::OllamaChat, &first[..=lines[2]]);
    let (operation, client, own) = SPOKEN[4];
    let (mut got, from) = broken(client, operation, begun);
    let to = (own, ProviderForm::OllamaChat);
    let (rest, ..) = gone_on((operation, client), to, &from, (&first, 40));
    got.extend_from_slice(&rest);
    let text = String::from_utf8(got).unwrap();
    let events: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let ids = events.iter().filter_map(|event| event["item_id"].as_str());
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 1);
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], WORDS.concat());
    assert_eq!(text.matches(": resumed\n\n").count(), 1, "{text}");
}

#[test]
fn another_answer_ends_as_the_first_would_have_ended() {
    for (operation, client, own) in SPOKEN {
        let first = stream(ClientForm::OllamaChat, &WORDS);
        let lines: Vec<usize> = memchr::memchr_iter(b'\n', &first).collect();
        let begun = if own == ProviderForm::OllamaChat {
            First::Passing(&first[..=lines[2]])
        } else {
            First::Across(ProviderForm::OllamaChat, &first[..=lines[2]])
        };
        let (mut got, from) = broken(client, operation, begun);
        for words in [["Ein ", "naiver Hund"], ["Ein ", "naïves"]] {
            let other = stream(client, &words);
            let (rest, ending, differs) =
                gone_on((operation, client), (own, own), &from, (&other, 9));
            assert_eq!((ending, differs), (Ending::Failed, true), "{client:?}");
            let so_far = got.len();
            got.extend_from_slice(&rest);
            let told = read(own, &got);
            got.truncate(so_far);
            assert_eq!(told, (WORDS[..3].concat(), Err(BROKE.into())), "{client:?}");
        }
    }
}

/// What a provider says of its failure waits until it is known whether the answer goes on.
#[test]
fn an_error_is_told_if_the_answer_does_not_go_on() {
    const LINES: &[u8] = b"{\"message\":{\"role\":\"assistant\",\"content\":\"Ein \"},\"done\":false}\n\
        {\"message\":{\"role\":\"assistant\",\"content\":\"x\"},\"error\":\"the runner has died\"}\n";
    let end_of_first = 1 + memchr::memchr(b'\n', LINES).unwrap();
    let mut passing = Passing::new(Operation::Chat, true);
    passing.watch();
    passing.begin(true, None);
    assert_eq!(passing.feed(LINES), &LINES[..end_of_first]);
    let from = passing.interrupted(BROKE).unwrap();
    assert_eq!(from.sent().words(), "Ein ");
    assert_eq!(&*from.fault().message, "the runner has died");
    assert_eq!(passing.give_up(), &LINES[end_of_first..]);
    assert!(!passing.may_go_on() && passing.give_up().is_empty());

    let mut across = translation(ClientForm::OpenAiChat, ProviderForm::OllamaChat);
    across.watch();
    let mut got = across.feed(LINES).to_vec();
    assert!(across.may_go_on() && across.fault().is_some());
    got.extend_from_slice(across.give_up());
    let (_, ended) = read(ProviderForm::OpenAiChat, &got);
    assert_eq!(ended, Err("the runner has died".to_owned()));
}

#[test]
fn only_one_answer_of_words_is_told_again() {
    for (operation, body, may) in [
        (Operation::OpenAiChat, body(Operation::OpenAiChat), true),
        (
            Operation::OpenAiChat,
            br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"n":2}"#,
            false,
        ),
        (
            Operation::OpenAiChat,
            br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"logprobs":true}"#,
            false,
        ),
        (Operation::Embed, br#"{"model":"m","input":"hi"}"#, false),
        (Operation::Chat, b"{", false),
    ] {
        let text = String::from_utf8_lossy(body);
        assert_eq!(can_be_told_again(operation, body), may, "{text}");
    }
}
