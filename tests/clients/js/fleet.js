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
const PATIENCE = 30_000;

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

async function stop(child) {
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

class Fleet {
  /** Three servers with the same models, and the gateway; `server` are keys of its section `server`. */
  async start(server) {
    this.simulation = start(
      [
        ...["sim", "--ports", "0x3", "--control", "127.0.0.1:0"],
        ...["--models", "llama3.2,qwen3:8b,gemma3,nomic-embed-text"],
        ...["--load-time", "20ms", "--prompt-speed", "0", "--decode-speed", "2000"],
        ...["--pull-bandwidth", "0"],
      ],
      ["ignore", "pipe", "inherit"],
    );
    this.servers = [];
    for await (const line of readline.createInterface({ input: this.simulation.stdout })) {
      const [what, url] = line.split(" on ");
      if (what === "control") {
        this.control = url;
        break;
      }
      this.servers.push(url);
    }
    assert.ok(this.control, "the simulation did not start");
    await this.#serve(server);
    await until(() => this.settled(), "all backends are healthy and idle");
  }

  async #serve(server) {
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
        providers: [
          {
            name: "simulated",
            kind: "ollama",
            backends: this.servers,
            interval: "100ms",
            probe_timeout: "5s",
          },
        ],
      }),
    );
    const log = openSync(path.join(this.directory, "remuda.log"), "w");
    this.gateway = start(["serve", "-c", configuration], ["ignore", "ignore", log]);
    closeSync(log);
    const listening = () => {
      assert.equal(this.gateway.exitCode, null, this.log());
      return /listening on (\S+)[^]* ready\n/.exec(this.log());
    };
    this.url = (await until(listening, "the gateway is ready"))[1];
  }

  log() {
    return readFileSync(path.join(this.directory, "remuda.log"), "utf8");
  }

  async stop() {
    const status = this.gateway && (await stop(this.gateway));
    await stop(this.simulation);
    if (this.gateway) {
      const log = this.log();
      rmSync(this.directory, { recursive: true });
      assert.equal(status, 0, log);
      assert.doesNotMatch(log, /panicked/);
    }
  }

  async backends() {
    return (await json(`${this.url}/__proxy/backends`)).backends;
  }

  async inFlight() {
    return (await this.backends()).reduce((sum, backend) => sum + backend.in_flight, 0);
  }

  async settled() {
    const backends = await this.backends();
    const idle = (backend) => backend.healthy && backend.in_flight === 0 && backend.models.length > 0;
    return backends.length === this.servers.length && backends.every(idle);
  }

  /** Sum of one counter over all servers. */
  async total(counter) {
    const { servers } = await json(`${this.control}/sim/stats`);
    return servers.reduce((sum, server) => sum + server[counter], 0);
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
