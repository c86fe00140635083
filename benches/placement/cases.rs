//! What has to come of the cases of sick servers: each is held to its figures, and shown in a row.

use std::io::{self, Write};

use super::clinic::{Case, Findings, SERVERS, observe};

/// What a case is called, how many hours it is run, and what has to come of it.
struct Row {
    case: Case,
    name: &'static str,
    hours: f64,
    holds: fn(&Findings) -> bool,
    demand: &'static str,
}

const ROWS: [Row; 7] = [
    Row {
        case: Case::Noise,
        name: "20 % of noise",
        hours: 25.0,
        holds: |_| true,
        demand: "no alarm",
    },
    Row {
        case: Case::HalfSpeed,
        name: "half speed",
        hours: 5.0,
        holds: is_found,
        demand: "found within 10 requests, and back",
    },
    Row {
        case: Case::Cpu,
        name: "on the CPU",
        hours: 5.0,
        holds: is_found,
        demand: "found within 10 requests, and back",
    },
    Row {
        case: Case::Hangs,
        name: "a copy that hangs",
        hours: 5.0,
        holds: is_found,
        demand: "found within 10 requests, and back",
    },
    Row {
        case: Case::Spilled,
        name: "spilled copies",
        hours: 3.0,
        // Ten servers share the requests, and this one stands behind the nine.
        holds: |seen| seen.by_patient * 50 < seen.answered,
        demand: "answer less than 2 %",
    },
    Row {
        case: Case::Broken,
        name: "a model that cannot be loaded",
        hours: 3.0,
        // Once a second for two hours. A server tries again after 30 s, 1, 2, 4, 8 and 15 min, and then every 15 min.
        holds: |seen| (SERVERS..=SERVERS * 13).contains(&seen.loads) && p99(seen) < 15.0,
        demand: "no more than 13 loads a server for 7,200 requests",
    },
    Row {
        case: Case::InTurn,
        name: "contexts in turn",
        hours: 3.0,
        holds: |seen| seen.loads <= 2 * SERVERS,
        demand: "no more than a load for each server and size",
    },
];

fn is_found(seen: &Findings) -> bool {
    let found = seen.found_after.is_some_and(|requests| requests <= 10);
    found && seen.back_after.is_some()
}

fn p99(seen: &Findings) -> f64 {
    let mut ttft = seen.ttft.clone();
    ttft.sort_by(f64::total_cmp);
    let index = (ttft.len().saturating_sub(1)) as f64 * 0.99;
    ttft.get(index as usize).copied().unwrap_or_default()
}

/// Runs every case from several seeds. Panics if one does not come to what it has to.
pub(crate) fn show(out: &mut impl Write, quick: bool) -> io::Result<()> {
    let seeds = if quick { 1 } else { 4 };
    for row in &ROWS {
        for seed in 1..=seeds {
            let seen = observe(row.case, row.hours, seed);
            let found = seen
                .found_after
                .map_or("-".into(), |requests| requests.to_string());
            let back = seen
                .back_after
                .map_or("-".into(), |seconds| format!("{seconds:.0} s"));
            writeln!(
                out,
                "{}, {:.0} h: found after {found} requests, back after {back}; {} false alarms; {} loads; \
                 {} answered, {} by the patient; p99 {:.1} s",
                row.name,
                row.hours,
                seen.false_alarms,
                seen.loads,
                seen.answered,
                seen.by_patient,
                p99(&seen)
            )?;
            assert!(
                (row.holds)(&seen),
                "{}, seed {seed}: {}",
                row.name,
                row.demand
            );
            assert_eq!(
                seen.false_alarms, 0,
                "{}, seed {seed}: no alarm for others",
                row.name
            );
            assert_eq!(
                seen.lost, 0,
                "{}, seed {seed}: every request ends",
                row.name
            );
        }
    }
    Ok(())
}
