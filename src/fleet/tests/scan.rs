//! How long a scan takes.

use std::net::TcpListener;
use std::time::Instant;

use super::*;

/// Listeners on ports in a row, none of which ever accepts.
fn silent_ports(count: u16) -> (PortRange, Vec<TcpListener>) {
    let ip = own_address();
    loop {
        let first = TcpListener::bind((ip, 0)).unwrap();
        let low = first.local_addr().unwrap().port();
        let Some(high) = low.checked_add(count - 1) else {
            continue;
        };
        let others = (low + 1..=high).map(|port| TcpListener::bind((ip, port)));
        if let Ok(mut listeners) = others.collect::<Result<Vec<_>, _>>() {
            listeners.push(first);
            let host = ip.to_string();
            return (
                PortRange {
                    host,
                    ports: low..=high,
                },
                listeners,
            );
        }
    }
}

#[tokio::test]
async fn two_hundred_silent_ports_take_about_one_time_limit() {
    let (range, _listeners) = silent_ports(200);
    let limit = Duration::from_secs(1);
    let provider = settings::Provider {
        discover: Some(range),
        probe_timeout: limit,
        ..settings("range")
    };
    let fleet = Fleet::new(&[provider], &Timeouts::default(), Vec::new()).unwrap();
    let start = Instant::now();
    fleet.managed[0].balancer.update().await.unwrap();
    let taken = start.elapsed();
    assert!(taken >= limit && taken < limit * 2, "{taken:?}");
    assert!(fleet.snapshot().is_empty());
}

#[tokio::test]
async fn a_server_joins_while_other_ports_hang() {
    let (mut range, mut listeners) = silent_ports(20);
    let free = listeners.remove(10).local_addr().unwrap();
    let server = Fake::start_at(free, Mood::Has(&["llama3.2"])).await;
    range.host = free.ip().to_string();
    let mut running = Running::start(&[settings::Provider {
        discover: Some(range),
        probe_timeout: PATIENCE * 2,
        ..settings("range")
    }]);
    assert_eq!(running.next().await, Event::Joined(server.addr));
    let model = running.fleet.models().lookup("llama3.2");
    assert_eq!(running.next().await, Event::Probed(BackendId(0)));
    assert_eq!(
        running.fleet.pick(None, model, &[]).unwrap().addr,
        server.addr
    );
}
