"""The `openai` client on `/v1`, which Ollama's users use as well."""

import asyncio
import base64
import json

import openai
import pydantic
import pytest

from fleet import PATIENCE, wait_until
from test_tools_and_images import PNG

HELLO = [{"role": "user", "content": "Hello, what is a remuda?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def test_a_chat(gpt):
    answer = gpt.chat.completions.create(model="llama3.2", messages=HELLO)
    [choice] = answer.choices
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason == "stop" and answer.id.startswith("chatcmpl-")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_with_usage(gpt):
    whole = gpt.chat.completions.create(model="llama3.2", messages=HELLO)
    chunks = list(
        gpt.chat.completions.create(
            model="llama3.2", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    *parts, last = chunks
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    assert text == whole.choices[0].message.content
    assert parts[-1].choices[0].finish_reason == "stop"
    assert last.choices == [] and last.usage == whole.usage


def test_a_stream_without_usage(gpt):
    chunks = list(gpt.chat.completions.create(model="llama3.2", messages=HELLO, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_bounds(gpt):
    answer = gpt.chat.completions.create(model="llama3.2", messages=HELLO, max_tokens=4)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 4


def test_reasoning(gpt):
    answer = gpt.chat.completions.create(
        model="qwen3:8b", messages=HELLO, reasoning_effort="low"
    ).choices[0]
    assert answer.message.reasoning and answer.message.content


def test_structured_output(gpt):
    class Horse(pydantic.BaseModel):
        name: str
        hands: int

    answer = gpt.chat.completions.parse(model="llama3.2", messages=HELLO, response_format=Horse)
    assert isinstance(answer.choices[0].message.parsed, Horse)


@pytest.mark.parametrize("stream", [False, True])
def test_tools(gpt, stream):
    messages = [{"role": "user", "content": "Will it rain in Oslo?"}]
    if stream:
        with gpt.chat.completions.stream(
            model="llama3.2", messages=messages, tools=[WEATHER]
        ) as events:
            answer = events.get_final_completion()
    else:
        answer = gpt.chat.completions.create(model="llama3.2", messages=messages, tools=[WEATHER])
    [choice] = answer.choices
    [call] = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    messages += [
        {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]},
        {"role": "tool", "tool_call_id": call.id, "content": "dry"},
    ]
    answer = gpt.chat.completions.create(model="llama3.2", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls


def test_an_image(gpt):
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    answer = gpt.chat.completions.create(
        model="gemma3", messages=[{"role": "user", "content": content}]
    )
    assert answer.usage.prompt_tokens > 256


def test_completions(gpt):
    whole = gpt.completions.create(model="llama3.2", prompt="Once upon a time")
    assert whole.choices[0].text and whole.choices[0].finish_reason == "stop"
    parts = gpt.completions.create(model="llama3.2", prompt="Once upon a time", stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text


def test_embeddings(gpt):
    # The client asks for base64 unless it is told otherwise.
    packed = gpt.embeddings.create(model="nomic-embed-text", input=["a horse", "a rope"])
    plain = gpt.embeddings.create(
        model="nomic-embed-text", input=["a horse", "a rope"], encoding_format="float"
    )
    assert [len(row.embedding) for row in packed.data] == [768, 768]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert packed.usage.prompt_tokens > 0


def test_models(gpt):
    models = {model.id: model for model in gpt.models.list()}
    assert {"llama3.2:latest", "qwen3:8b", "codellama:latest", "mistral:latest"} <= set(models)
    assert len(models) == 6
    for name in ("qwen3:8b", "mistral", "codellama"):
        model = gpt.models.retrieve(name)
        assert (model.object, model.owned_by) == ("model", "library") and model.created > 0


def test_errors(gpt):
    with pytest.raises(openai.NotFoundError) as raised:
        gpt.chat.completions.create(model="nope", messages=HELLO)
    assert raised.value.body["message"] == "model 'nope' not found"
    assert raised.value.type == "not_found_error"
    with pytest.raises(openai.NotFoundError):
        gpt.models.retrieve("nope")
    with pytest.raises(openai.NotFoundError, match="try pulling it first"):
        gpt.embeddings.create(model="nope", input="x")
    with pytest.raises(openai.BadRequestError) as raised:
        gpt.chat.completions.create(model="llama3.2", messages=[])
    assert raised.value.type == "invalid_request_error"


def test_a_failure_before_the_first_content_is_not_seen(gpt, gateway):
    raw = gpt.chat.completions.with_raw_response.create(model="llama3.2", messages=HELLO)
    port = int(raw.headers["x-remuda-backend"].rsplit(":", 1)[1])
    gateway.simulation.fault(kind="status", status=500, port=port, route="/api/chat")
    again = gpt.chat.completions.with_raw_response.create(model="llama3.2", messages=HELLO)
    assert again.headers["x-remuda-attempts"] == "2"
    assert again.parse().choices == raw.parse().choices


def test_a_broken_stream_raises(gpt, gateway, simulation):
    simulation.fault(kind="cut", tokens=5, route="/api/chat")
    chunks = []
    with pytest.raises(openai.APIError, match="the backend closed the stream before its end"):
        # Of one server alone, nobody goes on with what it has begun.
        one = {"X-Backend": simulation.servers[0].removeprefix("http://")}
        for chunk in gpt.chat.completions.create(
            model="llama3.2", messages=HELLO, stream=True, extra_headers=one
        ):
            chunks.append(chunk)
    assert chunks and all(chunk.choices[0].finish_reason is None for chunk in chunks)
    gateway.settle()


def test_a_broken_stream_goes_on_elsewhere(gpt, gateway, simulation):
    create = gpt.chat.completions.create
    whole = create(model="llama3.2", messages=HELLO).choices[0].message.content
    simulation.fault(kind="cut", tokens=5, route="inference", times=1)
    chunks = list(create(model="llama3.2", messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert [chunk.choices[0].finish_reason for chunk in chunks].count("stop") == 1
    gateway.settle()


def test_a_client_that_leaves_frees_its_slot(gpt, gateway, simulation):
    simulation.stall("/v1/chat/completions")
    with gpt.chat.completions.create(model="llama3.2", messages=HELLO, stream=True) as stream:
        next(iter(stream))
        assert gateway.in_flight() == 1
    wait_until(lambda: gateway.in_flight() == 0, "the slot is free", 5)
    wait_until(lambda: simulation.total("active") == 0, "the server has stopped", 5)


def test_the_asynchronous_client(gateway):
    async def many():
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key="unused", timeout=PATIENCE, max_retries=0
        ) as client:
            create = client.chat.completions.create
            whole = await asyncio.gather(
                *(create(model="llama3.2", messages=HELLO) for _ in range(12))
            )
            stream = await create(model="llama3.2", messages=HELLO, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return {answer.choices[0].message.content for answer in whole} | {"".join(parts)}

    assert len(asyncio.run(many())) == 1
