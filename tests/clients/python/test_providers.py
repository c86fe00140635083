"""Every official client against every kind of provider. The table of what works is kept in docs/clients.md."""

import base64
import json
import os
from pathlib import Path

import anthropic
import ollama
import openai
import pytest

import failing
import reaching
from asking import ASK, SCHEMA, TOOL, deltas, text_of, user
from fleet import PATIENCE, ROOT
from providers import Providers, table

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
BASE64 = base64.b64encode(PNG).decode()

# The models that each provider is asked for: for chats, for thinking, for images, for vectors.
MODELS = {
    "ollama": ("llama3.2", "qwen3:8b", "gemma3", "nomic-embed-text"),
    "openai": ("gpt-4.1", "gpt-5.5", "gpt-4.1", "text-embedding-3-small"),
    "responses": ("gpt-5.5", "gpt-5.5", "gpt-5.5", None),
    "compatible": ("gpt-4o", "gpt-5.5", "gpt-4o", "text-embedding-3-small"),
    "anthropic": ("claude-opus-5", "claude-opus-5", "claude-opus-5", None),
    "google": ("gemini-3.5-flash", "gemini-3.5-flash", "gemini-3.5-flash", "gemini-embedding-001"),
    "azure": ("gpt-4o", None, "gpt-4o", "text-embedding-3-small"),
    "bedrock": (
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "amazon.titan-embed-text-v2:0",
    ),
    "openrouter": ("openai/gpt-4o", "anthropic/claude-opus-5-5", "openai/gpt-4o", None),
    "perplexity": ("perplexity/sonar", None, "openai/gpt-5.1", None),
}
CHAT, THINKING, VISION, VECTORS = range(4)


@pytest.fixture(scope="module")
def providers(tmp_path_factory):
    running = Providers(tmp_path_factory.mktemp("providers"))
    yield running
    running.stop()


class Clients:
    def __init__(self, providers):
        self.providers = providers
        url = providers.gateway.url
        self.ollama = ollama.Client(url, timeout=PATIENCE)
        self.openai = openai.OpenAI(
            base_url=f"{url}/v1", api_key="unused", timeout=PATIENCE, max_retries=0
        )
        self.anthropic = anthropic.Anthropic(
            base_url=url, api_key="unused", timeout=PATIENCE, max_retries=0
        )

    def close(self):
        self.openai.close()
        self.anthropic.close()
        self.ollama.close()


@pytest.fixture(scope="module")
def clients(providers):
    clients = Clients(providers)
    yield clients
    clients.close()


def ollama_chat(clients, model):
    answer = clients.ollama.chat(model, user("good morning"))
    assert answer.message.content and answer.done and answer.done_reason == "stop"
    assert answer.eval_count > 0 and answer.prompt_eval_count > 0


def ollama_stream(clients, model):
    parts = list(clients.ollama.chat(model, user("good morning"), stream=True))
    assert "".join(part.message.content or "" for part in parts)
    assert [part.done for part in parts].count(True) == 1 and parts[-1].done
    assert parts[-1].eval_count > 0 and parts[-1].eval_duration > 0


def ollama_generate(clients, model):
    parts = list(clients.ollama.generate(model, "good morning", system="Be brief.", stream=True))
    assert "".join(part.response for part in parts) and parts[-1].done


def ollama_length(clients, model):
    answer = clients.ollama.chat(model, user("good morning"), options={"num_predict": 2})
    assert answer.done_reason == "length"


def ollama_tools(clients, model):
    messages = user(ASK)
    for stream in (False, True):
        answer = clients.ollama.chat(model, messages, tools=[TOOL], stream=stream)
        parts = list(answer) if stream else [answer]
        calls = [call for part in parts for call in part.message.tool_calls or []]
        assert [call.function.name for call in calls] == ["get_weather"]
        assert isinstance(calls[0].function.arguments["days"], int)
    messages += [
        ollama.Message(role="assistant", content="", tool_calls=calls),
        {"role": "tool", "tool_name": "get_weather", "content": "dry and cold"},
    ]
    answer = clients.ollama.chat(model, messages, tools=[TOOL])
    assert answer.message.content and not answer.message.tool_calls


