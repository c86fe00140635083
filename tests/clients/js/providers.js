// One simulated provider of every kind, and a gateway in front of all of them.

import { Gateway, ollamaServers, simulate, stop } from "./fleet.js";

const SPEED = ["--prompt-speed", "0", "--decode-speed", "0"];

const DIALECTS = [
  "openai",
  "responses",
  "anthropic",
  "google",
  "azure",
  "bedrock",
  "openrouter",
  "perplexity",
];

/** What the gateway is told of the services, by the addresses of their simulations. */
function services(url) {
  const key = { api_key: "sim-key" };
  const aws = {
    region: "us-east-1",
    access_key: "AKIDEXAMPLE",
    secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    control_url: url.bedrock,
  };
  const azure = {
    api_version: "2024-10-21",
    deployments: { "gpt-4o": "gpt-4o", "text-embedding-3-small": "text-embedding-3-small" },
  };
  const entry = (name, kind, base_url, more) => ({ name, kind, base_url, ...more });
  return [
    entry("openai", "openai", `${url.openai}/v1`, key),
    entry("responses", "openai", `${url.responses}/v1`, { ...key, chat_api: "responses" }),
    entry("compatible", "openai_compatible", `${url.openai}/v1`, key),
    entry("anthropic", "anthropic", url.anthropic, key),
    entry("google", "google", url.google, key),
    entry("azure", "azure", url.azure, { ...key, ...azure }),
    entry("bedrock", "bedrock", url.bedrock, aws),
    entry("openrouter", "openrouter", `${url.openrouter}/api/v1`, key),
    entry("perplexity", "perplexity", url.perplexity, key),
  ];
}

class Providers {
  #addresses = {};
  #count = 0;
  #simulations = [];
  #gateway = new Gateway();

  async start() {
    const models = "llama3.2,qwen3:8b,gemma3,nomic-embed-text";
    const ollama = await this.#simulate(["--ports", "0", "--models", models, "--load-time", "20ms"]);
    const url = {};
    for (const dialect of DIALECTS) {
      url[dialect] = await this.#simulate(["--dialect", dialect, "--ports", "0"]);
    }
    this.#addresses = { ...url, ollama, compatible: url.openai };
    const providers = [ollamaServers("ollama", [ollama]), ...services(url)];
    this.#count = providers.length;
    // One failure after the other is asked for here, and the next one is to be seen as well.
    await this.#gateway.start(providers, {}, { routing: { breaker: { enabled: false } } });
    await this.#gateway.settle(this.#count);
  }

  /** All requests for models meet a fault at a provider while `use` runs; afterwards all is well again. */
  async failing(name, fault, use) {
    const url = `${this.#addresses[name]}/sim/fault`;
    await fetch(url, { method: "POST", body: JSON.stringify({ route: "inference", ...fault }) });
    try {
      await use();
    } finally {
      await fetch(url, { method: "DELETE" });
      await this.#gateway.settle(this.#count);
    }
  }

  async #simulate(words) {
    const { child, addresses } = await simulate([...words, ...SPEED], () => true);
    this.#simulations.push(child);
    return addresses[0].url;
  }

  get url() {
    return this.#gateway.url;
  }

  async stop() {
    try {
      await this.#gateway.stop();
    } finally {
      await Promise.all(this.#simulations.map(stop));
    }
  }
}

/** Every kind of provider, for all tests of a file. */
export async function allProviders({ after }) {
  const providers = new Providers();
  after(() => providers.stop());
  await providers.start();
  return providers;
}
