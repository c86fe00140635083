"""`list`, `show`, `ps` of the `ollama` client, loading and unloading, and management."""

import asyncio
import datetime

import ollama
import pytest

from conftest import COMMON, running
from fleet import PATIENCE, Gateway, Simulation, fetch_json, wait_until

NAMES = {name if ":" in name else f"{name}:latest" for name in COMMON}


def test_the_list_is_of_the_whole_fleet(client, direct):
    models = client.list().models
    names = [model.model for model in models]
    assert set(names) == NAMES | {"codellama:latest", "mistral:latest"}
    assert len(names) == len(set(names))
    details = {model.model: (model.size, model.digest, model.details) for model in models}
    for model in direct.list().models:
        assert details[model.model] == (model.size, model.digest, model.details)
    assert all(model.modified_at for model in models)


@pytest.mark.parametrize(
    ("model", "capability"),
    [
        ("llama3.2", "tools"),
        ("qwen3:8b", "thinking"),
        ("gemma3", "vision"),
        ("nomic-embed-text", "embedding"),
        ("codellama", "insert"),
        ("mistral", "completion"),
    ],
)
def test_what_a_model_is(client, model, capability):
    shown = client.show(model)
    assert capability in shown.capabilities
    architecture = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{architecture}.context_length"] > 0
    assert shown.details.family and shown.modified_at


def test_loading_and_unloading(client, gateway, simulation):
    simulation.restart()
    wait_until(lambda: not gateway.loaded(), "nothing is loaded")
    gateway.settle()
    assert list(client.ps().models) == []

    loaded = client.generate("llama3.2", keep_alive="1h")
    assert (loaded.done_reason, loaded.response) == ("load", "")
    [model] = wait_until(lambda: client.ps().models, "the model is listed as loaded")
    assert model.model == model.name == "llama3.2:latest"
    assert 0 < model.size_vram <= model.size and model.context_length == 4096
    left = model.expires_at - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=50) < left <= datetime.timedelta(hours=1)

    assert client.chat("llama3.2", [], keep_alive=0).done_reason == "unload"
    wait_until(lambda: not client.ps().models, "no model is listed as loaded")


def test_a_model_that_stays_loaded_serves_the_next_request(client, gateway, simulation):
    simulation.restart()
    wait_until(lambda: not gateway.loaded(), "nothing is loaded")
    gateway.settle()
    for _ in range(6):
        client.generate("qwen3:8b", "Hi", keep_alive=-1)
    assert simulation.total("loads") == 1


def test_management_is_off_unless_it_is_allowed(client, simulation):
    for attempt in (
        lambda: client.pull("all-minilm"),
        lambda: list(client.pull("all-minilm", stream=True)),
        lambda: client.push("llama3.2"),
        lambda: client.create("mine", from_="llama3.2"),
        lambda: client.copy("llama3.2", "mine"),
        lambda: client.delete("llama3.2"),
    ):
        with pytest.raises(ollama.ResponseError, match="manage: true") as raised:
            attempt()
        assert raised.value.status_code == 403
    assert {name for server in simulation.stats() for name in server["requests"]} <= {
        "GET /api/tags",
        "GET /api/ps",
        "GET /api/version",
    }


@pytest.fixture
def manager(tmp_path):
    """A client of a gateway that allows management, before a fleet of its own."""
    with (
        running(Simulation(["llama3.2"], ["llama3.2"])) as simulation,
        running(Gateway(simulation, tmp_path, server={"manage": True})) as gateway,
        ollama.Client(gateway.url, timeout=PATIENCE) as client,
    ):
        client.simulation, client.url = simulation, gateway.url
        yield client


def names(client):
    return {model.model for model in client.list().models}


def on_disk(client):
    """What each server has."""
    return [
        {model["name"] for model in fetch_json(f"{server}/api/tags")["models"]}
        for server in client.simulation.servers
    ]


def test_pulling_to_the_whole_fleet(manager):
    parts = list(manager.pull("all-minilm", stream=True))
    assert parts[0].status == "pulling manifest" and parts[-1].status == "success"
    amounts = [part for part in parts if part.total]
    assert amounts and all((part.completed or 0) <= part.total for part in amounts)
    assert on_disk(manager) == [{"llama3.2:latest", "all-minilm:latest"}] * 2
    wait_until(lambda: "all-minilm:latest" in names(manager), "the pulled model is listed")
    assert len(manager.embed("all-minilm", "text").embeddings[0]) == 384
    assert manager.pull("gemma3:1b").status == "success"


def test_pulling_to_one_server(manager):
    name = manager.simulation.servers[1].removeprefix("http://")
    with ollama.Client(
        manager.url, timeout=PATIENCE, headers={"X-Backend": name}
    ) as client:
        assert client.pull("all-minilm").status == "success"
    assert on_disk(manager) == [{"llama3.2:latest"}, {"llama3.2:latest", "all-minilm:latest"}]


@pytest.mark.parametrize("stream", [False, True])
def test_pulling_what_there_is_not(manager, stream):
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        list(manager.pull("no-such-model", stream=stream))


def test_copying_creating_deleting_and_pushing(manager, tmp_path):
    assert manager.copy("llama3.2", "mine").status == "success"
    assert manager.create("brief", from_="llama3.2", system="Be brief.").status == "success"
    assert list(manager.create("rude", from_="mine", stream=True))[-1].status == "success"
    made = {"llama3.2:latest", "mine:latest", "brief:latest", "rude:latest"}
    assert on_disk(manager) == [made] * 2
    wait_until(lambda: names(manager) == made, "the new models are listed")
    assert manager.generate("brief", "Hi").response

    for name in ("mine", "brief", "rude"):
        assert manager.delete(name).status == "success"
    assert on_disk(manager) == [{"llama3.2:latest"}] * 2
    wait_until(lambda: names(manager) == {"llama3.2:latest"}, "they are gone")
    for attempt, text in (
        (lambda: manager.delete("mine"), "model 'mine:latest' not found"),
        (lambda: manager.copy("mine", "yours"), 'model "mine" not found'),
    ):
        with pytest.raises(ollama.ResponseError, match=text) as raised:
            attempt()
        assert raised.value.status_code == 404

    pushed = list(manager.push("llama3.2", stream=True))
    assert pushed[-1].status == "success"
    pushes = [server["requests"].get("POST /api/push", 0) for server in manager.simulation.stats()]
    assert sum(pushes) == 1, "a registry takes a model once"

    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"GGUF" + bytes(300_000))
    digest = manager.create_blob(weights)
    assert digest.startswith("sha256:")
    assert manager.create("from-weights", files={"weights.gguf": digest}).status == "success"


def test_the_asynchronous_client(gateway):
    async def all_at_once():
        async with ollama.AsyncClient(gateway.url, timeout=PATIENCE) as client:
            return await asyncio.gather(client.list(), client.show("mistral"), client.ps())

    listed, shown, _ = asyncio.run(all_at_once())
    assert len(listed.models) == 6 and "completion" in shown.capabilities
