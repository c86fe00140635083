//! Forms that are not translated yet: refused, in words that say so.

macro_rules! chat {
    () => {
        const WHY: &str = "this form is not translated for this model's provider yet";

        pub fn read_chat(_: &[u8]) -> Result<crate::ir::ChatRequest<'_>, crate::ir::Refused> {
            Err(crate::ir::Refused::new(WHY))
        }

        pub fn encoder(reply: crate::dialect::exchange::Reply) -> Box<dyn crate::ir::Encode> {
            crate::dialect::openai::chat::encoder(reply)
        }

        pub fn write_whole(
            response: &crate::ir::Response,
            reply: &crate::dialect::exchange::Reply,
            out: &mut Vec<u8>,
        ) {
            crate::dialect::openai::chat::write_whole(response, reply, out);
        }

        pub fn write_chat(
            _: crate::ir::ChatRequest<'_>,
            _: &crate::dialect::exchange::Target<'_>,
        ) -> Result<crate::dialect::exchange::Outgoing, crate::ir::Refused> {
            Err(crate::ir::Refused::new(WHY))
        }

        pub fn decoder(names: crate::ir::ToolNames) -> Box<dyn crate::ir::Decode> {
            crate::dialect::openai::chat::decoder(names)
        }

        pub fn read_whole(
            body: &[u8],
            names: &crate::ir::ToolNames,
            emit: &mut dyn FnMut(crate::ir::Event<'_>),
        ) {
            crate::dialect::openai::chat::read_whole(body, names, emit);
        }
    };
}

pub mod responses {
    chat!();
}
