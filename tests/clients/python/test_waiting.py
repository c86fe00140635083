"""Clients whose streams begin late: the gateway tells them in between that it is still there, which none may trip over."""

import anthropic
import ollama
import openai
import pytest

from conftest import running
from fleet import PATIENCE, Gateway, Simulation

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A gateway that speaks up every 20 ms, and a server whose answers begin after 400 ms."""
    with running(Simulation(["llama3.2"])) as simulation:
        directory = tmp_path_factory.mktemp("waiting")
        timeouts = {"keep_alive": "20ms"}
        with running(Gateway(simulation, directory, timeouts=timeouts)) as gateway:
            simulation.fault(kind="stall", at="head", seconds=0.4, route="/api/chat")
            simulation.fault(kind="stall", at="head", seconds=0.4, route="/api/generate")
            yield gateway


def by_ollama_chat(url):
    with ollama.Client(url, timeout=PATIENCE) as client:
        parts = list(client.chat("llama3.2", HELLO, stream=True))
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(part.message.content == "" for part in parts[:-1]) > 3
    return "".join(part.message.content for part in parts)


def by_ollama_generate(url):
    with ollama.Client(url, timeout=PATIENCE) as client:
        parts = list(client.generate("llama3.2", "Hello", stream=True))
    assert sum(part.response == "" for part in parts[:-1]) > 3
    return "".join(part.response for part in parts)


def by_openai_chat(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", timeout=PATIENCE) as client:
        with client.chat.completions.stream(model="llama3.2", messages=HELLO) as stream:
            stream.until_done()
            return stream.get_final_completion().choices[0].message.content


def by_openai_responses(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", timeout=PATIENCE) as client:
        with client.responses.stream(model="llama3.2", input="Hello") as stream:
            return stream.get_final_response().output_text


def by_anthropic(url):
    with anthropic.Anthropic(base_url=url, api_key="unused", timeout=PATIENCE) as client:
        asked = client.messages.stream(model="llama3.2", messages=HELLO, max_tokens=200)
        with asked as stream:
            return stream.get_final_text()


@pytest.mark.parametrize(
    "ask",
    [by_ollama_chat, by_ollama_generate, by_openai_chat, by_openai_responses, by_anthropic],
)
def test_a_late_stream_is_read_as_one_in_time(slow, ask):
    assert len(ask(slow.url)) > 20
