//! One line of the table: a strategy at one utilisation, over all seeds.

use std::fmt;

use super::world::{Report, Strategy};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) strategy: Strategy,
    pub(crate) utilisation: f64,
    /// Seconds.
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    /// The lowest and the highest p99 of a seed.
    p99_range: (f64, f64),
    /// Cold loads per started request.
    pub(crate) cold_loads: f64,
}

impl Summary {
    pub(crate) const HEADING: &'static str =
        "util  policy              p50      p95      p99   (over the seeds)      loads/request";

    pub(crate) fn of(
        strategy: Strategy,
        utilisation: f64,
        reports: impl Iterator<Item = Report>,
    ) -> Self {
        let mut all = Vec::new();
        let (mut starts, mut loads) = (0, 0);
        let mut p99_range = (f64::INFINITY, 0.0_f64);
        for mut report in reports {
            report.ttft.sort_by(f64::total_cmp);
            let p99 = quantile(&report.ttft, 0.99);
            p99_range = (p99_range.0.min(p99), p99_range.1.max(p99));
            starts += report.starts;
            loads += report.cold_loads;
            all.append(&mut report.ttft);
        }
        all.sort_by(f64::total_cmp);
        Self {
            strategy,
            utilisation,
            p50: quantile(&all, 0.5),
            p95: quantile(&all, 0.95),
            p99: quantile(&all, 0.99),
            p99_range,
            cold_loads: loads as f64 / f64::max(starts as f64, 1.0),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<4}  {:<15} {:>7.2}  {:>7.1}  {:>7.1}   ({:.1} to {:.1})",
            self.utilisation,
            self.strategy.name(),
            self.p50,
            self.p95,
            self.p99,
            self.p99_range.0,
            self.p99_range.1,
        )?;
        let width = format!("({:.1} to {:.1})", self.p99_range.0, self.p99_range.1).len();
        write!(
            f,
            "{:>1$.4}",
            self.cold_loads,
            33_usize.saturating_sub(width)
        )
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted
        .get(((sorted.len().saturating_sub(1)) as f64 * share) as usize)
        .copied()
        .unwrap_or_default()
}
