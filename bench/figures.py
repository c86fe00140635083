"""What is measured, with which load, and what each figure should be."""

import dataclasses
import json
import subprocess
import time

from programs import RELEASE

MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Size:
    """How much load each measurement sends."""

    requests: int
    rated: int
    streams: int
    paced_lines: int
    bodies: int
    open_streams: int
    hold: float


FULL = Size(8000, 3000, 800, 300, 24, 2000, 5.0)
QUICK = Size(2000, 1000, 200, 60, 6, 300, 2.0)


@dataclasses.dataclass(frozen=True)
class Figure:
    """One column of the report: where its value is, and its bound."""

    key: str
    title: str
    unit: str
    # Bounds on the ratio to bare Pingora, on the value, and on the value less the upstream's own.
    ratio: float | None = None
    most: float | None = None
    added: float | None = None


FIGURES = [
    Figure("request_cpu", "CPU per request", "µs", ratio=1.15),
    Figure("chunk_burst_cpu", "CPU per chunk, bursts", "µs", ratio=1.2),
    Figure("chunk_paced_cpu", "CPU per chunk, one each 5 ms", "µs", ratio=1.2),
    Figure("p50", "p50 at 1,000 requests/s", "µs", added=150),
    Figure("p99", "p99 at 1,000 requests/s", "µs"),
    Figure("ttft", "TTFT p50, 300 streams/s", "µs"),
    Figure("body_length_cpu", "CPU per 8 MiB body", "ms"),
    Figure("body_chunked_cpu", "CPU per 8 MiB chunked body", "ms"),
    Figure("rest", "RSS at rest", "MiB", most=15),
    Figure("per_stream", "RSS per open stream", "KiB", most=60),
    Figure("body_peak", "Peak RSS, 4 bodies at once", "MiB"),
]


class Failed(Exception):
    """A load that was not answered as it should be."""


def load(mode, address, pids, *flags):
    """Runs the load generator and returns what it reports."""
    command = [str(RELEASE / "loadgen"), mode, "--target", address]
    command += ["--pid", ",".join(map(str, pids)), *map(str, flags)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if run.returncode:
        raise Failed(run.stderr.strip())
    report = json.loads(run.stdout)
    if report["errors"] or not report.get("all_opened", True):
        raise Failed(f"{report['errors']} errors in {' '.join(command[1:])}")
    return report


def warm_up(program):
    load("requests", program.address, program.pids, "--requests", 1000)
    load("streams", program.address, program.pids, "--requests", 64)


def requests(program, size):
    flags = ("--requests", size.requests, "--concurrency", 16)
    report = load("requests", program.address, program.pids, *flags)
    return {"request_cpu": report["cpu_us_per_request"]}


def chunks(program, size):
    flags = ("--requests", size.streams, "--concurrency", 16, "--lines", 100)
    burst = load("streams", program.address, program.pids, *flags)
    flags = ("--requests", 40, "--concurrency", 40)
    flags += ("--lines", size.paced_lines, "--interval-us", 5000)
    paced = load("streams", program.address, program.pids, *flags)
    return {
        "chunk_burst_cpu": burst["cpu_us_per_line"],
        "chunk_paced_cpu": paced["cpu_us_per_line"],
    }


def latency(program, size):
    flags = ("--requests", size.rated, "--concurrency", 32, "--rate", 1000)
    whole = load("requests", program.address, program.pids, *flags)["latency_us"]
    flags = ("--requests", size.rated // 3, "--concurrency", 32, "--rate", 300, "--lines", 2)
    stream = load("streams", program.address, program.pids, *flags)["ttft_us"]
    return {"p50": whole["p50"], "p99": whole["p99"], "ttft": stream["p50"]}


def bodies(program, size):
    flags = ("--requests", size.bodies, "--concurrency", 4, "--prompt", 8 * MIB)
    length = load("requests", program.address, program.pids, *flags)
    chunked = load("requests", program.address, program.pids, *flags, "--chunked")
    return {
        "body_length_cpu": length["cpu_us_per_request"] / 1000,
        "body_chunked_cpu": chunked["cpu_us_per_request"] / 1000,
        "body_peak": chunked["peak_rss_kib"] / 1024,
    }


def memory(start, size):
    """Of a process of its own, so that nothing is left over from other loads."""
    with start() as program:
        program.wait_until_ready()
        time.sleep(size.hold / 2)
        flags = ("--concurrency", size.open_streams, "--hold", size.hold)
        flags += ("--lines", 1000, "--interval-us", 1_000_000)
        report = load("open-streams", program.address, program.pids, *flags)
    return {
        "rest": report["rss_before_kib"] / 1024,
        "per_stream": report["rss_kib_per_stream"],
    }


# Those that alternate over the rounds, by the name that `--figures` takes; `memory` is apart.
ALTERNATING = {"requests": requests, "chunks": chunks, "latency": latency, "bodies": bodies}
