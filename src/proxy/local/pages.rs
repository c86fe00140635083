//! What the gateway answers itself, and look-ups that any backend with the model can answer without a slot.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use pingora::proxy::Session;

use crate::access::Visibility;
use crate::admin::{self, Page};
use crate::fleet::Provider;
use crate::proxy::Gateway;
use crate::proxy::ctx::{Ctx, Inbound};
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::heads::{self, speaks_anthropic};
use crate::proxy::local::forward::LookUp;
use crate::proxy::prepared::{Criteria, WantedModel, answering};
use crate::proxy::request_filter::body::closing_with_body;
use crate::proxy::request_filter::preferences;
use crate::proxy::request_filter::route::method_not_allowed;
use crate::proxy::request_filter::scan::{self, Scan};
use crate::proxy::response_body::client::{self, Framing};
use crate::proxy::response_body::head::Head;
use crate::routing::{self, Plan, StepModel};
use crate::settings::ProviderKind;
use remuda_formats::client::Operation;
use remuda_formats::dialect::ollama::{self, LoadOrUnload};
use remuda_formats::ir::{EmbedInput, EmbedRequest, Embeddings, Refused};

impl Gateway {
    /// Answers a request that runs no model.
    ///
    /// # Errors
    /// The failure that the client is to be told instead, or why it cannot be told anything.
    pub(crate) async fn answer_here(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<(), Stop> {
        if operation.is_management() {
            return self.manage(session, ctx, framing, operation).await;
        }
        if matches!(
            operation,
            Operation::Tags | Operation::OpenAiModels | Operation::Ps
        ) {
            client::has_room(&session.downstream_session)?;
        }
        match self.local_answer(session, ctx, operation) {
            Some(page) => self.reply(session, ctx, framing, page).await,
            None => self.look_up(session, ctx, framing, operation).await,
        }
    }

    /// Returns a page about the gateway itself, if clients get it here, with its route.
    pub(crate) fn place(
        &self,
        session: &Session,
        ctx: &Ctx,
    ) -> Result<Option<(&'static str, Page)>, Failure> {
        let head = session.req_header();
        let Some(place) = self.introspection.public(head.uri.path()) else {
            return Ok(None);
        };
        match head.method {
            http::Method::GET | http::Method::HEAD => {
                if !place.is_open() {
                    client::has_room(&session.downstream_session)?;
                }
                let key = ctx.inbound.key.as_deref();
                let terse = self.admit.asks_for_keys() && key.is_none();
                let page = self.introspection.page(
                    place,
                    terse,
                    Visibility::of(key).within(self.planner.router.filter()),
                );
                Ok(Some((place.route(), page)))
            }
            _ => Err(method_not_allowed(head, &ctx.inbound, "GET, HEAD")),
        }
    }

    /// Returns what is answered from the fleet's state, without asking a backend.
    fn local_answer(&self, session: &Session, ctx: &Ctx, operation: Operation) -> Option<Page> {
        let view = Visibility::of(ctx.inbound.key.as_deref()).within(self.planner.router.filter());
        match operation {
            Operation::OpenAiModels if speaks_anthropic(session.req_header()) => {
                let models = admin::models(self.sources(), view);
                let ids: Vec<String> = models.into_iter().map(|model| model.id).collect();
                Some(admin::anthropic_models(&self.fleet, &ids))
            }
            Operation::Root => Some(admin::root()),
            Operation::Version => Some(admin::version(&self.fleet)),
            Operation::OpenAiModels => Some(admin::openai_models(self.sources(), view)),
            Operation::Tags => Some(admin::tags(self.sources(), view)),
            Operation::Ps => Some(admin::ps(
                &self.fleet,
                self.settings.server.expose_backend,
                view,
            )),
            _ => None,
        }
    }

    /// Returns what lists of models are made from.
    fn sources(&self) -> admin::Sources<'_> {
        admin::Sources {
            fleet: &self.fleet,
            facts: &self.facts,
            router: &self.planner.router,
            settings: &self.settings,
        }
    }

