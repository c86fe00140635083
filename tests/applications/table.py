"""Applications through a gateway, by kind of provider: makes the table of docs/applications.md, or holds it against it.

Arguments: the folder that run.sh has installed the applications in, and names of applications to run alone.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients/python"))

from fleet import wait_until  # noqa: E402
from providers import Providers  # noqa: E402

HERE = Path(__file__).resolve().parent
INSTALLED = Path(sys.argv[1]).resolve()
DOCUMENT = ROOT / "docs/applications.md"
MARK = "<!-- table -->\n"

# A coding agent on a busy machine.
PATIENCE = 240

# The model that each provider is asked for: one that calls tools.
MODELS = {
    "ollama": "ollama/qwen3:8b",
    "openai": "openai/gpt-5.5",
    "responses": "responses/gpt-5.5",
    "compatible": "compatible/gpt-4o",
    "anthropic": "anthropic/claude-opus-5",
    "google": "google/gemini-3.5-flash",
    "azure": "azure/gpt-4o",
    "bedrock": "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "openrouter": "openrouter/openai/gpt-4o",
    "perplexity": "perplexity/openai/gpt-5.1",
}
# Some alone, while something is looked into.
if some := os.environ.get("REMUDA_PROVIDERS"):
    MODELS = {provider: MODELS[provider] for provider in some.split(",")}


class Place:
    """A home and a working directory of an application's own, and a gateway to ask."""

    def __init__(self, url, directory):
        self.url = url
        self.directory = Path(directory)
        self.work = self.directory / "work"
        self.work.mkdir()
        (self.work / "notes.txt").write_text("ahoy from a file\n")

    def run(self, arguments, **environment):
        """Standard output of an application that must succeed."""
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [str(argument) for argument in arguments],
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.directory),
                    "NO_PROXY": "127.0.0.1",
                    "TERM": "dumb",
                    **{key: str(value) for key, value in environment.items()},
                },
            )
            try:
                code = process.wait(PATIENCE)
            finally:
                # With what it has started.
                try:
                    os.killpg(process.pid, 9)
                except ProcessLookupError:
                    pass
                process.wait()
            output.seek(0)
            text = output.read().decode(errors="replace")
        assert code == 0, f"exit code {code}: {text[-600:]}"
        return text

    def npm(self, name):
        return INSTALLED / "js/node_modules/.bin" / name


def heard(provider, text):
    """A simulated service repeats what it was told, or what the tools that an agent told it of have said; an Ollama server
    says what it likes."""
    repeats = "You said:" in text or "The tools said:" in text
    assert text.strip() if provider == "ollama" else repeats, text[-600:]


def claude(place, model, prompt):
    told = place.run(
        [place.npm("claude"), "-p", prompt, "--output-format", "json", "--allowedTools", "Read"],
        ANTHROPIC_BASE_URL=place.url,
        ANTHROPIC_AUTH_TOKEN="unused",
        ANTHROPIC_MODEL=model,
        ANTHROPIC_DEFAULT_HAIKU_MODEL=model,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_AUTOUPDATER="1",
    )
    result = json.loads(told[told.index("{") :])
    assert not result["is_error"], told[-600:]
    return result


def claude_answers(place, model, provider):
    heard(provider, claude(place, model, "say ahoy")["result"])


def claude_tool(place, model, provider):
    result = claude(place, model, "use Read on notes.txt")
    assert result["num_turns"] > 1 and result["result"].strip(), result


def codex(place, model, prompt):
    provider = f'{{name="Remuda",base_url="{place.url}/v1",env_key="REMUDA_KEY",wire_api="responses"}}'
    told = place.run(
        [
            *(place.npm("codex"), "exec", "--skip-git-repo-check", "--json"),
            *("-c", "model_provider=remuda", "-c", f"model_providers.remuda={provider}"),
            *("-m", model, prompt),
        ],
        REMUDA_KEY="unused",
    )
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    failed = [event for event in events if event["type"] in ("error", "turn.failed")]
    assert not failed, failed
    return [event["item"] for event in events if event["type"] == "item.completed"]


