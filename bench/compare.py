#!/usr/bin/env python3
"""Compares nginx, a bare Pingora proxy and Remuda in front of the same upstream, in turn.

Every round measures each program once, so that whatever else the machine does meets all of them.
"""

import contextlib
import dataclasses

import figures
import frame
import tables
from frame import say
from programs import KNOWN, RECIPES, USUAL, Missing

ROUNDS, FEW_ROUNDS = 7, 2


def arguments():
    parser = frame.parser("compare", __doc__, ROUNDS)
    quick = f"a short run of {FEW_ROUNDS} rounds, to see that it works"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument(
        "--only",
        type=lambda text: [name.strip() for name in text.split(";")],
        default=USUAL,
        metavar="NAMES",
        help=f"programs, separated by semicolons, of: {'; '.join(KNOWN)}",
    )
    parser.add_argument("--recipes", action="store_true", help="the ways of proxying, not products")
    parser.add_argument(
        "--figures",
        type=lambda text: text.split(","),
        default=[*figures.ALTERNATING, "memory"],
        metavar="NAMES",
        help=f"of: {','.join([*figures.ALTERNATING, 'memory'])}",
    )
    options = parser.parse_args()
    if options.recipes:
        options.only = list(RECIPES)
    unknown = [name for name in options.only if name not in KNOWN]
    unknown += [name for name in options.figures if name not in [*figures.ALTERNATING, "memory"]]
    if unknown:
        parser.error(f"not known: {', '.join(unknown)}")
    if options.quick and options.rounds == ROUNDS:
        options.rounds = FEW_ROUNDS
    return options


def start_all(stack, bench, names):
    """The programs that could be started, by name."""
    running = {}
    for name in names:
        try:
            running[name] = stack.enter_context(bench.start(name))
        except Missing as missing:
            say(f"{name} is left out: {missing}")
    for program in running.values():
        program.wait_until_ready()
        figures.warm_up(program)
    return running


def alternate(running, upstream, measures, size, rounds, results):
    for turn in range(1, rounds + 1):
        for name, program in running.items():
            for measure in measures:
                say(f"round {turn} of {rounds}: {name}, {measure}")
                values = figures.ALTERNATING[measure](program, size)
                for key, value in values.items():
                    results.setdefault(name, {}).setdefault(key, []).append(value)
        if "latency" in measures:
            for key, value in figures.latency(upstream, size).items():
                results.setdefault(tables.DIRECT, {}).setdefault(key, []).append(value)


def measure_all(options, bench, size):
    results = {}
    measures = [name for name in figures.ALTERNATING if name in options.figures]
    with bench.upstream() as upstream:
        upstream.wait_until_ready()
        with contextlib.ExitStack() as stack:
            if measures:
                running = start_all(stack, bench, options.only)
                alternate(running, upstream, measures, size, options.rounds, results)
        if "memory" in options.figures:
            for name in options.only:
                measure_memory(bench, name, size, results)
    return results


def measure_memory(bench, name, size, results):
    say(f"memory: {name}")
    try:
        values = figures.memory(lambda: bench.start(name), size)
    except Missing as missing:
        say(f"{name} is left out: {missing}")
        return
    for key, value in values.items():
        results.setdefault(name, {})[key] = [value]


def compare(options, bench):
    size = figures.QUICK if options.quick else figures.FULL
    if bench.descriptors < 2 * size.open_streams + 200:
        say(f"only {bench.descriptors} open files are allowed: memory is measured with fewer streams")
        size = dataclasses.replace(size, open_streams=(bench.descriptors - 200) // 2)
    results = measure_all(options, bench, size)
    text = tables.report(results, options.rounds, options.threads, options.quick)
    return text, {"results": tables.summary(results)}


if __name__ == "__main__":
    frame.run("compare", arguments(), compare)
