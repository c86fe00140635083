//! Pull, push, create, copy, delete and blobs: only where the operator allows them.

use pingora::proxy::Session;

use super::Gateway;
use super::client::Framing;
use super::ctx::Ctx;
use super::failure::Stop;
use crate::dialect::ollama::Operation;

impl Gateway {
    pub(super) async fn manage(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<(), Stop> {
        self.may_manage(session)?;
        self.forward_unscheduled(session, ctx, framing, operation, None)
            .await
    }
}
