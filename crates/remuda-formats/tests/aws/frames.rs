//! Event frames cross between botocore and here, both ways.

use crate::{ask, from_hex, hex, samples};
use proptest::prelude::*;
use remuda_formats::wire::eventstream::{self, Frame, FrameSplitter};
use serde_json::{Value, json};

#[test]
fn botocore_reads_the_frames_that_are_written() {
    let frames = samples(&(".{0,60}", ".{0,400}", 0..3_u8), 1000);
    let mut questions = Vec::new();
    let mut expected = Vec::new();
    for (kind, text, which) in &frames {
        let payload = text.as_bytes();
        let (frame, headers, payload) = match which {
            0 => (
                Frame::Event { kind, payload },
                json!({":message-type": "event", ":event-type": kind, ":content-type": "application/json"}),
                payload,
            ),
            1 => (
                Frame::Exception { kind, payload },
                json!({":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}),
                payload,
            ),
            _ => (
                Frame::Error {
                    code: kind,
                    message: text,
                },
                json!({":message-type": "error", ":error-code": kind, ":error-message": text}),
                &b""[..],
            ),
        };
        let mut bytes = Vec::new();
        eventstream::write(&frame, &mut bytes).unwrap();
        questions.push(json!({"ask": "decode", "bytes": hex(&bytes)}));
        expected.push(json!([{"headers": headers, "payload": hex(payload)}]));
    }
    assert_eq!(ask(&questions), expected);
}

#[test]
fn frames_that_botocore_accepts_are_read() {
    let more = prop::collection::vec(("[a-zé:-]{1,12}", ".{0,30}"), 0..4);
    let frames = samples(
        &(
            more,
            ".{0,60}",
            prop::collection::vec(any::<u8>(), 0..400),
            0..4_usize,
        ),
        1000,
    );
    let questions: Vec<Value> = frames
        .iter()
        .map(|(more, kind, payload, place)| {
            let mut headers: Vec<_> = more
                .iter()
                .enumerate()
                .map(|(at, (name, value))| (format!("{name}{at}"), value.clone()))
                .collect();
            let place = (*place).min(headers.len());
            headers.insert(place, (":event-type".to_owned(), kind.clone()));
            headers.insert(place, (":message-type".to_owned(), "event".to_owned()));
            json!({"ask": "encode", "headers": headers, "payload": hex(payload)})
        })
        .collect();
    let stream: Vec<u8> = ask(&questions)
        .iter()
        .flat_map(|frame| from_hex(frame.as_str().unwrap()))
        .collect();
    for size in [7, 1000, stream.len()] {
        let mut splitter = FrameSplitter::default();
        let mut expected = frames.iter();
        for piece in stream.chunks(size) {
            splitter
                .feed(piece, |frame| {
                    let (_, kind, payload, _) = expected.next().unwrap();
                    assert_eq!(frame, Frame::Event { kind, payload });
                })
                .unwrap();
        }
        assert_eq!((splitter.finish(), expected.next()), (Ok(()), None));
    }
}