def ollama_image(clients, model):
    message = {"role": "user", "content": "What is this?", "images": [PNG]}
    assert clients.ollama.chat(model, [message]).message.content


def ollama_schema(clients, model):
    answer = clients.ollama.chat(model, user("Where and how long?"), format=SCHEMA)
    assert set(json.loads(answer.message.content)) == {"city", "days"}


def ollama_think(clients, model):
    parts = list(clients.ollama.chat(model, user("think hard"), think=True, stream=True))
    assert "".join(part.message.content or "" for part in parts) and parts[-1].done
    return "".join(part.message.thinking or "" for part in parts)


def ollama_embed(clients, model):
    answer = clients.ollama.embed(model, ["one", "two"])
    assert len(answer.embeddings) == 2
    for vector in answer.embeddings:
        assert abs(sum(value * value for value in vector) - 1) < 1e-3


def openai_chat(clients, model):
    answer = clients.openai.chat.completions.create(model=model, messages=user("good morning"))
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0


def openai_stream(clients, model):
    chunks = list(
        clients.openai.chat.completions.create(
            model=model,
            messages=user("good morning"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(delta.content or "" for delta in deltas(chunks))
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert text and [reason for reason in reasons if reason] == ["stop"]
    assert [c.usage.total_tokens > 0 for c in chunks if c.usage] == [True]


def openai_tools(clients, model):
    messages = user(ASK)
    create = clients.openai.chat.completions.create
    answer = create(model=model, messages=messages, tools=[TOOL]).choices[0]
    assert answer.finish_reason == "tool_calls"
    with clients.openai.chat.completions.stream(
        model=model, messages=messages, tools=[TOOL]
    ) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    call = final.message.tool_calls[0]
    assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
    call = answer.message.tool_calls[0]
    messages += [
        answer.message,
        {"role": "tool", "tool_call_id": call.id, "content": "dry and cold"},
    ]
    answer = create(model=model, messages=messages, tools=[TOOL]).choices[0]
    assert answer.message.content and answer.finish_reason == "stop"


def openai_functions(clients, model):
    """The form of 2023, which programs still send."""
    messages = user(ASK)
    create = clients.openai.chat.completions.create
    ask = {"model": model, "functions": [TOOL["function"]]}
    answer = create(messages=messages, **ask).choices[0]
    assert answer.finish_reason == "function_call" and not answer.message.tool_calls
    assert answer.message.function_call.name == "get_weather"
    chunks = list(create(messages=messages, stream=True, **ask))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    calls = [choice.delta.function_call for choice in choices if choice.delta]
    calls = [call for call in calls if call]
    assert "".join(call.name or "" for call in calls) == "get_weather"
    assert "city" in json.loads("".join(call.arguments or "" for call in calls))
    reasons = [choice.finish_reason for choice in choices]
    assert [reason for reason in reasons if reason] == ["function_call"]
    messages += [
        answer.message,
        {"role": "function", "name": "get_weather", "content": "dry and cold"},
    ]
    answer = create(messages=messages, **ask).choices[0]
    assert answer.message.content and answer.finish_reason == "stop"


def openai_image(clients, model):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}},
    ]
    answer = clients.openai.chat.completions.create(model=model, messages=user(parts))
    assert answer.choices[0].message.content


def openai_schema(clients, model):
    answer = clients.openai.chat.completions.create(
        model=model,
        messages=user("Where and how long?"),
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "stay", "schema": SCHEMA, "strict": True},
        },
    )
    assert set(json.loads(answer.choices[0].message.content)) == {"city", "days"}


def openai_completions(clients, model):
    # Servers with OpenAI's API are asked for completions by completions; this one has them for one model.
    model = model.replace("compatible/gpt-4o", "compatible/gpt-3.5-turbo-instruct")
    answer = clients.openai.completions.create(model=model, prompt="good morning", max_tokens=40)
    assert answer.choices[0].text and answer.object == "text_completion"


def openai_embeddings(clients, model):
    for kind in ("float", "base64"):
        answer = clients.openai.embeddings.create(
            model=model, input=["one", "two"], encoding_format=kind
        )
        assert [one.index for one in answer.data] == [0, 1]
    plain = clients.openai.embeddings.create(model=model, input="one")
    assert len(plain.data[0].embedding) > 100


