#!/usr/bin/env python3
"""Compares nginx, a bare Pingora proxy and Remuda in front of the same upstream, in turn.

Every round measures each program once, so that whatever else the machine does meets all of them.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile

import figures
import tables
from programs import HERE, KNOWN, RECIPES, RELEASE, USUAL, Bench, Missing


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", action="store_true", help="build everything first")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it works")
    parser.add_argument("--rounds", type=int, help="default: 7, or 2 with --quick")
    parser.add_argument("--threads", type=int, default=2, help="of each program (default: 2)")
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
    parser.add_argument("--remuda", default=RELEASE / "remuda", help="the binary to measure")
    parser.add_argument("--json", default=HERE / "out" / "compare.json", help="all values go here")
    parser.add_argument("--write", metavar="PAGE", help="replace the marked section of this page")
    options = parser.parse_args()
    if options.recipes:
        options.only = list(RECIPES)
    unknown = [name for name in options.only if name not in KNOWN]
    unknown += [name for name in options.figures if name not in [*figures.ALTERNATING, "memory"]]
    if unknown:
        parser.error(f"not known: {', '.join(unknown)}")
    options.rounds = options.rounds or (2 if options.quick else 7)
    return options


def raise_descriptor_limit():
    """As many open files as the system lets this user have; the children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536


def say(text):
    print(text, file=sys.stderr, flush=True)


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


def main():
    options = arguments()
    # Ends by exception, so that every program that was started is ended.
    for interruption in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(interruption, lambda number, _: sys.exit(128 + number))
    if options.build:
        command = ["cargo", "build", "--release", "--locked", "--workspace"]
        subprocess.run(command, cwd=HERE.parent, check=True)
    descriptors = raise_descriptor_limit()
    size = figures.QUICK if options.quick else figures.FULL
    if descriptors < 2 * size.open_streams + 200:
        say(f"only {descriptors} open files are allowed: memory is measured with fewer streams")
        size = dataclasses.replace(size, open_streams=(descriptors - 200) // 2)
    with tempfile.TemporaryDirectory(prefix="remuda-bench-") as directory:
        bench = Bench(directory, options.threads, descriptors, options.remuda)
        results = measure_all(options, bench, size)
    text = tables.report(results, options.rounds, options.threads, options.quick)
    print(text)
    pathlib.Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": tables.machine(), "results": tables.summary(results)}
    pathlib.Path(options.json).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    if options.write:
        tables.write_between_marks(options.write, text)


if __name__ == "__main__":
    try:
        main()
    except (figures.Failed, Missing, subprocess.CalledProcessError) as error:
        sys.exit(f"compare.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
