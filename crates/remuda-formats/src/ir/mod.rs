//! The neutral model between two wire formats: what a chat asks for and what an answer consists of.
//!
//! It borrows from the body that it was read from. Text stays the inside of a JSON string literal, as it came:
//! most of a request is text, and all formats are JSON, so nothing of it is decoded and encoded again.
//!
//! Every client format is read into [`ChatRequest`] or [`EmbedRequest`]; every provider format is written from
//! them. Every provider's answer becomes [`Event`]s, whether it streamed or came whole; every client format is
//! written from those, or from the [`Response`] that an [`Assembler`] gathers.

mod assemble;
mod cache;
mod embed;
mod event;
mod fault;
mod held;
mod image;
mod names;
mod normalise;
mod offered;
mod request;
mod speakers;
mod special;
mod system;
mod text;
mod ttl;
mod weave;

pub use assemble::{Assembler, Call, Response, ResponseItem};
pub use cache::{MOST_BREAKPOINTS, take_from_result};
pub use embed::{EmbedInput, EmbedRequest, Embeddings, MOST_INPUTS, to_unit_length};
pub use event::{CallHead, Decode, Encode, Event, Finish, Usage};
pub use fault::{Class, Fault, FaultKind, Mend, Overflow};
pub use held::HeldFinish;
pub use image::{BadImage, Image, MediaType, clean_base64};
pub use names::ToolNames;
pub use normalise::{drop_blank, merge_turns, pair_tool_results, start_with_user};
pub use offered::{ClientTool, ClientTools};
pub use request::{
    ChatRequest, Completion, Document, Dropped, Effort, Format, Local, Message, Part, Refused,
    Role, Sampling, Serving, Thinking, Thought, ThoughtPlace, Tool, ToolCall, ToolChoice,
    ToolResult,
};
pub use speakers::name_speakers;
pub use special::{Grammar, Special, SpecialTool};
pub use system::{hoist_prompt, hoist_system, results_before_system, system_as_user};
pub use text::{Json, Text};
pub use ttl::CacheTtl;
pub use weave::place_thoughts;
