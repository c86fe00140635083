"""One simulated provider of every kind, and a gateway in front of all of them."""

import contextlib
import json
import subprocess

from fleet import Gateway, Simulation, fetch_json, start, stop

KEY = "sim-key"


class Provider:
    """`remuda sim --dialect …`."""

    def __init__(self, dialect):
        self.process = start(
            [
                *("sim", "--dialect", dialect, "--ports", "0"),
                *("--prompt-speed", "0", "--decode-speed", "0"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        self.url = line.strip().partition(" on ")[2]
        assert self.url.startswith("http"), line

    def stop(self):
        stop(self.process)
        self.process.stdout.close()


class Providers:
    """Every kind of provider, each with a gateway's name for it."""

    DIALECTS = [
        "openai",
        "responses",
        "anthropic",
        "google",
        "azure",
        "bedrock",
        "openrouter",
        "perplexity",
    ]

    def __init__(self, directory):
        self.fleet = Simulation(["llama3.2", "qwen3:8b", "gemma3", "nomic-embed-text"])
        self.simulated = {dialect: Provider(dialect) for dialect in self.DIALECTS}
        configured = self._configured()
        services = len(configured) - 1
        # One failure after the other is asked for here, and the next one is to be seen as well.
        routing = {"breaker": {"enabled": False}}
        self.gateway = Gateway(
            self.fleet, directory, services, providers=configured, routing=routing
        )

    def _configured(self):
        url = {dialect: provider.url for dialect, provider in self.simulated.items()}
        aws = {
            "region": "us-east-1",
            "access_key": "AKIDEXAMPLE",
            "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "control_url": url["bedrock"],
        }
        azure = {
            "api_version": "2024-10-21",
            "deployments": {
                "gpt-4o": "gpt-4o",
                "text-embedding-3-small": "text-embedding-3-small",
            },
        }
        entries = [
            ("openai", "openai", f"{url['openai']}/v1", {}),
            ("responses", "openai", f"{url['responses']}/v1", {"chat_api": "responses"}),
            ("compatible", "openai_compatible", f"{url['openai']}/v1", {}),
            ("anthropic", "anthropic", url["anthropic"], {}),
            ("google", "google", url["google"], {}),
            ("azure", "azure", url["azure"], azure),
            ("bedrock", "bedrock", url["bedrock"], aws),
            ("openrouter", "openrouter", f"{url['openrouter']}/api/v1", {}),
            ("perplexity", "perplexity", url["perplexity"], {}),
        ]
        fleet = {
            "name": "ollama",
            "kind": "ollama",
            "backends": self.fleet.servers,
            "interval": "100ms",
            "probe_timeout": "5s",
        }
        key = {"api_key": KEY}
        return [fleet] + [
            {
                "name": name,
                "kind": kind,
                "base_url": base,
                **({} if kind == "bedrock" else key),
                **more,
            }
            for name, kind, base, more in entries
        ]

    def server(self, name):
        """The address of the simulation that plays a provider."""
        if name == "ollama":
            return self.fleet.servers[0]
        return self.simulated["openai" if name == "compatible" else name].url

    def sent(self, name):
        """The body of the request for a model that came to a provider last."""
        [server] = fetch_json(f"{self.server(name)}/sim/stats")["servers"]
        return json.loads(server["last_inference"]["body"])

    @contextlib.contextmanager
    def failing(self, name, **fault):
        """All requests for models meet a fault there for so long; afterwards all is well again."""
        url = f"{self.server(name)}/sim/fault"
        fetch_json(url, {"route": "inference", **fault})
        try:
            yield
        finally:
            fetch_json(url, method="DELETE")
            self.gateway.settle()

    def stop(self):
        self.gateway.stop()
        for provider in self.simulated.values():
            provider.stop()
        self.fleet.stop()


def table(outcomes):
    """A Markdown table: a row for each client's feature, a column for each provider."""
    providers = list(dict.fromkeys(provider for _, _, provider in outcomes))
    rows = list(dict.fromkeys((client, feature) for client, feature, _ in outcomes))
    lines = [
        "| Client | Feature | " + " | ".join(providers) + " |",
        "|---|---|" + "---|" * len(providers),
    ]
    for client, feature in rows:
        cells = [outcomes.get((client, feature, provider), "") for provider in providers]
        lines.append(f"| {client} | {feature} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def shown(value):
    """For messages of assertions."""
    return json.dumps(value, default=str)[:500]