def openai_responses(clients, model):
    answer = clients.openai.responses.create(model=model, input="good morning")
    assert answer.status == "completed" and answer.output_text
    assert answer.usage.total_tokens > 0
    with clients.openai.responses.stream(model=model, input="good morning") as stream:
        final = stream.get_final_response()
    assert final.status == "completed" and final.output_text


def openai_responses_tools(clients, model):
    tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}]
    create = clients.openai.responses.create
    answer = create(model=model, input=ASK, tools=tools)
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather"]
    result = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "dry and cold"}
    history = [*user(ASK), *answer.output, result]
    assert create(model=model, input=history, tools=tools).output_text


def anthropic_messages(clients, model):
    answer = clients.anthropic.messages.create(
        model=model, max_tokens=400, system="Be kind.", messages=user("good morning")
    )
    assert text_of(answer) and answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0


def anthropic_stream(clients, model):
    with clients.anthropic.messages.stream(
        model=model, max_tokens=400, messages=user("good morning")
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and final.stop_reason == "end_turn" and final.usage.output_tokens > 0


def anthropic_tools(clients, model):
    tools = [{"name": "get_weather", "description": "Tells the weather.", "input_schema": SCHEMA}]
    messages = user(ASK)
    with clients.anthropic.messages.stream(
        model=model, max_tokens=400, messages=messages, tools=tools
    ) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    call = next(block for block in answer.content if block.type == "tool_use")
    assert call.name == "get_weather" and "city" in call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "dry and cold"}
    messages += [{"role": "assistant", "content": answer.content}, *user([result])]
    answer = clients.anthropic.messages.create(
        model=model, max_tokens=400, messages=messages, tools=tools
    )
    assert answer.stop_reason == "end_turn" and text_of(answer)


def anthropic_image(clients, model):
    source = {"type": "base64", "media_type": "image/png", "data": BASE64}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    answer = clients.anthropic.messages.create(
        model=model, max_tokens=400, messages=user(content)
    )
    assert text_of(answer)


def anthropic_count(clients, model):
    count = clients.anthropic.messages.count_tokens(model=model, messages=user("good morning"))
    assert count.input_tokens > 0


FEATURES = [
    ("ollama", "chat", CHAT, ollama_chat),
    ("ollama", "streamed chat", CHAT, ollama_stream),
    ("ollama", "generate", CHAT, ollama_generate),
    ("ollama", "token limit", CHAT, ollama_length),
    ("ollama", "tool loop", CHAT, ollama_tools),
    ("ollama", "images", VISION, ollama_image),
    ("ollama", "JSON schema", CHAT, ollama_schema),
    ("ollama", "thinking", THINKING, ollama_think),
    ("ollama", "embed", VECTORS, ollama_embed),
    ("ollama", "broken streams raise", CHAT, failing.ollama_broken),
    ("ollama", "a prompt that is too long", CHAT, failing.ollama_too_long),
    ("openai", "chat", CHAT, openai_chat),
    ("openai", "streamed chat, usage", CHAT, openai_stream),
    ("openai", "tool loop", CHAT, openai_tools),
    ("openai", "`functions`", CHAT, openai_functions),
    ("openai", "images", VISION, openai_image),
    ("openai", "JSON schema", CHAT, openai_schema),
    ("openai", "completions", CHAT, openai_completions),
    ("openai", "embeddings, float and base64", VECTORS, openai_embeddings),
    ("openai", "Responses, whole and streamed", CHAT, openai_responses),
    ("openai", "Responses, tool loop", CHAT, openai_responses_tools),
    ("openai", "custom tools", CHAT, reaching.openai_custom_tools),
    ("openai", "Responses, custom tools and namespaces", CHAT, reaching.responses_agent_tools),
    ("openai", "system message within a conversation", CHAT, reaching.openai_system_amid),
    ("openai", "prompt-cache breakpoints", CHAT, reaching.openai_caching),
    ("openai", "Ollama's own fields", CHAT, reaching.fields_of_ollama),
    ("openai", "models, listed and retrieved", CHAT, reaching.models_retrieved),
    ("openai", "broken streams raise", CHAT, failing.openai_broken),
    ("openai", "Responses, broken streams raise", CHAT, failing.responses_broken),
    ("openai", "a prompt that is too long", CHAT, failing.openai_too_long),
    ("anthropic", "messages", CHAT, anthropic_messages),
    ("anthropic", "streaming helper", CHAT, anthropic_stream),
    ("anthropic", "tool loop", CHAT, anthropic_tools),
    ("anthropic", "images", VISION, anthropic_image),
    ("anthropic", "count_tokens", CHAT, anthropic_count),
    ("anthropic", "thinking, tool loop", THINKING, reaching.anthropic_thinking),
    ("anthropic", "prompt-cache breakpoints", CHAT, reaching.anthropic_caching),
    ("anthropic", "input tokens at the start of a stream", CHAT, reaching.anthropic_first_usage),
    ("anthropic", "broken streams raise", CHAT, failing.anthropic_broken),
    ("anthropic", "a prompt that is too long", CHAT, failing.anthropic_too_long),
]