    /// Sends a page.
    pub(crate) async fn reply(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        page: Page,
    ) -> Result<(), Stop> {
        let head = page_head(&page, ctx);
        ctx.outcome.status = page.status;
        ctx.outcome.bytes = client::respond(
            &mut session.downstream_session,
            framing,
            head,
            page.body,
            ctx.inbound.allow_origin.as_ref(),
        )
        .await?;
        Ok(())
    }

    /// Returns the answer to a model request for which no model has to run.
    ///
    /// # Errors
    /// [`Stop::ClientGone`] if the client leaves while a provider counts tokens.
    pub(crate) async fn answered(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        scan: &Scan<'_>,
        plan: &Plan,
    ) -> Result<Option<Page>, Stop> {
        if scan.operation == Operation::AnthropicCountTokens {
            let counted = Box::pin(self.counted(session, ctx, plan, scan.bytes));
            if let Some(page) = counted.await? {
                return Ok(Some(page));
            }
        }
        Ok(self.answered_for_service(&ctx.inbound, scan, plan))
    }

    /// Returns what a service need not be asked: how many tokens a text has, where only an estimate can be had, to load a
    /// model, and vectors of nothing, by which Ollama's clients load one, too.
    fn answered_for_service(
        &self,
        inbound: &Inbound,
        scan: &Scan<'_>,
        plan: &Plan,
    ) -> Option<Page> {
        let Scan {
            operation,
            bytes: body,
            facts,
        } = scan;
        let operation = *operation;
        let counts = operation == Operation::AnthropicCountTokens;
        let loads = facts.empty_input && operation.streams_by_default();
        let is_vectorless = facts.empty_input
            && match operation {
                Operation::Embed => embeds_nothing(ollama::embed::read_embed(body)),
                Operation::Embeddings => embeds_nothing(ollama::embed::read_embed_legacy(body)),
                _ => false,
            };
        if !counts && !loads && !is_vectorless {
            return None;
        }
        let service = self.planner.service_of(plan);
        if is_vectorless {
            let (_, own) = service?;
            let none = Embeddings::default();
            let model = answering(&facts.model, &own);
            let reply = self.upstreams.reply_to(inbound, model);
            let mut body = Vec::new();
            match operation {
                Operation::Embed => ollama::embed::write_embeddings(&none, &reply, &mut body),
                _ => ollama::embed::write_embeddings_legacy(&none, &reply, &mut body),
            }
            return Some(Page::raw_json(body.into()));
        }
        if loads {
            let (_, own) = service?;
            let load = LoadOrUnload::of(facts)?;
            let model = answering(&facts.model, &own);
            let reply = self.upstreams.reply_to(inbound, model);
            let mut body = Vec::new();
            match operation {
                Operation::Generate => ollama::generate::write_load(load, &reply, &mut body),
                _ => ollama::chat::write_load(load, &reply, &mut body),
            }
            return Some(Page::raw_json(body.into()));
        }
        let counted =
            service.is_some_and(|(provider, _)| provider.settings.kind == ProviderKind::Anthropic);
        (!counted).then(|| admin::estimated_tokens(body))
    }

    /// Returns whether the provider is known to have any model.
    fn lists_models(&self, provider: &Provider) -> bool {
        let snapshot = self.fleet.snapshot();
        let mut mine = snapshot.iter().filter(|one| one.provider.id == provider.id);
        mine.any(|one| one.inventory().sizes().next().is_some())
    }

