#!/usr/bin/env python3
"""Compares Remuda with keys, limits, budgets, breakers and accounting to Remuda without, in turn.

Every round measures both once, so that whatever else the machine does meets both.
"""

import contextlib
import statistics

import frame
import tables
from figures import load
from frame import say

FACTOR = 1.15
# Of the one client in guarded.yaml.
KEY = "bench-key-with-limits"
PLAIN, GUARDED = "remuda, unguarded", "remuda, guarded"
# Title -> mode, flags, and what the CPU time of one run is divided by for each of its requests.
LOADS = {
    "request": ("requests", ("--concurrency", 16), 8000, 1),
    "chunk, bursts": ("streams", ("--concurrency", 16, "--lines", 100), 800, 100),
}


def arguments():
    parser = frame.parser("guards", __doc__, rounds=15)
    parser.add_argument("--share", type=float, default=1.0, help="of each load (default: 1)")
    return parser.parse_args()


def measure(program, title, share):
    mode, flags, count, parts = LOADS[title]
    requests = max(16, int(count * share))
    report = load(mode, program.address, program.pids, *flags, "--requests", requests, "--key", KEY)
    return report["cpu_us"] / (requests * parts)


def measure_all(options, bench):
    """`{program: {load: [value of each round]}}`."""
    results = {name: {title: [] for title in LOADS} for name in (PLAIN, GUARDED)}
    with contextlib.ExitStack() as running:
        running.enter_context(bench.upstream()).wait_until_ready()
        programs = {name: running.enter_context(bench.start(name)) for name in results}
        for program in programs.values():
            program.wait_until_ready("llama3.2", KEY)
            for title in LOADS:
                measure(program, title, options.share / 8)
        for turn in range(1, options.rounds + 1):
            say(f"round {turn} of {options.rounds}")
            # Neither is always the first.
            for name in list(programs)[:: 1 if turn % 2 else -1]:
                for title in LOADS:
                    value = measure(programs[name], title, options.share)
                    results[name][title].append(value)
    return results


def report(results, options):
    lines = [
        f"Measured on {tables.machine()}; {options.rounds} alternating rounds, {options.threads} threads each. Medians; "
        "the ratio is the median of the rounds' own.",
        "",
        "| CPU per | without, µs | with, µs | ratio | at most | met |",
        "|---|---|---|---|---|---|",
    ]
    for title in LOADS:
        plain, guarded = results[PLAIN][title], results[GUARDED][title]
        ratio = statistics.median(b / a for a, b in zip(plain, guarded))
        met = "yes" if ratio <= FACTOR else "**no**"
        values = (tables.number(statistics.median(each)) for each in (plain, guarded))
        lines.append(f"| {title} | {' | '.join(values)} | {ratio:.2f} | {FACTOR} | {met} |")
    return "\n".join(lines)


def compare(options, bench):
    results = measure_all(options, bench)
    return report(results, options), {"rounds": results}


if __name__ == "__main__":
    frame.run("guards", arguments(), compare)
