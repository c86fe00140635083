// A simulated fleet and a gateway in front of it, as processes that end with the tests.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const BINARY = process.env.REMUDA_BIN ?? path.join(ROOT, "target/debug/remuda");

// Longer than anything here takes on a busy machine; a test that reaches it has found a hang.
export const PATIENCE = 30_000;

// Where there is setpriv (Linux), the processes end when this one does, however that ends.
const TIED = spawnSync("setpriv", ["--version"]).error ? [] : ["setpriv", "--pdeathsig", "TERM", "--"];

/** The first true value that `condition` gives. */
export async function until(condition, what, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(Date.now() < deadline, `not within ${patience} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function start(words, stdio) {
  const [program, ...rest] = [...TIED, BINARY, ...words];
  const child = spawn(program, rest, { stdio });
  child.ended = new Promise((resolve, reject) => {
    child.on("exit", resolve);
    child.on("error", reject);
  });
  return child;
}

export async function stop(child) {
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
  const status = await child.ended;
  clearTimeout(late);
  return status;
}

async function json(url, options) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE), ...options });
  assert.equal(answer.status, 200, url);
  return answer.json();
}

/** `remuda sim`, once it has announced `last` on its output, and the addresses that it announced, by name. */
export async function simulate(words, last) {
  const child = start(["sim", ...words], ["ignore", "pipe", "inherit"]);
  const addresses = [];
  for await (const line of readline.createInterface({ input: child.stdout })) {
    const [name, url] = line.split(" on ");
    addresses.push({ name, url });
    if (last(name)) return { child, addresses };
  }
  await stop(child);
  assert.fail("the simulation did not start");
}

/** `remuda serve` with `providers`; `server` are keys of its section `server`, `more` are other sections. */
export class Gateway {
  async start(providers, server, more = {}) {
    this.directory = mkdtempSync(path.join(tmpdir(), "remuda-clients-"));
    const configuration = path.join(this.directory, "remuda.yaml");
    // JSON is YAML, too.
    writeFileSync(
      configuration,
      JSON.stringify({
        server: {
          listen: "127.0.0.1:0",
          admin: "off",
          drain_timeout: "1s",
          expose_backend: true,
          ...server,
        },
        providers,
        ...more,
      }),
    );
    const log = openSync(path.join(this.directory, "remuda.log"), "w");
    this.child = start(["serve", "-c", configuration], ["ignore", "ignore", log]);
    closeSync(log);
    const listening = () => {
      assert.equal(this.child.exitCode, null, this.log());
      return /listening on (\S+)[^]* ready\n/.exec(this.log());
    };
    this.url = (await until(listening, "the gateway is ready"))[1];
  }

  log() {
    return readFileSync(path.join(this.directory, "remuda.log"), "utf8");
  }

  async stop() {
    if (!this.child) return;
    const status = await stop(this.child);
    const log = this.log();
    rmSync(this.directory, { recursive: true });
    assert.equal(status, 0, log);
    assert.doesNotMatch(log, /panicked/);
  }

  async backends() {
    return (await json(`${this.url}/__proxy/backends`)).backends;
  }

  /** Waits until all `count` backends are healthy and idle. */
  async settle(count) {
    const idle = (backend) => backend.healthy && backend.in_flight === 0;
    await until(async () => {
      const backends = await this.backends();
      return backends.length === count && backends.every(idle);
    }, "all backends are healthy and idle");
  }
}

/** An entry of `providers` for simulated Ollama servers. */
export function ollamaServers(name, backends) {
  return { name, kind: "ollama", backends, interval: "100ms", probe_timeout: "5s" };
}

class Fleet {
  gateway = new Gateway();

  /** Three servers with the same models, and the gateway; `server` are keys of its section `server`. */
  async start(server) {
    const { child, addresses } = await simulate(
      [
        ...["--ports", "0x3", "--control", "127.0.0.1:0"],
        ...["--models", "llama3.2,qwen3:8b,gemma3,nomic-embed-text"],
        ...["--load-time", "20ms", "--prompt-speed", "0", "--decode-speed", "2000"],
        ...["--pull-bandwidth", "0"],
      ],
      (name) => name === "control",
    );
    this.simulation = child;
    this.control = addresses.pop().url;
    this.servers = addresses.map(({ url }) => url);
    await this.gateway.start([ollamaServers("simulated", this.servers)], server);
    await until(() => this.settled(), "all backends are healthy and idle");
  }

  get url() {
    return this.gateway.url;
  }

  async stop() {
    try {
      await this.gateway.stop();
    } finally {
      if (this.simulation) await stop(this.simulation);
    }
  }

  async inFlight() {
    return (await this.gateway.backends()).reduce((sum, backend) => sum + backend.in_flight, 0);
  }

  async settled() {
    const backends = await this.gateway.backends();
    const idle = (backend) => backend.healthy && backend.in_flight === 0 && backend.models.length > 0;
    return backends.length === this.servers.length && backends.every(idle);
  }

  /** Sum over all servers of what `count` finds in one's counters. */
  async #sum(count) {
    const { servers } = await json(`${this.control}/sim/stats`);
    return servers.reduce((sum, server) => sum + count(server), 0);
  }

  /** Sum of one counter over all servers. */
  total(counter) {
    return this.#sum((server) => server[counter]);
  }

  /** How many requests for `route` the servers had. */
  requests(route) {
    return this.#sum((server) => server.requests[route] ?? 0);
  }

  async fault(fault) {
    await json(`${this.control}/sim/fault`, { method: "POST", body: JSON.stringify(fault) });
  }

  /** Holds every answer on `route` after three tokens, for longer than any test waits. */
  async stall(route) {
    await this.fault({ kind: "stall", tokens: 3, seconds: (10 * PATIENCE) / 1000, route });
  }

  async reset() {
    await json(`${this.control}/sim/reset`, { method: "POST" });
    await until(() => this.settled(), "all backends are healthy and idle");
  }
}

/** Runs `use` with a fleet, which ends with it. */
export async function withFleet(server, use) {
  const fleet = new Fleet();
  try {
    await fleet.start(server);
    await use(fleet);
  } finally {
    await fleet.stop();
  }
}

/** A fleet for all tests of a file. */
export async function fleetOf({ after, beforeEach }) {
  const fleet = new Fleet();
  after(() => fleet.stop());
  beforeEach(() => fleet.reset());
  await fleet.start({});
  return fleet;
}
