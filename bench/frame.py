"""What all comparisons share: their options, how they start and end, where their values go."""

import argparse
import json
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile

import tables
from figures import Failed
from programs import HERE, RELEASE, Bench, Missing


def parser(name, description, rounds):
    """The options of every comparison; `name` is also that of its section and of the file of its values."""
    options = argparse.ArgumentParser(prog=f"{name}.py", description=description.splitlines()[0])
    options.add_argument("--build", action="store_true", help="build everything first")
    options.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    options.add_argument("--threads", type=int, default=2, help="of each program (default: 2)")
    options.add_argument("--remuda", default=RELEASE / "remuda", help="the binary to measure")
    options.add_argument("--json", default=HERE / "out" / f"{name}.json", help="all values go here")
    options.add_argument("--write", metavar="PAGE", help="replace its marked section of this page")
    return options


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(name, options, compare):
    """Ends the process. `compare(options, bench)` gives what is printed and what is kept."""
    try:
        # Ends by exception, so that every program that was started is ended.
        for interruption in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(interruption, lambda number, _: sys.exit(128 + number))
        if options.build:
            command = ["cargo", "build", "--release", "--locked", "--workspace"]
            subprocess.run(command, cwd=HERE.parent, check=True)
        descriptors = raise_descriptor_limit()
        with tempfile.TemporaryDirectory(prefix="remuda-bench-") as directory:
            bench = Bench(directory, options.threads, descriptors, options.remuda)
            text, values = compare(options, bench)
    except (Failed, Missing, subprocess.CalledProcessError) as error:
        sys.exit(f"{name}.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(text)
    keep(options.json, {"machine": tables.machine(), **values})
    if options.write:
        tables.write_between_marks(options.write, name, text)


def keep(path, values):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def raise_descriptor_limit():
    """As many open files as the system lets this user have; the children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
