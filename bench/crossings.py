#!/usr/bin/env python3
"""Compares routes of Remuda that translate between formats with routes that do not, in turn.

Every round measures each route once, so that whatever else the machine does meets all of them.
"""

import dataclasses

import frame
import tables
from figures import MIB, load
from frame import say

KIB = 1024
FACTOR = 1.25


@dataclasses.dataclass(frozen=True)
class Route:
    """A client's format and the provider that answers it, which its model tells."""

    name: str
    format: str
    model: str
    # The route of one format that has the same provider.
    plain: str

    @property
    def flags(self):
        return ("--format", self.format, "--model", self.model, "--prose")


ROUTES = [
    Route("Ollama → Ollama", "ollama", "llama3.2", "Ollama → Ollama"),
    Route("OpenAI → Ollama", "openai", "llama3.2", "Ollama → Ollama"),
    Route("Anthropic → Ollama", "anthropic", "llama3.2", "Ollama → Ollama"),
    Route("OpenAI → OpenAI", "openai", "gpt-bench", "OpenAI → OpenAI"),
    Route("Ollama → OpenAI", "ollama", "gpt-bench", "OpenAI → OpenAI"),
    Route("Anthropic → OpenAI", "anthropic", "gpt-bench", "OpenAI → OpenAI"),
]


@dataclasses.dataclass(frozen=True)
class Load:
    """One column: what each request is, how many there are, and what the CPU time is divided by."""

    title: str
    mode: str
    count: int
    flags: tuple
    each: int = 1

    def measure(self, program, route, share):
        requests = max(1, int(self.count * share))
        flags = ("--requests", requests, *self.flags, *route.flags)
        report = load(self.mode, program.address, program.pids, *flags)
        return report["cpu_us"] / (requests * self.each)


LOADS = [
    Load("600 B", "requests", 8000, ("--concurrency", 16, "--prompt", 600)),
    Load("100 KiB", "requests", 2000, ("--concurrency", 8, "--prompt", 100 * KIB)),
    Load("1 MiB", "requests", 200, ("--concurrency", 4, "--prompt", MIB)),
    Load("chunk, bursts", "streams", 800, ("--concurrency", 16, "--lines", 100), 100),
    Load(
        "chunk, one each 5 ms",
        "streams",
        40,
        ("--concurrency", 40, "--lines", 300, "--interval-us", 5000),
        300,
    ),
]


def arguments():
    parser = frame.parser("crossings", __doc__, rounds=7)
    parser.add_argument("--share", type=float, default=1.0, help="of each load (default: 1)")
    parser.add_argument("--streams", type=int, default=500, help="to hold open (default: 500)")
    return parser.parse_args()


def measure_memory(bench, route, streams):
    """RSS of each open stream in KiB, of a process of its own."""
    with bench.start("remuda, crossings") as program:
        wait_until_both_answer(program)
        flags = ("--concurrency", streams, "--hold", 3, "--lines", 1000)
        flags += ("--interval-us", 1_000_000, *route.flags)
        report = load("open-streams", program.address, program.pids, *flags)
    return report["rss_kib_per_stream"]


def wait_until_both_answer(program):
    program.wait_until_ready("llama3.2")
    program.wait_until_ready("gpt-bench")


def measure_all(options, bench):
    """`{route: {column: [value of each round]}}`."""
    results = {route.name: {} for route in ROUTES}
    with bench.upstream() as upstream:
        upstream.wait_until_ready()
        with bench.start("remuda, crossings") as program:
            wait_until_both_answer(program)
            for route in ROUTES:
                for each in LOADS:
                    each.measure(program, route, options.share / 8)
            for turn in range(1, options.rounds + 1):
                for each in LOADS:
                    say(f"round {turn} of {options.rounds}: {each.title}")
                    for route in ROUTES:
                        value = each.measure(program, route, options.share)
                        results[route.name].setdefault(each.title, []).append(value)
        for route in ROUTES if options.streams else []:
            say(f"memory: {route.name}")
            value = measure_memory(bench, route, options.streams)
            results[route.name]["open stream"] = [value]
    return results


def ratios(results, route, column):
    """To the route of one format in the same round."""
    pairs = zip(results[route.name][column], results[route.plain][column])
    return [own / plain for own, plain in pairs]


def report(results, options):
    columns = list(results[ROUTES[0].name])
    units = {column: "KiB" if column == "open stream" else "µs" for column in columns}
    lines = [
        f"Measured on {tables.machine()}; {options.rounds} alternating rounds, {options.threads} "
        "threads. Medians; in parentheses the median of the rounds' ratios to the route of one "
        "format with the same provider.",
        "",
        "| client → provider | " + " | ".join(f"{c}, {units[c]}" for c in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for route in ROUTES:
        cells = []
        for column in columns:
            text = tables.number(tables.median(results[route.name][column]))
            if route.name != route.plain:
                text += f" ({tables.median(ratios(results, route, column)):.2f})"
            cells.append(text)
        lines.append(f"| {route.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(results):
    """Whether each route that translates keeps to the bound at 600 bytes."""
    column = LOADS[0].title
    lines = []
    for route in ROUTES:
        if route.name != route.plain:
            ratio = tables.median(ratios(results, route, column))
            met = "yes" if ratio <= FACTOR else "**no**"
            lines.append(f"| {route.name} | {FACTOR} × {route.plain} | {ratio:.2f} | {met} |")
    head = [f"| CPU per request, {column} | at most | measured | met |", "|---|---|---|---|"]
    return "\n".join(head + lines)


def compare(options, bench):
    results = measure_all(options, bench)
    return f"{report(results, options)}\n\n{verdict(results)}", {"rounds": results}


if __name__ == "__main__":
    frame.run("crossings", arguments(), compare)
