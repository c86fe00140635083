//! Pages that need no backend: about the gateway itself, and what is known of the fleet's models.

use std::sync::Arc;

use http::Method;
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use crate::access::{ClientKey, Visibility};
use crate::admin::{self, Introspection, Page};
use crate::fleet::{Fleet, Provider};
use crate::ids::ModelId;
use crate::proxy::ctx::Inbound;
use crate::proxy::failure::Failure;
use crate::proxy::heads::speaks_anthropic;
use crate::proxy::request_filter::route::method_not_allowed;
use crate::proxy::response_body::client;
use crate::routing::{self, Plan, Router, StepModel};
use crate::settings::Settings;
use remuda_formats::client::Operation;
use remuda_formats::facts::Facts;

/// Makes pages from what is known here.
pub(crate) struct Pages {
    settings: Arc<Settings>,
    fleet: Arc<Fleet>,
    introspection: Arc<Introspection>,
}

/// A question about one model: `/api/show` or `/v1/models/:model`.
pub(super) struct ModelQuestion<'a> {
    pub(super) operation: Operation,
    /// Whether it is asked in Anthropic's format.
    pub(super) anthropic: bool,
    /// The name as the client wrote it.
    pub(super) name: &'a str,
    pub(super) plan: &'a Plan,
    pub(super) key: Option<&'a ClientKey>,
}

/// What is known of a model of Ollama servers without asking one.
pub(super) enum KnownModel {
    /// This page is the answer.
    Page(Page),
    /// There is no such model.
    Absent,
    /// A server says it best.
    AtServers,
}

impl Pages {
    /// Makes pages over what `introspection` knows.
    pub(crate) fn new(
        settings: &Arc<Settings>,
        fleet: &Arc<Fleet>,
        introspection: Arc<Introspection>,
    ) -> Pages {
        Pages {
            settings: Arc::clone(settings),
            fleet: Arc::clone(fleet),
            introspection,
        }
    }

    fn router(&self) -> &Router {
        &self.introspection.router
    }

    fn facts(&self) -> &Facts {
        &self.introspection.facts
    }

    fn view<'a>(&'a self, key: Option<&'a ClientKey>) -> Visibility<'a> {
        Visibility::of(key).within(self.router().filter())
    }

    /// Returns a page about the gateway itself with its route; `None` if the path is that of none which clients get here.
    /// `asks_for_keys` says whether clients need a key, without which they are told little.
    ///
    /// # Errors
    /// 405, and 503 when too much waits for clients already.
    pub(crate) fn about_itself(
        &self,
        session: &Session,
        inbound: &Inbound,
        asks_for_keys: bool,
    ) -> Result<Option<(&'static str, Page)>, Failure> {
        let head = session.req_header();
        let Some(place) = self.introspection.public(head.uri.path()) else {
            return Ok(None);
        };
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(method_not_allowed(head, inbound, "GET, HEAD"));
        }
        if !place.is_open() {
            client::has_room(&session.downstream_session)?;
        }
        let key = inbound.key.as_deref();
        let terse = asks_for_keys && key.is_none();
        let page = self.introspection.page(place, terse, self.view(key));
        Ok(Some((place.route(), page)))
    }

    /// Returns what is answered from the fleet's state, without asking a backend.
    pub(crate) fn of_fleet(
        &self,
        head: &RequestHeader,
        inbound: &Inbound,
        operation: Operation,
    ) -> Option<Page> {
        let view = self.view(inbound.key.as_deref());
        match operation {
            Operation::OpenAiModels if speaks_anthropic(head) => {
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
                &self.introspection.dispatcher,
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
            facts: self.facts(),
            router: self.router(),
            settings: &self.settings,
        }
    }

    /// Returns what is known of a service's model, which the service itself calls `own`; `None` if it does not have it.
    pub(super) fn of_service(
        &self,
        asked: &ModelQuestion<'_>,
        provider: &Provider,
        own: &str,
    ) -> Option<Page> {
        let listed = asked.plan.model;
        let stated = || admin::openai_alias(self.sources(), asked.name, self.view(asked.key));
        // Whoever asks in whichever format: a service whose list lacks the model does not have it, and one that has
        // never told its models may have it or not.
        if listed.is_none()
            && (self.fleet.is_unknown(provider) || self.lists_models(provider))
            && !routing::names(&provider.settings, own)
            && stated().is_none()
        {
            return None;
        }
        if asked.operation != Operation::OpenAiModel {
            let facts = self.facts().find(provider.settings.kind, own);
            let context = listed.and_then(|model| self.fleet.context_of(provider, model));
            return Some(admin::show(own, &provider.name, facts, context));
        }
        if asked.anthropic {
            return Some(admin::anthropic_model(asked.name));
        }
        let known = listed.and_then(|model| self.listed(asked, model));
        known.or_else(stated)
    }

    /// Returns what is known of a model of Ollama servers before one is asked.
    pub(super) fn of_servers(&self, asked: &ModelQuestion<'_>, model: ModelId) -> KnownModel {
        if asked.operation != Operation::OpenAiModel {
            return KnownModel::AtServers;
        }
        if asked.anthropic {
            return KnownModel::Page(admin::anthropic_model(asked.name));
        }
        // Servers do not know the name that the path has, or find no route for a slash in it.
        if asked.own_name().is_some() || asked.name.contains('/') {
            return match self.listed(asked, model) {
                Some(page) => KnownModel::Page(page),
                None => KnownModel::Absent,
            };
        }
        KnownModel::AtServers
    }

    /// Returns what lists say of a model, where nobody can be asked for more.
    pub(super) fn listed(&self, asked: &ModelQuestion<'_>, model: ModelId) -> Option<Page> {
        (asked.operation == Operation::OpenAiModel)
            .then(|| admin::openai_model(&self.fleet, model, asked.name))
            .flatten()
    }

    /// Returns whether the provider is known to have any model.
    fn lists_models(&self, provider: &Provider) -> bool {
        let snapshot = self.fleet.snapshot();
        let mut mine = snapshot.iter().filter(|one| one.provider.id == provider.id);
        mine.any(|one| one.inventory().sizes().next().is_some())
    }
}

impl ModelQuestion<'_> {
    /// Returns the servers' own name for the model, where the client's is another.
    pub(super) fn own_name(&self) -> Option<Arc<str>> {
        match &self.plan.steps.first()?.model {
            StepModel::ListedAs(_, own) => Some(Arc::clone(own)),
            _ => None,
        }
    }
}