def codex_answers(place, model, provider):
    items = codex(place, model, "say ahoy")
    heard(provider, "".join(item["text"] for item in items if item["type"] == "agent_message"))


def codex_tool(place, model, provider):
    items = codex(place, model, "use exec_command")
    said = "".join(item["text"] for item in items if item["type"] == "agent_message")
    # Whatever came of the command, the model is told; one of an Ollama server thinks before each turn.
    thoughts = [item for item in items if item["type"] == "reasoning"]
    assert len(thoughts) > 1 if provider == "ollama" else "The tools said:" in said, items


def opencode(place, model, prompt):
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Remuda",
        "options": {"baseURL": f"{place.url}/v1", "apiKey": "unused"},
        "models": {model: {"name": model}},
    }
    configuration = {
        "provider": {"remuda": provider},
        "model": f"remuda/{model}",
        "small_model": f"remuda/{model}",
        "autoupdate": False,
        "share": "disabled",
    }
    return place.run(
        [place.npm("opencode"), "run", "--format", "json", prompt],
        OPENCODE_CONFIG_CONTENT=json.dumps(configuration),
        OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_MODELS_FETCH="1",
    )


def opencode_answers(place, model, provider):
    heard(provider, "".join(part["text"] for part in parts(opencode(place, model, "say ahoy"), "text")))


def opencode_tool(place, model, provider):
    told = opencode(place, model, "use read on notes.txt")
    assert parts(told, "tool") and parts(told, "text"), told[-600:]


def parts(told, sort):
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    found = [event.get("part", {}) for event in events]
    return [part for part in found if part.get("type") == sort]


def aider(place, model, provider):
    told = place.run(
        [
            *(INSTALLED / "aider/bin/aider", "--model", f"openai/{model}", "--message", "say ahoy"),
            *("--no-git", "--yes-always", "--no-show-model-warnings", "--no-check-update"),
            # Where it changes files, its prompt has words that steer simulated models.
            *("--analytics-disable", "--no-pretty", "--no-show-release-notes", "--chat-mode", "ask"),
        ],
        OPENAI_API_BASE=f"{place.url}/v1",
        OPENAI_API_KEY="unused",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )
    assert re.search(r"^Tokens: .* sent, [1-9].* received", told, re.MULTILINE), told[-600:]
    heard(provider, told)


AGENTS = {
    "Claude Code": {"answers": claude_answers, "runs a tool": claude_tool},
    "Codex": {"answers": codex_answers, "runs a tool": codex_tool},
    "opencode": {"answers": opencode_answers, "runs a tool": opencode_tool},
    "aider": {"answers": aider},
}


def agents(url, wanted):
    """An outcome for each agent, task and provider."""
    for application, tasks in AGENTS.items():
        for task, run in tasks.items() if wanted(application) else ():
            for provider, model in MODELS.items():
                with tempfile.TemporaryDirectory() as directory:
                    try:
                        run(Place(url, directory), model, provider)
                        why = None
                    except Exception as error:
                        why = f"{type(error).__name__}: {error}"
                yield application, task, provider, why


def libraries(url, command):
    """The same of a script that prints a line of JSON for each."""
    process = subprocess.Popen(
        [*command, url, json.dumps(MODELS)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(INSTALLED), "NO_PROXY": "127.0.0.1"},
    )
    for line in process.stdout:
        if line.startswith('{"application"'):
            told = json.loads(line)
            yield told["application"], told["task"], told["provider"], told["why"]
    assert process.wait() == 0, command


