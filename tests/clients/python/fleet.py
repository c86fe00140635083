"""A simulated fleet and a gateway in front of it, as processes that end with the tests."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BINARY = os.environ.get("REMUDA_BIN") or str(ROOT / "target/debug/remuda")

# Longer than anything here takes on a busy machine; a test that reaches it has found a hang.
PATIENCE = 30.0


def wait_until(condition, what, patience=PATIENCE):
    """The first true value that `condition` gives."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.01)


def fetch(url, body=None, method=None):
    """Status, headers and body of one plain HTTP request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def fetch_json(url, body=None, method=None):
    status, _, text = fetch(url, body, method)
    assert status == 200, (url, status, text)
    return json.loads(text)


def start(arguments, **streams):
    """Starts the binary so that it ends when this process does, however that ends (Linux)."""
    setpriv = shutil.which("setpriv")
    tied = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
    return subprocess.Popen([*tied, BINARY, *arguments], **streams)


def stop(process):
    process.terminate()
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class Simulation:
    """`remuda sim`: one list of models for each server."""

    def __init__(self, *models):
        lists = [word for names in models for word in ("--models", ",".join(names))]
        self.process = start(
            [
                *("sim", "--ports", f"0x{len(models)}", "--control", "127.0.0.1:0", *lists),
                *("--load-time", "20ms", "--prompt-speed", "0", "--decode-speed", "2000"),
                *("--pull-bandwidth", "0", "--context-length", "4096"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.servers, self.control = [], None
        for line in self.process.stdout:
            what, _, url = line.strip().partition(" on ")
            if what == "control":
                self.control = url
                break
            self.servers.append(url)
        assert self.control, "the simulation did not start"

    def stats(self):
        return fetch_json(f"{self.control}/sim/stats")["servers"]

    def total(self, counter):
        return sum(server[counter] for server in self.stats())

    def requests(self, route):
        return sum(server["requests"].get(route, 0) for server in self.stats())

    def fault(self, **fault):
        fetch_json(f"{self.control}/sim/fault", fault)

    def stall(self, route, tokens=3):
        """Holds every answer on `route` after some tokens, for longer than any test waits."""
        self.fault(kind="stall", tokens=tokens, seconds=10 * PATIENCE, route=route)

    def reset(self):
        fetch_json(f"{self.control}/sim/reset", method="POST")

    def restart(self):
        """All servers die, forget what they have loaded, and come back."""
        fetch_json(f"{self.control}/sim/restart", method="POST")

    def stop(self):
        stop(self.process)
        self.process.stdout.close()


class Gateway:
    """`remuda serve` in front of a simulation, and of `services` other providers. `settings` are further keys of its file, by section."""

    def __init__(self, simulation, directory, services=0, **settings):
        self.simulation = simulation
        self.services = services
        self.log = directory / "remuda.log"
        configuration = {
            "server": {
                "listen": "127.0.0.1:0",
                "admin": "127.0.0.1:0",
                "drain_timeout": "1s",
                "expose_backend": True,
                **settings.pop("server", {}),
            },
            "providers": [
                {
                    "name": "simulated",
                    "kind": "ollama",
                    "backends": simulation.servers,
                    "interval": "100ms",
                    "probe_timeout": "5s",
                    "contexts": ["4k", "128k"],
                }
            ],
            **settings,
        }
        # JSON is YAML, too.
        path = directory / "remuda.yaml"
        path.write_text(json.dumps(configuration))
        with self.log.open("wb") as log:
            self.process = start(["serve", "-c", str(path)], stderr=log)
        base_path = configuration["server"].get("base_path", "")
        self.url = self._announced("listening on ") + base_path
        self.admin = self._announced("admin on ")
        wait_until(self._ready, "the gateway is ready")
        self.settle()

    def _announced(self, words):
        def address():
            text = self.log.read_text()
            assert self.process.poll() is None, text
            return next(
                (line.split(words)[1] for line in text.splitlines() if words in line), None
            )

        return wait_until(address, words)

    def _ready(self):
        try:
            return fetch(f"{self.admin}/health/ready")[0] == 200
        except OSError:
            return False

    def backends(self):
        return fetch_json(f"{self.admin}/__proxy/backends")["backends"]

    def in_flight(self):
        return sum(backend["in_flight"] for backend in self.backends())

    def queue_depth(self):
        lines = fetch(f"{self.admin}/metrics")[2].decode().splitlines()
        depths = [line for line in lines if line.startswith("remuda_queue_depth")]
        assert depths, "there is a metric for the queue's depth"
        return sum(float(line.rsplit(" ", 1)[1]) for line in depths)

    def loaded(self):
        """How many backends have each model loaded, as the gateway knows it."""
        return Counter(row["name"] for backend in self.backends() for row in backend["loaded"])

    def settle(self):
        """Waits until all backends are healthy, with nothing in flight."""

        def settled():
            backends = self.backends()
            servers = [backend for backend in backends if backend["models"]]
            return (
                len(servers) >= len(self.simulation.servers)
                and len(backends) == len(self.simulation.servers) + self.services
                and all(backend["healthy"] and backend["in_flight"] == 0 for backend in backends)
            )

        wait_until(settled, "all backends are healthy and idle")

    def stop(self):
        status = stop(self.process)
        log = self.log.read_text()
        assert status == 0, log
        assert "panicked" not in log, log
