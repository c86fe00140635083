"""`generate`, `embed` and `embeddings` of the `ollama` client."""

import asyncio
import math

import ollama
import pytest

from fleet import PATIENCE

PROMPT = "Why is the sky blue?"


def test_a_whole_and_a_streamed_answer(client, direct):
    whole = client.generate("llama3.2", PROMPT)
    assert whole.response == direct.generate("llama3.2", PROMPT).response != ""
    assert (whole.done, whole.done_reason) == (True, "stop")
    parts = list(client.generate("llama3.2", PROMPT, stream=True))
    assert "".join(part.response for part in parts) == whole.response
    assert parts[-1].done and parts[-1].context == whole.context


def test_the_context_goes_on(client):
    first = client.generate("llama3.2", PROMPT)
    second = client.generate("llama3.2", PROMPT, context=first.context)
    assert second.prompt_eval_count == first.prompt_eval_count + len(first.context)


def test_raw_system_suffix_and_options(client):
    assert client.generate("llama3.2", PROMPT, raw=True).context is None
    with_system = client.generate("llama3.2", PROMPT, system="Answer in a rhyme.")
    assert with_system.response != client.generate("llama3.2", PROMPT).response
    assert client.generate("codellama", "def f(", suffix="return x").response
    short = client.generate("llama3.2", PROMPT, options=ollama.Options(num_predict=3))
    assert (short.eval_count, short.done_reason) == (3, "length")


def test_stop_sequences(client):
    whole = client.generate("llama3.2", PROMPT).response
    word = whole.split()[5]
    cut = client.generate("llama3.2", PROMPT, options={"stop": [word]}).response
    assert cut == whole[: whole.index(word)]


def test_thinking(client):
    parts = list(client.generate("qwen3:8b", PROMPT, think=True, stream=True))
    assert any(part.thinking for part in parts) and any(part.response for part in parts)
    assert client.generate("qwen3:8b", PROMPT, think="high").thinking
    assert client.generate("qwen3:8b", PROMPT, think=False).thinking is None


def length(vector):
    return math.sqrt(sum(number * number for number in vector))


def test_embeddings_of_one_and_of_many(client, direct):
    one = client.embed("nomic-embed-text", "a horse")
    many = client.embed("nomic-embed-text", ["a horse", "a saddle", "a rope"])
    assert one.model == "nomic-embed-text" and one.prompt_eval_count > 0
    assert [len(vector) for vector in many.embeddings] == [768] * 3
    assert one.embeddings[0] == many.embeddings[0]
    assert one.embeddings == direct.embed("nomic-embed-text", "a horse").embeddings
    assert all(length(vector) == pytest.approx(1, abs=1e-3) for vector in many.embeddings)


def test_embeddings_of_fewer_dimensions(client):
    short = client.embed("nomic-embed-text", "a horse", dimensions=64).embeddings[0]
    assert len(short) == 64 and length(short) == pytest.approx(1, abs=1e-3)


def test_many_inputs_at_once(client):
    """The answer is some megabytes."""
    texts = [f"text number {number}" for number in range(500)]
    assert len(client.embed("nomic-embed-text", texts).embeddings) == 500


def test_the_older_route_for_embeddings(client):
    assert len(client.embeddings("nomic-embed-text", "a horse").embedding) == 768


def test_the_asynchronous_client(gateway):
    async def all_at_once():
        async with ollama.AsyncClient(gateway.url, timeout=PATIENCE) as client:
            return await asyncio.gather(
                client.generate("llama3.2", PROMPT),
                client.embed("nomic-embed-text", "a horse"),
                client.embeddings("nomic-embed-text", "a horse"),
            )

    answer, embedded, older = asyncio.run(all_at_once())
    assert answer.done and len(embedded.embeddings[0]) == len(older.embedding) == 768
