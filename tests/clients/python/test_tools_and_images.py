"""Tool calls and images of the `ollama` client."""

import base64
import json

import ollama
import pytest

# A picture of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def get_weather(city: str, days: int) -> str:
    """Tells the weather.

    Args:
      city: Where.
      days: For how many days.
    """
    return json.dumps({"city": city, "days": days, "weather": "dry"})


# llama3.2 calls in the middle of a stream, qwen3 on its last line.
@pytest.mark.parametrize("model", ["llama3.2", "qwen3:8b"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answers(client, model, stream):
    def ask(messages):
        answer = client.chat(model, messages, tools=[get_weather], stream=stream)
        parts = list(answer) if stream else [answer]
        calls = [call for part in parts for call in part.message.tool_calls or []]
        assert parts[-1].done and parts[-1].done_reason == "stop"
        return "".join(part.message.content or "" for part in parts), calls

    messages = [{"role": "user", "content": "Will it rain in Oslo?"}]
    _, calls = ask(messages)
    assert [call.function.name for call in calls] == ["get_weather"]
    arguments = calls[0].function.arguments
    assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int)
    messages += [
        ollama.Message(role="assistant", content="", tool_calls=calls),
        {"role": "tool", "tool_name": "get_weather", "content": get_weather(**arguments)},
    ]
    content, calls = ask(messages)
    assert content and not calls


@pytest.mark.parametrize("kind", ["bytes", "base64", "file"])
def test_an_image_in_a_chat(client, tmp_path, kind):
    file = tmp_path / "pixel.png"
    file.write_bytes(PNG)
    image = {"bytes": PNG, "base64": base64.b64encode(PNG).decode(), "file": file}[kind]
    plain = {"role": "user", "content": "What is this?"}
    seen = client.chat("gemma3", [{**plain, "images": [image]}])
    assert seen.message.content
    # An image is 256 tokens of prompt there.
    assert seen.prompt_eval_count == client.chat("gemma3", [plain]).prompt_eval_count + 256


def test_images_in_a_generation(client):
    two = client.generate("gemma3", "Compare.", images=[PNG, PNG])
    assert two.prompt_eval_count >= 512 and two.response


def test_a_large_image(client, simulation):
    image = bytes(range(256)) * 32_768
    answer = client.chat("gemma3", [{"role": "user", "content": "?", "images": [image]}])
    assert answer.done and answer.prompt_eval_count > 256
    assert simulation.requests("POST /api/chat") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_image_that_is_not_base64(client, stream):
    # The client's own check lets this pass.
    messages = [{"role": "user", "content": "?", "images": ["!!!!"]}]
    with pytest.raises(ollama.ResponseError, match="illegal base64 data at input byte 0") as raised:
        list(client.chat("gemma3", messages, stream=stream))
    assert raised.value.status_code == 400


def test_a_model_that_cannot(client):
    for request, what in (
        ({"model": "gemma3", "tools": [get_weather]}, "gemma3:latest does not support tools"),
        ({"model": "llama3.2", "think": True}, '"llama3.2" does not support thinking'),
        ({"model": "nomic-embed-text"}, '"nomic-embed-text" does not support chat'),
    ):
        with pytest.raises(ollama.ResponseError, match=what) as raised:
            client.chat(messages=[{"role": "user", "content": "?"}], **request)
        assert raised.value.status_code == 400
