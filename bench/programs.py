"""The programs that are compared: how each is started, when it is ready, which processes it has."""

import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import string
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
RELEASE = HERE.parent / "target" / "release"
UPSTREAMS = 4
READY_WITHIN = 20.0

# Name -> binary and flags of the proxies that remuda-bench builds.
RECIPES = {
    "bare": ["bare"],
    "bare, work stealing": ["bare", "--work-stealing"],
    "bare, a socket per thread": ["bare", "--reuseport"],
    "subrequest, spawned": ["subrequest"],
    "subrequest, inline": ["subrequest", "--inline"],
    "direct": ["direct"],
    "direct, corked": ["direct", "--connections", "corked"],
    "direct, corked, a socket per thread": ["direct", "--connections", "corked", "--reuseport"],
}
# What follows "remuda, " in the name of a program -> its configuration.
CONFIGURATIONS = {
    "crossings": "crossings.yaml",
    "unguarded": "unguarded.yaml",
    "guarded": "guarded.yaml",
}
USUAL = ["nginx", "bare", "remuda", "remuda, access log"]
KNOWN = list(dict.fromkeys(USUAL + list(RECIPES)))


class Missing(Exception):
    """A program that is not installed or not built, with what to do about it."""


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_parent():
    """Runs in the child: the kernel ends it when this script dies, however it dies."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def children(pid):
    """This process and all below it: nginx works in child processes."""
    found = [pid]
    for listing in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in listing.read_text().split():
            found += children(int(child))
    return found


class Program:
    """One running server; `with` ends it."""

    GREETING = {"role": "user", "content": "hello"}

    def __init__(self, name, command, address, environment=None, log=None):
        self.name = name
        self.address = address
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        group = self.process.pid
        for end, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(group, end)
                self.process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.process.poll()

    @property
    def pids(self):
        return children(self.process.pid)

    def wait_until_ready(self, model="llama3.2", key=None):
        """Returns once a chat request for this model, with this key, is answered with 200."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self.answers(model, key):
                return self
            time.sleep(0.05)
        text = pathlib.Path(self.log).read_text(errors="replace")[-2000:]
        raise SystemExit(f"{self.name} is not ready after {READY_WITHIN:.0f} s:\n{text}")

    def answers(self, model, key):
        host, port = self.address.split(":")
        question = {"model": model, "stream": False, "messages": [self.GREETING]}
        # The upstream looks for `"stream":false` as the load generator writes it, without a space.
        body = json.dumps(question, separators=(",", ":"))
        connection = http.client.HTTPConnection(host, int(port), timeout=2)
        try:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            connection.request("POST", "/api/chat", body, headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Bench:
    """Starts programs in front of the same upstream, with the same number of threads."""

    def __init__(self, directory, threads, descriptors, remuda):
        self.directory = pathlib.Path(directory)
        self.threads = threads
        self.descriptors = descriptors
        self.remuda = pathlib.Path(remuda)
        self.upstreams = [f"127.0.0.1:{free_port()}" for _ in range(UPSTREAMS)]

    def binary(self, name):
        path = RELEASE / name
        if not path.exists():
            raise Missing("not built: cargo build --release -p remuda-bench")
        return str(path)

    def upstream(self):
        ports = ",".join(address.split(":")[1] for address in self.upstreams)
        command = [self.binary("upstream"), "--ports", ports]
        log = self.directory / "upstream.log"
        return Program("upstream", command, self.upstreams[0], log=log)

    def start(self, name):
        """The program of this name, starting; raises `Missing`."""
        address = f"127.0.0.1:{free_port()}"
        if name == "nginx":
            return self.start_nginx(address)
        if name.startswith("remuda"):
            return self.start_remuda(name, address)
        binary, *flags = RECIPES[name]
        command = [self.binary(binary), "--listen", address, "--threads", str(self.threads)]
        command += ["--upstream", ",".join(self.upstreams), *flags]
        return Program(name, command, address, log=self.directory / f"{binary}.log")

    def start_nginx(self, address):
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if not nginx:
            raise Missing("not installed")
        directory = self.directory / "nginx"
        directory.mkdir(exist_ok=True)
        configuration = string.Template((HERE / "nginx.conf").read_text()).substitute(
            user="user root;" if os.geteuid() == 0 else "",
            directory=directory,
            threads=self.threads,
            descriptors=self.descriptors,
            connections=self.descriptors // 2,
            listen=address,
            servers="\n        ".join(f"server {upstream};" for upstream in self.upstreams),
        )
        path = directory / "nginx.conf"
        path.write_text(configuration)
        command = [nginx, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(path)]
        return Program("nginx", command, address, log=directory / "output.log")

    def start_remuda(self, name, address):
        if not self.remuda.exists():
            raise Missing("not built: cargo build --release")
        environment = {
            "BENCH_LISTEN": address,
            "BENCH_ADMIN": f"127.0.0.1:{free_port()}",
            "BENCH_THREADS": str(self.threads),
            "BENCH_ACCESS_LOG": str(name.endswith("access log")).lower(),
        }
        for number, upstream in enumerate(self.upstreams, 1):
            environment[f"BENCH_UPSTREAM_{number}"] = upstream
        _, _, variant = name.partition(", ")
        configuration = CONFIGURATIONS.get(variant, "remuda.yaml")
        if variant == "guarded":
            environment["BENCH_DIRECTORY"] = str(self.directory)
        command = [str(self.remuda), "serve", "-c", str(HERE / configuration)]
        log = self.directory / "remuda.log"
        return Program(name, command, address, environment, log)
