//! Draws the table as SVG: for every policy and utilisation a bar from the median to the 99th percentile.

use std::fmt::Write;

use super::summary::Summary;
use super::world::{STRATEGIES, Strategy, UTILISATIONS};

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 470.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 80.0;
const BOTTOM: f64 = 400.0;
/// The powers of ten between which seconds are drawn.
const DECADES: (f64, f64) = (-1.0, 5.0);

fn colour(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::RoundRobin => "#b3541e",
        Strategy::LeastInFlight => "#d99a2b",
        Strategy::WarmOrWait => "#1769aa",
        Strategy::Planned => "#6b7280",
    }
}

pub(crate) fn draw(summaries: &[Summary]) -> String {
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="#1f2933">
<title>Time to the first token by placement policy and utilisation</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
<text x="{LEFT}" y="26" font-size="16" font-weight="600">Time to the first token, 10 servers, 2 of 12 models in memory each</text>
"##
    );
    legend(&mut svg);
    axes(&mut svg);
    for summary in summaries {
        bar(&mut svg, summary);
    }
    svg.push_str("</svg>\n");
    svg
}

fn height(seconds: f64) -> f64 {
    let share = (seconds.max(1e-9).log10() - DECADES.0) / (DECADES.1 - DECADES.0);
    BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
}

fn element(svg: &mut String, element: std::fmt::Arguments<'_>) {
    svg.write_fmt(element)
        .expect("a string takes all that is written to it");
    svg.push('\n');
}

fn legend(svg: &mut String) {
    for (index, strategy) in STRATEGIES.into_iter().enumerate() {
        let x = LEFT + 125.0 * index as f64;
        let (colour, name) = (colour(strategy), strategy.name());
        element(
            svg,
            format_args!(r#"<rect x="{x}" y="44" width="14" height="14" fill="{colour}"/>"#),
        );
        element(
            svg,
            format_args!(r#"<text x="{}" y="56">{name}</text>"#, x + 20.0),
        );
    }
    let x = LEFT + 125.0 * STRATEGIES.len() as f64;
    element(
        svg,
        format_args!(r#"<text x="{x}" y="56">bars: p50 to p99, line: p95</text>"#),
    );
}

fn axes(svg: &mut String) {
    for decade in DECADES.0 as i32..=DECADES.1 as i32 {
        let y = height(10f64.powi(decade));
        let label = if decade < 0 {
            "0.1".to_owned()
        } else {
            format!("1{}", "0".repeat(decade as usize))
        };
        element(
            svg,
            format_args!(
                r##"<line x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}" stroke="#e3e7eb"/>"##
            ),
        );
        element(
            svg,
            format_args!(
                r#"<text x="{}" y="{}" text-anchor="end">{label} s</text>"#,
                LEFT - 8.0,
                y + 4.0
            ),
        );
    }
    element(
        svg,
        format_args!(
            r##"<line x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}" stroke="#1f2933"/>"##
        ),
    );
    for (group, utilisation) in UTILISATIONS.into_iter().enumerate() {
        let x = centre(group);
        element(
            svg,
            format_args!(
                r#"<text x="{x}" y="{}" text-anchor="middle" font-weight="600">utilisation {utilisation}</text>"#,
                BOTTOM + 38.0
            ),
        );
    }
    element(
        svg,
        format_args!(
            r##"<text x="{LEFT}" y="{}" fill="#52606d">Above each bar its p99; below it the share of requests that had to load a model. Logarithmic scale.</text>"##,
            HEIGHT - 10.0
        ),
    );
}

fn centre(group: usize) -> f64 {
    let width = (RIGHT - LEFT) / UTILISATIONS.len() as f64;
    LEFT + width * (group as f64 + 0.5)
}

fn bar(svg: &mut String, summary: &Summary) {
    let group = UTILISATIONS
        .iter()
        .position(|utilisation| *utilisation == summary.utilisation);
    let column = STRATEGIES
        .iter()
        .position(|strategy| *strategy == summary.strategy);
    let (Some(group), Some(column)) = (group, column) else {
        return;
    };
    let x = centre(group) + 54.0 * (column as f64 - (STRATEGIES.len() - 1) as f64 / 2.0);
    let colour = colour(summary.strategy);
    let (low, line, high) = (
        height(summary.p50),
        height(summary.p95),
        height(summary.p99),
    );
    element(
        svg,
        format_args!(
            r#"<rect x="{}" y="{high:.1}" width="30" height="{:.1}" fill="{colour}" rx="2"/>"#,
            x - 15.0,
            (low - high).max(1.0)
        ),
    );
    element(
        svg,
        format_args!(
            r##"<line x1="{}" x2="{}" y1="{line:.1}" y2="{line:.1}" stroke="#ffffff" stroke-width="1.5"/>"##,
            x - 15.0,
            x + 15.0
        ),
    );
    element(
        svg,
        format_args!(
            r#"<text x="{x}" y="{:.1}" text-anchor="middle">{}</text>"#,
            high - 5.0,
            seconds(summary.p99)
        ),
    );
    element(
        svg,
        format_args!(
            r##"<text x="{x}" y="{}" text-anchor="middle" font-size="11" fill="#52606d">{:.1} %</text>"##,
            BOTTOM + 16.0,
            summary.cold_loads * 100.0
        ),
    );
}

fn seconds(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1} s")
    } else {
        format!("{value:.0} s")
    }
}
