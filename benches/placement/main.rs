//! How long requests wait for their first token under four placements, on a virtual clock.
//!
//! `cargo bench --bench placement` prints a table and draws `docs/placement.svg`; `-- --quick` only prints a short run, and
//! `-- --sick` only what comes of servers that are slow or hang, which is asserted.

mod cases;
mod clinic;
mod planned;
mod plot;
mod summary;
mod world;

use std::io::{self, Write};
use std::path::Path;

use summary::Summary;
use world::{Run, STRATEGIES, Scenario, Strategy, UTILISATIONS, simulate};

/// How much is simulated for each line of the table.
struct Effort {
    seeds: u64,
    hours: f64,
}

const FULL: Effort = Effort {
    seeds: 8,
    hours: 8.0,
};
const QUICK: Effort = Effort {
    seeds: 2,
    hours: 2.0,
};

fn main() -> io::Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let effort = if quick { QUICK } else { FULL };
    let mut out = io::stdout().lock();
    if std::env::args().any(|argument| argument == "--sick") {
        return cases::show(&mut out, quick);
    }
    writeln!(
        out,
        "{} servers of one slot, {} of {} models in memory each, {} seeds of {} h after 1 h of warming up.\n\
         Time to the first token in seconds.\n",
        world::SERVERS,
        world::RESIDENT,
        world::MODELS,
        effort.seeds,
        effort.hours
    )?;
    writeln!(out, "{}", Summary::HEADING)?;
    let mut summaries = Vec::new();
    for utilisation in UTILISATIONS {
        for strategy in STRATEGIES {
            let summary = measure(strategy, Scenario::Plain, utilisation, &effort);
            writeln!(out, "{summary}")?;
            summaries.push(summary);
        }
    }
    verdict(&mut out, &summaries)?;
    scenarios(&mut out, &effort)?;
    writeln!(out, "\nSick servers, one of {}:", clinic::SERVERS)?;
    cases::show(&mut out, quick)?;
    if !quick {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/placement.svg");
        std::fs::create_dir_all(path.parent().expect("the path has a directory"))?;
        std::fs::write(&path, plot::draw(&summaries))?;
        writeln!(out, "\nDrawn: docs/placement.svg")?;
    }
    Ok(())
}

/// Shows what it costs that clients need contexts of several sizes, or leave and come back: against the planned placement,
/// whose copies hold everything and are loaded for ever.
fn scenarios(out: &mut impl Write, effort: &Effort) -> io::Result<()> {
    writeln!(out)?;
    for scenario in [Scenario::Contexts, Scenario::Leaving] {
        for utilisation in UTILISATIONS {
            let of = |strategy| measure(strategy, scenario, utilisation, effort);
            let (ours, planned) = (of(Strategy::WarmOrWait), of(Strategy::Planned));
            writeln!(
                out,
                "{} at {utilisation}: p99 is {:.1} s, {:.2} times that of the planned placement; {:.2} % of requests load",
                scenario.name(),
                ours.p99,
                ours.p99 / planned.p99,
                ours.cold_loads * 100.0
            )?;
        }
    }
    Ok(())
}

fn measure(strategy: Strategy, scenario: Scenario, utilisation: f64, effort: &Effort) -> Summary {
    let runs = (1..=effort.seeds).map(|seed| {
        simulate(Run {
            strategy,
            scenario,
            utilisation,
            seed,
            warm_up: 3600.0,
            measured: effort.hours * 3600.0,
        })
    });
    Summary::of(strategy, utilisation, runs)
}

/// Compares warm-or-wait with the planned placement, and both with the targets.
fn verdict(out: &mut impl Write, summaries: &[Summary]) -> io::Result<()> {
    writeln!(out)?;
    for utilisation in UTILISATIONS {
        let find = |strategy| {
            let mut all = summaries.iter();
            all.find(|summary| summary.strategy == strategy && summary.utilisation == utilisation)
        };
        if let (Some(ours), Some(planned)) = (find(Strategy::WarmOrWait), find(Strategy::Planned)) {
            writeln!(
                out,
                "at {utilisation}: p99 is {:.2} times that of the planned placement (target 1.1), \
                 {:.2} % of requests load (target 2 %)",
                ours.p99 / planned.p99,
                ours.cold_loads * 100.0
            )?;
        }
    }
    Ok(())
}