OUTCOMES = {
    (client, feature, provider): "–"
    for client, feature, _, _ in FEATURES
    for provider in MODELS
}

CASES = [
    pytest.param(client, feature, provider, model, use, id=f"{provider}-{client}-{feature}")
    for client, feature, needs, use in FEATURES
    for provider, models in MODELS.items()
    if (model := models[needs])
]


@pytest.mark.parametrize(("client", "feature", "provider", "model", "use"), CASES)
def test_provider(clients, client, feature, provider, model, use):
    use(clients, f"{provider}/{model}")
    OUTCOMES[client, feature, provider] = "yes"


@pytest.mark.parametrize("provider", ["openai", "compatible", "azure", "openrouter"])
def test_a_stream_without_its_last_line_is_complete(clients, provider):
    """All has been said; only the `[DONE]` that ends OpenAI's streams is missing."""
    model = f"{provider}/{MODELS[provider][CHAT]}"
    with clients.providers.failing(provider, kind="end", at="last"):
        openai_stream(clients, model)
        ollama_stream(clients, model)
        anthropic_stream(clients, model)


def test_vectors_come_as_base64_from_a_server_that_knows_numbers_alone(clients):
    """The client asks for base64 by itself, and reads whatever comes as that."""
    words = "Invalid value for encoding_format: only float is supported"
    create = clients.openai.embeddings.create
    ask = {"model": f"compatible/{MODELS['compatible'][VECTORS]}", "input": ["one", "two"]}
    with clients.providers.failing("compatible", kind="status", status=400, times=1, message=words):
        made = create(**ask)
    assert "encoding_format" not in clients.providers.sent("compatible")
    plain = create(**ask, encoding_format="float")
    for one, other in zip(made.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


def test_an_unknown_model_is_each_formats_own_404(clients):
    name = "no-such-model"
    with pytest.raises(ollama.ResponseError, match="model 'no-such-model' not found") as raised:
        clients.ollama.chat(name, user("hi"))
    assert raised.value.status_code == 404
    with pytest.raises(openai.NotFoundError) as raised:
        clients.openai.chat.completions.create(model=name, messages=user("hi"))
    assert raised.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError):
        clients.anthropic.messages.create(model=name, max_tokens=9, messages=user("hi"))


def test_models_are_listed_for_every_client(clients):
    listed = {model.id for model in clients.openai.models.list()}
    assert "claude-opus-5" in listed and "llama3.2:latest" in listed
    assert clients.openai.models.retrieve("claude-opus-5").owned_by == "anthropic"
    assert "gemini-3.5-flash" in {model.id for model in clients.anthropic.models.list()}
    shown = clients.ollama.show("openai/gpt-4.1")
    assert "tools" in shown.capabilities
    family = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{family}.context_length"] > 100_000
    assert clients.ollama.pull("anthropic/claude-opus-5").status == "success"


def test_the_kept_table_says_the_same():
    """Last, after all others of this file. REMUDA_CLIENT_TABLE=write makes the table anew."""
    path = Path(ROOT) / "docs/clients.md"
    made = table(OUTCOMES)
    text = path.read_text()
    before, _, rest = text.partition("<!-- table -->\n")
    if os.environ.get("REMUDA_CLIENT_TABLE") == "write":
        path.write_text(f"{before}<!-- table -->\n{made}")
    else:
        assert rest == made, "docs/clients.md is not what this run showed"
