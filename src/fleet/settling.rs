//! Which of its name's addresses a service is used at. It is one backend, however many addresses there are, and stays
//! at one of them for as long as it can: name servers rotate their answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::backend::Backend;
use super::endpoint::{Endpoint, EndpointOrigin};
use super::inventory::Inventory;
use super::members::Members;
use super::provider::Provider;
use super::question::{Prober, Question};

/// One entry of a provider's `backends`.
pub(super) struct Settling<'a> {
    pub(super) provider: &'a Arc<Provider>,
    pub(super) members: &'a Members,
    pub(super) prober: &'a Prober,
    pub(super) position: usize,
}

/// What to do about a service's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stay,
    /// Go there at once.
    Move(IpAddr),
    /// Go there if it answers.
    Try(IpAddr),
}

impl Settling<'_> {
    /// Finds the service its place among the addresses of its name.
    pub(super) async fn settle(&self, addresses: &[IpAddr]) {
        let current = self.current();
        let place = current
            .as_ref()
            .map(|backend| (backend.addr.ip(), backend.healthy()));
        match step(place, addresses) {
            Step::Stay => {}
            Step::Move(ip) => {
                if let Some(backend) = current {
                    self.members.leave(&backend);
                }
                self.join(self.endpoint(ip), None);
            }
            Step::Try(ip) => {
                let endpoint = self.endpoint(ip);
                let question = Question::first(&endpoint, self.provider);
                match self.prober.probe(&question).await {
                    Ok(inventory) => {
                        // So that there is no moment without it.
                        self.join(endpoint, Some(inventory));
                        if let Some(backend) = current {
                            self.members.leave(&backend);
                        }
                    }
                    Err(miss) => log::debug!(
                        "{} stays at its address; the new one {ip} missed a probe: {miss}",
                        endpoint.name
                    ),
                }
            }
        }
    }

    fn current(&self) -> Option<Arc<Backend>> {
        let members = self.members.of(self.provider);
        members
            .into_iter()
            .find(|backend| backend.origin == EndpointOrigin::Listed(self.position))
    }

    fn endpoint(&self, ip: IpAddr) -> Endpoint {
        let entry = &self.provider.settings.backends[self.position];
        self.provider
            .listed(entry, SocketAddr::new(ip, entry.port), true)
    }

    fn join(&self, endpoint: Endpoint, inventory: Option<Inventory>) {
        let origin = EndpointOrigin::Listed(self.position);
        self.members
            .join(self.provider, endpoint, origin, inventory);
    }
}

/// Decides which address is used after a name was resolved. `current` is the one in use, and whether the service is healthy
/// there.
fn step(current: Option<(IpAddr, bool)>, answer: &[IpAddr]) -> Step {
    let Some(first) = answer.first() else {
        return Step::Stay;
    };
    let Some((ip, healthy)) = current else {
        return Step::Move(*first);
    };
    match (answer.iter().position(|other| *other == ip), healthy) {
        (Some(_), true) => Step::Stay,
        (None, true) => Step::Try(*first),
        (None, false) => Step::Move(*first),
        // Others may be alive.
        (Some(at), false) => match answer[(at + 1) % answer.len()] {
            next if next == ip => Step::Stay,
            next => Step::Move(next),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_service_stays_while_it_can() {
        let (one, two, three) = (ip(1), ip(2), ip(3));
        for (current, answer, expected) in [
            (None, vec![], Step::Stay),
            (None, vec![one, two], Step::Move(one)),
            (Some((two, true)), vec![one, two], Step::Stay),
            (Some((two, true)), vec![], Step::Stay),
            (Some((two, true)), vec![one, three], Step::Try(one)),
            (Some((two, false)), vec![one, three], Step::Move(one)),
            (Some((two, false)), vec![one, two, three], Step::Move(three)),
            (Some((three, false)), vec![one, two, three], Step::Move(one)),
            (Some((two, false)), vec![two], Step::Stay),
        ] {
            assert_eq!(step(current, &answer), expected, "{current:?} {answer:?}");
        }
    }
}
