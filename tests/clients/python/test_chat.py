"""`chat` of the `ollama` client: whole, streamed, thinking, and in a format."""

import asyncio
import json

import ollama
import pydantic
import pytest

from fleet import PATIENCE

HELLO = [{"role": "user", "content": "Hello, what is a remuda?"}]


def text_of(parts):
    return "".join(part.message.content for part in parts)


def test_a_whole_answer_is_the_server_s_own(client, direct):
    answer = client.chat("llama3.2", HELLO)
    assert answer.message.content == direct.chat("llama3.2", HELLO).message.content != ""
    assert answer.message.role == "assistant"
    assert (answer.model, answer.done, answer.done_reason) == ("llama3.2", True, "stop")
    assert answer.prompt_eval_count > 0 and answer.eval_count >= 24
    assert answer.total_duration >= answer.eval_duration > 0


def test_a_stream_is_the_whole_answer_in_parts(client):
    parts = list(client.chat("llama3.2", HELLO, stream=True))
    assert text_of(parts) == client.chat("llama3.2", HELLO).message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == len(parts) - 1 >= 24
    assert all(part.created_at.endswith("Z") for part in parts)


def test_several_turns_and_a_system_message(client, direct):
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    first = client.chat("llama3.2", messages)
    messages += [first.message, {"role": "user", "content": "And a fleet?"}]
    second = client.chat("llama3.2", messages)
    assert second.prompt_eval_count > first.prompt_eval_count
    assert second.message.content == direct.chat("llama3.2", messages).message.content


def test_options_bound_the_answer(client):
    answer = client.chat("llama3.2", HELLO, options={"num_predict": 5, "temperature": 0.1})
    assert (answer.eval_count, answer.done_reason) == (5, "length")
    seeds = [client.chat("llama3.2", HELLO, options={"seed": seed}) for seed in (1, 2)]
    assert seeds[0].message.content != seeds[1].message.content


@pytest.mark.parametrize("think", [None, True, "low"])
def test_a_thinking_model_thinks(client, think):
    answer = client.chat("qwen3:8b", HELLO, think=think)
    assert answer.message.thinking and answer.message.content
    parts = list(client.chat("qwen3:8b", HELLO, think=think, stream=True))
    assert "".join(part.message.thinking or "" for part in parts) == answer.message.thinking
    assert text_of(parts) == answer.message.content


def test_a_thinking_model_may_be_told_not_to(client):
    assert client.chat("qwen3:8b", HELLO, think=False).message.thinking is None


class Person(pydantic.BaseModel):
    name: str
    age: int
    pets: list[str]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_in_a_format(client, stream):
    answer = client.chat("llama3.2", HELLO, format=Person.model_json_schema(), stream=stream)
    Person.model_validate_json(text_of(answer) if stream else answer.message.content)
    answer = client.chat("llama3.2", HELLO, format="json", stream=stream)
    assert isinstance(json.loads(text_of(answer) if stream else answer.message.content), dict)


def test_log_probabilities(client):
    answer = client.chat("llama3.2", HELLO, logprobs=True, top_logprobs=2)
    assert len(answer.logprobs) == answer.eval_count
    assert all(len(token.top_logprobs) == 2 for token in answer.logprobs)


def test_the_asynchronous_client(gateway, client):
    expected = client.chat("llama3.2", HELLO).message.content

    async def both():
        async with ollama.AsyncClient(gateway.url, timeout=PATIENCE) as client:
            whole = await client.chat("llama3.2", HELLO)
            parts = [part async for part in await client.chat("llama3.2", HELLO, stream=True)]
            return whole.message.content, text_of(parts)

    assert asyncio.run(both()) == (expected, expected)


def test_names_may_be_written_as_ollama_allows(client):
    for name in ("llama3.2:latest", "LLAMA3.2", "library/llama3.2"):
        answer = client.chat(name, HELLO)
        assert (answer.model, answer.done) == (name, True)


def test_an_answer_that_comes_byte_by_byte(client, simulation):
    expected = client.chat("llama3.2", HELLO).message.content
    simulation.fault(kind="one_byte", route="/api/chat")
    assert text_of(client.chat("llama3.2", HELLO, stream=True)) == expected
    assert client.chat("llama3.2", HELLO).message.content == expected


def test_a_long_conversation(client):
    """Larger than any buffer on the way, with every kind of character."""
    text = "Größe → 🙂 \"quoted\" \\ \x01\n" * 40_000
    answer = client.chat("llama3.2", [{"role": "user", "content": text}])
    # No context holds it, so that the server keeps about half of the largest.
    assert answer.done and 65_536 <= answer.prompt_eval_count < 66_000
