"""What the measurements come to: medians, ratios to bare Pingora, targets, and the tables."""

import os
import pathlib
import platform
import re
import statistics

from figures import FIGURES

DIRECT = "upstream alone"


def median(rounds):
    return statistics.median(rounds) if rounds else None


def ratio(results, name, key):
    """Median over the rounds of this program's figure to bare Pingora's in the same round."""
    own = results.get(name, {}).get(key, [])
    bare = results.get("bare", {}).get(key, [])
    if not own or len(own) != len(bare):
        return None
    return statistics.median(a / b for a, b in zip(own, bare))


def added(results, name, key):
    """Median over the rounds of what this program adds to the upstream's own time."""
    own = results.get(name, {}).get(key, [])
    alone = results.get(DIRECT, {}).get(key, [])
    if not own or len(own) != len(alone):
        return None
    return statistics.median(a - b for a, b in zip(own, alone))


def summary(results):
    """`{program: {figure: {median, rounds, ratio, added}}}`."""
    return {
        name: {
            key: {
                "median": median(rounds),
                "rounds": rounds,
                "ratio_to_bare": ratio(results, name, key),
                "added": added(results, name, key),
            }
            for key, rounds in figures.items()
        }
        for name, figures in results.items()
    }


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(results, name, figure):
    value = median(results[name].get(figure.key, []))
    if value is None:
        return "–"
    compared = ratio(results, name, figure.key)
    beside = "" if name == "bare" or compared is None else f" ({compared:.2f})"
    return f"{number(value)}{beside}"


def measurements(results):
    names = list(results)
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for figure in FIGURES:
        cells = [cell(results, name, figure) for name in names]
        if any(text != "–" for text in cells):
            lines.append(f"| {figure.title}, {figure.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(results, name="remuda"):
    """Each target with what was measured: `(text, bound, value, met)`."""
    found = []
    for figure in FIGURES:
        if figure.ratio is not None:
            value, bound = ratio(results, name, figure.key), figure.ratio
            unit = "× bare Pingora"
        elif figure.most is not None:
            value, bound = median(results.get(name, {}).get(figure.key, [])), figure.most
            unit = figure.unit
        elif figure.added is not None:
            value, bound = added(results, name, figure.key), figure.added
            unit = f"{figure.unit} added"
        else:
            continue
        if value is not None:
            found.append((figure.title, f"{bound:g} {unit}", value, value <= bound))
    return found


def targets(results):
    lines = ["| Target of Remuda | at most | measured | met |", "|---|---|---|---|"]
    for title, bound, value, met in verdicts(results):
        lines.append(f"| {title} | {bound} | {number(value)} | {'yes' if met else '**no**'} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def machine():
    information = pathlib.Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", text)
    name = model.group(1).strip() if model else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Linux {platform.release()}"


def report(results, rounds, threads, quick):
    kind = "short run, " if quick else ""
    parts = [
        f"Measured on {machine()}; {kind}{rounds} alternating rounds, {threads} threads each. "
        "Medians; in parentheses the median of the rounds' ratios to bare Pingora.",
        measurements(results),
        targets(results),
    ]
    return "\n\n".join(part for part in parts if part)


def write_between_marks(path, name, text):
    """Replaces what stands between the marks of a comparison in a page."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    page = pathlib.Path(path).read_text()
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise SystemExit(f"{path}: {begin} and {end} must each stand in it once, in this order")
    before = page[: page.index(begin) + len(begin)]
    after = page[page.index(end) :]
    pathlib.Path(path).write_text(f"{before}\n{text}\n{after}")
