//! The calls of tools in an answer. The provider tells one after another; servers that speak its format may let them
//! overlap, leave out where one ends, or say all of a call at once.

use crate::ir::{Event, Json, Text};

/// Calls that may be open at once; the first of more has lost its end.
const MOST_OPEN: usize = 256;

/// The calls so far.
#[derive(Default)]
pub(super) struct Calls {
    begun: usize,
    open: Vec<Open>,
}

/// A call whose end has not come.
struct Open {
    /// The number of its block, where the server gives one.
    block: Option<usize>,
    call: usize,
    /// What its beginning says of the input, which counts only if no piece of it comes.
    input: Option<String>,
}

impl Calls {
    pub(super) fn start(
        &mut self,
        block: Option<usize>,
        id: Option<Text<'_>>,
        name: Text<'_>,
        input: Option<Json<'_>>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        // A block with the same number has ended.
        self.stop_where(|open| open.block == block, emit);
        if self.open.len() == MOST_OPEN {
            let first = self.open[0].call;
            self.stop_where(|open| open.call == first, emit);
        }
        let input = input.filter(|input| input.is_object() && !is_empty(input));
        let index = self.next();
        self.open.push(Open {
            block,
            call: index,
            input: input.map(|input| input.to_text().into_inner().into_owned()),
        });
        emit(Event::ToolStart {
            index,
            id: id.filter(|id| !id.is_empty()),
            name,
            signature: None,
        });
    }

    /// Tells a call of a whole answer.
    pub(super) fn whole(
        &mut self,
        id: Option<Text<'_>>,
        name: Text<'_>,
        input: Option<Json<'_>>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        emit(Event::ToolCall {
            index: self.next(),
            id: id.filter(|id| !id.is_empty()),
            name,
            arguments: input
                .filter(Json::is_object)
                .unwrap_or_else(Json::empty_object),
            signature: None,
        });
    }

    /// Tells a piece of the input.
    pub(super) fn arguments(
        &mut self,
        block: Option<usize>,
        fragment: Text<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let of_block = |open: &&mut Open| block.is_none() || open.block == block;
        if let Some(open) = self.open.iter_mut().rfind(of_block) {
            open.input = None;
            let index = open.call;
            emit(Event::ToolArguments { index, fragment });
        }
    }

    /// A block has ended, be it a call or not.
    pub(super) fn stop(&mut self, block: Option<usize>, emit: &mut dyn FnMut(Event<'_>)) {
        self.stop_where(|open| block.is_none() || open.block == block, emit);
    }

    /// Ends those that are open.
    pub(super) fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        self.stop_where(|_| true, emit);
    }

    fn stop_where(&mut self, is: impl Fn(&Open) -> bool, emit: &mut dyn FnMut(Event<'_>)) {
        self.open.retain_mut(|open| {
            if !is(open) {
                return true;
            }
            let index = open.call;
            if let Some(input) = open.input.take() {
                let fragment = Text::escaped(input);
                emit(Event::ToolArguments { index, fragment });
            }
            emit(Event::ToolEnd { index });
            false
        });
    }

    fn next(&mut self) -> usize {
        self.begun += 1;
        self.begun - 1
    }
}

fn is_empty(json: &Json<'_>) -> bool {
    json.as_str()
        .strip_prefix('{')
        .is_some_and(|rest| rest.trim_ascii_start() == "}")
}