    /// Answers `/api/show` and `/v1/models/:model`: from what is known of a service's model, else by any server that has it.
    async fn look_up(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<(), Stop> {
        let body = self.admit.body(session).await?;
        let facts = scan::read_small(operation, &body.bytes)?;
        let path = session.req_header().uri.path().to_owned();
        let name = scan::model_of(operation, &path, &facts).into_owned();
        if name.is_empty() {
            return Err(Failure::bad_request(ollama::MODEL_REQUIRED).into());
        }
        scan::printable(&name)?;
        ctx.inbound.asked = Some(name.as_str().into());
        let not_found = || self.planner.absent(operation, &name);
        let key = ctx.inbound.key.as_deref();
        let criteria = Criteria {
            provider: preferences::provider(&session.req_header().headers)?,
            ..Criteria::look(name.as_str().into(), ctx.inbound.key.clone())
        };
        let plan = self.planner.plan(&criteria);
        let unplanned = |why| {
            self.planner
                .unplanned(&self.admit, &why, operation, &criteria)
        };
        let plan = plan.map_err(unplanned)?;
        ctx.inbound.model = plan.model;
        if let Some((provider, own)) = self.planner.service_of(&plan) {
            let facts = self.facts.find(provider.settings.kind, &own);
            let view = Visibility::of(key).within(self.planner.router.filter());
            let stated = || admin::openai_alias(self.sources(), &name, view);
            // Whoever asks in whichever format: a service whose list lacks the model does not have it, and one that has
            // never told its models may have it or not.
            if plan.model.is_none()
                && (self.fleet.is_unknown(&provider) || self.lists_models(&provider))
                && !routing::names(&provider.settings, &own)
                && stated().is_none()
            {
                return Err(not_found().into());
            }
            let page = match operation {
                Operation::OpenAiModel if speaks_anthropic(session.req_header()) => {
                    admin::anthropic_model(&name)
                }
                Operation::OpenAiModel => {
                    let known = plan
                        .model
                        .and_then(|model| admin::openai_model(&self.fleet, model, &name));
                    known.or_else(stated).ok_or_else(not_found)?
                }
                _ => {
                    let told = plan
                        .model
                        .and_then(|model| self.fleet.context_of(&provider, model));
                    admin::show(&own, &provider.name, facts, told)
                }
            };
            return self.reply(session, ctx, framing, page).await;
        }
        let model = plan.model.ok_or_else(not_found)?;
        let own = match &plan.steps[0].model {
            StepModel::ListedAs(_, own) => Some(Arc::clone(own)),
            _ => None,
        };
        if operation == Operation::OpenAiModel && speaks_anthropic(session.req_header()) {
            return self
                .reply(session, ctx, framing, admin::anthropic_model(&name))
                .await;
        }
        if operation == Operation::OpenAiModel && (own.is_some() || name.contains('/')) {
            // Servers do not know the name that the path has, or find no route for a slash in it.
            let page = admin::openai_model(&self.fleet, model, &name).ok_or_else(not_found)?;
            return self.reply(session, ctx, framing, page).await;
        }
        let progress = self.servers_of(&plan, model);
        if self.server_for(&progress).is_none() {
            // Nobody can be asked; of a list there is what was known last.
            let known = || admin::openai_model(&self.fleet, model, &name);
            let page = (operation == Operation::OpenAiModel).then(known).flatten();
            return match page {
                Some(page) => self.reply(session, ctx, framing, page).await,
                None => Err(not_found().into()),
            };
        }
        let wanted = WantedModel {
            asked: name.as_str().into(),
            untagged: None,
            span: facts.model_span,
            model: Some(model),
            own,
            tools: false,
            raw: false,
            no_stream_options: None,
            schemas: false,
        };
        drop(facts);
        let look_up = LookUp {
            operation,
            body,
            wanted,
            progress,
        };
        self.forward(session, ctx, framing, look_up).await
    }

    /// Refuses what changes models unless the operator allows it.
    pub(crate) fn may_manage(&self, session: &mut Session) -> Result<(), Failure> {
        if self.settings.server.manage {
            return Ok(());
        }
        let failure = Failure::new(403, "management_off", ollama::MANAGE_REFUSED);
        Err(closing_with_body(session, failure))
    }
}

/// Returns whether a request that can be read has no text.
fn embeds_nothing(request: Result<EmbedRequest<'_>, Refused>) -> bool {
    request
        .is_ok_and(|request| matches!(request.input, EmbedInput::Texts(texts) if texts.is_empty()))
}

/// Returns the head of a page.
fn page_head(page: &Page, ctx: &Ctx) -> Head {
    let mut head = Head::of_status(page.status, 6);
    if !page.body.is_empty() {
        let content_type = HeaderValue::from_static(page.content_type);
        head.set(header::CONTENT_TYPE, content_type);
    }
    head.set(heads::X_REQUEST_ID, ctx.inbound.request_id.clone());
    if let Some(age) = page.age {
        head.set(header::AGE, age.as_secs().into());
    }
    if let Some(seconds) = page.retry_after {
        head.set(header::RETRY_AFTER, seconds.into());
    }
    head
}
