//! Where a client has marked its prompt, so that the provider keeps what comes before: Anthropic's `cache_control` on a
//! block, Bedrock's `cachePoint` after one.

use super::{CacheTtl, ChatRequest, Message, Part};

/// Breakpoints in one request at most, at Anthropic and at Bedrock.
pub const MOST_BREAKPOINTS: usize = 4;

impl ChatRequest<'_> {
    /// Takes all breakpoints out, for a provider that knows none. True if there were any.
    pub fn take_breakpoints(&mut self) -> bool {
        let mut found = self.cache.take().is_some();
        for tool in &mut self.tools {
            found |= tool.cache.take().is_some();
        }
        for message in &mut self.messages {
            let before = message.parts.len();
            message.parts.retain(|part| !part.is_breakpoint());
            found |= message.parts.len() < before;
        }
        found
    }

    /// Leaves the last [`MOST_BREAKPOINTS`], in the order of a prompt: tools, system, turns. What is before a later one
    /// is before an earlier one too, so the most is kept. True if some had to go.
    pub fn limit_breakpoints(&mut self) -> bool {
        let of = |message: &Message<'_>| {
            message
                .parts
                .iter()
                .filter(|part| part.is_breakpoint())
                .count()
        };
        let of_tools = self
            .tools
            .iter()
            .filter(|tool| tool.cache.is_some())
            .count();
        let of_turns: usize = self.messages.iter().map(of).sum();
        let all = usize::from(self.cache.is_some()) + of_tools + of_turns;
        let mut surplus = all.saturating_sub(MOST_BREAKPOINTS);
        let exceeds = surplus > 0;
        let mut goes = || {
            let goes = surplus > 0;
            surplus -= usize::from(goes);
            goes
        };
        for tool in &mut self.tools {
            if tool.cache.is_some() && goes() {
                tool.cache = None;
            }
        }
        for message in &mut self.messages {
            message
                .parts
                .retain(|part| !part.is_breakpoint() || !goes());
        }
        exceeds
    }
}

/// Takes the breakpoints out of what a tool answered: the longest that one is for. One within a result keeps no more of
/// the prompt than one after it, where every provider knows it.
pub fn take_from_result(parts: &mut Vec<Part<'_>>) -> Option<CacheTtl> {
    let mut found = None;
    parts.retain(|part| match part {
        Part::Breakpoint(ttl) => {
            found = found.max(Some(*ttl));
            false
        }
        _ => true,
    });
    found
}

/// Takes out a breakpoint that nothing of its turn stands before, and puts it where that is the same: after the turn
/// before.
pub(super) fn move_leading<'a>(message: &mut Message<'a>, before: Option<&mut Message<'a>>) {
    let leading = message.parts.iter().take_while(|part| part.is_breakpoint());
    let count = leading.count();
    let moved = message.parts.drain(..count).next_back();
    if let (Some(breakpoint), Some(before)) = (moved, before)
        && !before.parts.last().is_some_and(Part::is_breakpoint)
    {
        before.parts.push(breakpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Role, Text, Tool};
    use super::*;

    fn request() -> ChatRequest<'static> {
        let said = |text| {
            let parts = vec![
                Part::Text(Text::escaped(text)),
                Part::Breakpoint(CacheTtl::Short),
            ];
            Message::new(Role::User, parts)
        };
        ChatRequest {
            tools: vec![Tool {
                name: Text::escaped("f"),
                description: None,
                parameters: None,
                strict: None,
                cache: Some(CacheTtl::Hour),
            }],
            messages: vec![said("a"), said("b"), said("c")],
            ..ChatRequest::default()
        }
    }

    #[test]
    fn the_last_four_stay() {
        let mut four = request();
        assert!(!four.limit_breakpoints());
        assert_eq!(four, request());
        let mut five = ChatRequest {
            cache: Some(CacheTtl::Short),
            ..request()
        };
        assert!(five.limit_breakpoints());
        assert_eq!(five.tools[0].cache, None);
        assert_eq!(five.messages, request().messages);
    }

    #[test]
    fn where_none_is_known_none_stays() {
        let mut request = request();
        assert!(request.take_breakpoints());
        assert!(!request.take_breakpoints());
        assert_eq!(request.messages[2].parts.len(), 1);
    }
}
