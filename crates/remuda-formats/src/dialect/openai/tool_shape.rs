//! Where the members of a tool stand, in which chats and Responses differ.

use super::object::Object;

/// Where the members of a tool stand, and those of a choice of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToolShape {
    /// They stand in an object under the name of the tool's type, as in chats.
    Nested,
    /// They stand beside the type, as in Responses.
    Flat,
}

impl ToolShape {
    /// Writes `type` and the members that go with it.
    pub(super) fn write(
        self,
        kind: &str,
        object: &mut Object<'_>,
        members: impl FnOnce(&mut Object<'_>),
    ) {
        object.word("type", kind);
        match self {
            ToolShape::Nested => {
                let mut inner = Object::new(object.key(kind));
                members(&mut inner);
                inner.end();
            }
            ToolShape::Flat => members(object),
        }
    }
}