def open_webui(url):
    """Its server between a user and the gateway, which it knows by both of its APIs."""
    with tempfile.TemporaryDirectory() as directory:
        log = (Path(directory) / "log").open("wb")
        listener = "127.0.0.1"
        port = free_port()
        process = subprocess.Popen(
            [INSTALLED / "open-webui/bin/open-webui", "serve", "--host", listener, "--port", str(port)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": directory,
                "DATA_DIR": directory,
                "NO_PROXY": "127.0.0.1",
                "OLLAMA_BASE_URL": url,
                "OPENAI_API_BASE_URL": f"{url}/v1",
                "OPENAI_API_KEY": "unused",
                "WEBUI_AUTH": "False",
                "WEBUI_SECRET_KEY": "for the test",
                "OFFLINE_MODE": "True",
                "HF_HUB_OFFLINE": "1",
                "RAG_EMBEDDING_ENGINE": "openai",
                "ENABLE_PERSISTENT_CONFIG": "False",
            },
        )
        try:
            yield from asked_of_open_webui(f"http://{listener}:{port}", process, Path(log.name))
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def asked_of_open_webui(url, process, log):
    import urllib.request

    def answers():
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    wait_until(answers, "Open WebUI answers", PATIENCE)
    token = None

    def ask(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{url}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read().decode()

    # Without accounts, whoever signs in is the administrator.
    token = json.loads(ask("/api/v1/auths/signin", {"email": "", "password": ""}))["token"]
    listed = {model["id"] for model in json.loads(ask("/api/models"))["data"]}
    for provider, model in MODELS.items():
        # Each is listed once, and without its provider's name where no other has it.
        names = [model, model.partition("/")[2]]
        own = next((name for name in names if name in listed), model)
        missing = None if own in listed else f"not among {sorted(listed)[:20]}"
        yield "Open WebUI", "lists the model", provider, missing
        for task, stream in (("chat", False), ("stream", True)):
            try:
                messages = [{"role": "user", "content": "say ahoy"}]
                body = {"model": own, "messages": messages, "stream": stream}
                told = ask("/api/chat/completions", body)
                heard(provider, streamed(told) if stream else whole(told))
                why = None
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
            yield "Open WebUI", task, provider, why


def whole(told):
    return json.loads(told)["choices"][0]["message"]["content"]


def streamed(told):
    events = re.findall(r"^data: (\{.*)$", told, re.MULTILINE)
    chunks = [json.loads(event) for event in events]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
    # Azure tells of its filter in choices that say nothing.
    return "".join(choice.get("delta", {}).get("content") or "" for choice in choices)


def outcomes(url, only):
    def wanted(name):
        return not only or any(one.lower() in name.lower() for one in only)

    yield from agents(url, wanted)
    if wanted("python"):
        yield from libraries(url, [INSTALLED / "python/bin/python", HERE / "sdks.py"])
    if wanted("ai-sdk"):
        yield from libraries(url, ["node", INSTALLED / "js/sdk.mjs"])
    if wanted("open-webui"):
        yield from open_webui(url)


def table(rows):
    lines = [
        "| Application | Task | " + " | ".join(MODELS) + " |",
        "|---|---|" + "---|" * len(MODELS),
    ]
    lines += ["| " + " | ".join([*row, *cells]) + " |" for row, cells in rows.items()]
    return "\n".join(lines) + "\n"


def rows_of(text):
    """The rows of a table as it stands in the document."""
    split = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    return {(cells[0], cells[1]): cells[2:] for cells in split}


def main():
    only = sys.argv[2:]
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        providers = Providers(Path(directory))
        try:
            for application, task, provider, why in outcomes(providers.gateway.url, only):
                found[application, task, provider] = "no" if why else "yes"
                print(f"{application}, {task}, {provider}: {why or 'yes'}", flush=True)
        finally:
            providers.stop()
    names = dict.fromkeys((application, task) for application, task, _ in found)
    rows = {row: [found.get((*row, provider), "") for provider in MODELS] for row in names}
    before, stands = DOCUMENT.read_text().split(MARK)
    if some:
        print(table(rows))
        return
    # Where some applications are run alone, the others' rows stay.
    made = table({**rows_of(stands), **rows} if only else rows)
    if os.environ.get("REMUDA_APPLICATION_TABLE") == "write":
        DOCUMENT.write_text(before + MARK + made)
    elif stands != made:
        print(made)
        sys.exit(f"{DOCUMENT} has another table; REMUDA_APPLICATION_TABLE=write makes it anew")


main()
