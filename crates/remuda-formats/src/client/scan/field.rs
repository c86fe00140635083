//! The fields of a body that routing looks at.

use crate::client::{Operation, optillm};

/// The fields that are looked at, by their folded names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Model,
    Name,
    Stream,
    Input,
    KeepAlive,
    Tools,
    Functions,
    Images,
    Format,
    Think,
    Raw,
    StreamOptions,
    MostOutput,
    Answers,
    Options,
    Shift,
    Truncate,
    Private,
    Source,
    Destination,
}

impl Field {
    pub(super) fn of(operation: Operation, key: &[u8]) -> Option<Field> {
        use Operation::*;
        let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
        match key.len() {
            1 if is("n") && matches!(operation, OpenAiChat | OpenAiCompletions | OpenAiImages) => {
                Some(Field::Answers)
            }
            3 if is("raw") && operation == Generate => Some(Field::Raw),
            4 if is("from") && operation == Create => Some(Field::Source),
            4 if is("name") && matches!(operation, Show | Pull | Push | Create | Delete) => {
                Some(Field::Name)
            }
            5 if is("model") => Some(Field::Model),
            5 if is("tools") => Some(Field::Tools),
            5 if is("shift") && matches!(operation, Generate | Chat) => Some(Field::Shift),
            5 if is("think") && matches!(operation, Generate | Chat) => Some(Field::Think),
            5 if is("input") && matches!(operation, Embed | OpenAiEmbeddings | OpenAiResponses) => {
                Some(Field::Input)
            }
            6 if is("stream") => Some(Field::Stream),
            6 if is("prompt") && matches!(operation, Generate | Embeddings | OpenAiCompletions) => {
                Some(Field::Input)
            }
            6 if is("images") && operation == Generate => Some(Field::Images),
            6 if is("suffix") && matches!(operation, Generate | OpenAiCompletions) => {
                Some(Field::Raw)
            }
            6 if is("format") && matches!(operation, Generate | Chat) => Some(Field::Format),
            6 if is("source") && operation == Copy => Some(Field::Source),
            7 if is("best_of") && operation == OpenAiCompletions => Some(Field::Answers),
            7 if is("options") && matches!(operation, Generate | Chat | Embed | Embeddings) => {
                Some(Field::Options)
            }
            8 if is("messages") && matches!(operation, Chat | OpenAiChat | AnthropicMessages) => {
                Some(Field::Input)
            }
            8 if is("template") && operation == Generate => Some(Field::Raw),
            8 if is("truncate") && matches!(operation, Generate | Chat | Embed) => {
                Some(Field::Truncate)
            }
            // The tools of 2023.
            9 if is("functions") && operation == OpenAiChat => Some(Field::Functions),
            8 if is("thinking") && operation == AnthropicMessages => Some(Field::Think),
            10 if is("keep_alive") => Some(Field::KeepAlive),
            10 if is("max_tokens") => Some(Field::MostOutput),
            11 if is("destination") && operation == Copy => Some(Field::Destination),
            14 if is("stream_options") => Some(Field::StreamOptions),
            15 if is("response_format") && operation == OpenAiChat => Some(Field::Format),
            17 if is("max_output_tokens") => Some(Field::MostOutput),
            21 if is("max_completion_tokens") => Some(Field::MostOutput),
            _ if matches!(operation, OpenAiChat | OpenAiCompletions) && optillm::concerns(key) => {
                Some(Field::Private)
            }
            _ => None,
        }
    }
}
