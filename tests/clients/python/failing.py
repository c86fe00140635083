"""Features that show when a provider fails, or refuses a prompt that is too long: what the clients raise."""

import json

import anthropic
import ollama
import openai
import pytest

from asking import deltas, provider_of, user

HELLO = user("good morning")

# How a stream comes to no end: with an error, with the connection, or without a word.
BREAKS = ("error", "cut", "end")


def ollama_text(clients, model, told):
    for part in clients.ollama.chat(model, HELLO, stream=True):
        told.append(part.message.content or "")


def openai_text(clients, model, told):
    create = clients.openai.chat.completions.create
    for delta in deltas(create(model=model, messages=HELLO, stream=True)):
        told.append(delta.content or "")


def responses_text(clients, model, told):
    for event in clients.openai.responses.create(model=model, input=HELLO, stream=True):
        if event.type in ("error", "response.failed"):
            raise openai.APIError("told by an event", None, body=None)
        if event.type == "response.output_text.delta":
            told.append(event.delta)


def anthropic_text(clients, model, told):
    ask = {"model": model, "max_tokens": 400, "messages": HELLO}
    with clients.anthropic.messages.stream(**ask) as stream:
        for text in stream.text_stream:
            told.append(text)


def broken(clients, model, read, error):
    """A stream that breaks raises, after what has been said; before that there is only the error."""
    provider, _ = provider_of(model)
    for kind in BREAKS:
        if (provider, kind) == ("ollama", "end"):
            # Its simulation does not play that.
            continue
        # By the twentieth token all have begun to speak, those that think first too.
        for tokens, speaks in ((0, False), (20, True)):
            told = []
            with clients.providers.failing(provider, kind=kind, tokens=tokens):
                with pytest.raises(error):
                    read(clients, model, told)
            assert bool("".join(told)) == speaks, (kind, tokens)


def ollama_broken(clients, model):
    broken(clients, model, ollama_text, ollama.ResponseError)


def openai_broken(clients, model):
    broken(clients, model, openai_text, openai.APIError)


def responses_broken(clients, model):
    broken(clients, model, responses_text, openai.APIError)


def anthropic_broken(clients, model):
    broken(clients, model, anthropic_text, anthropic.APIError)


LLAMA_CPP = {
    "code": 400,
    "message": "request (9001 tokens) exceeds the available context size (4096 tokens), "
    "try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 9001,
    "n_ctx": 4096,
}
VLLM = {
    "object": "error",
    "message": "This model's maximum context length is 4096 tokens. However, you requested "
    "9001 tokens in the messages, Please reduce the length of the messages.",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}
OPENAI = {
    "message": "This model's maximum context length is 4096 tokens. However, your messages "
    "resulted in 9001 tokens. Please reduce the length of the messages.",
    "code": "context_length_exceeded",
}

# How each says that a prompt is too long.
TOO_LONG = {
    # It hands on what its runner says, as a text. A request that only loads a model has no prompt.
    "ollama": {
        "body": json.dumps({"error": json.dumps({"error": LLAMA_CPP})}),
        "route": "/api/chat",
    },
    "openai": OPENAI,
    "responses": {
        "message": "Your input exceeds the context window of this model. "
        "Please adjust your input and try again.",
        "code": "context_length_exceeded",
    },
    "compatible": {"body": json.dumps(VLLM)},
    "anthropic": {"message": "prompt is too long: 9001 tokens > 4096 maximum"},
    "google": {
        "message": "The input token count (9001) exceeds the maximum number of tokens "
        "allowed (4096).",
    },
    "azure": OPENAI,
    "bedrock": {"message": "Input is too long for requested model."},
    "openrouter": {
        "message": "This endpoint's maximum context length is 4096 tokens. However, you requested "
        "about 9001 tokens (9001 of text input). Please reduce the length of either one.",
    },
    "perplexity": {"message": OPENAI["message"]},
}


def too_long(clients, model):
    provider, _ = provider_of(model)
    return clients.providers.failing(provider, kind="status", status=400, **TOO_LONG[provider])


def ollama_too_long(clients, model):
    with too_long(clients, model):
        for stream in (False, True):
            with pytest.raises(ollama.ResponseError, match="context") as raised:
                list(clients.ollama.chat(model, HELLO, stream=stream))
            assert raised.value.status_code == 400


def openai_too_long(clients, model):
    chat = clients.openai.chat.completions.create
    responses = clients.openai.responses.create
    with too_long(clients, model):
        for stream in (False, True):
            for create, words in ((chat, {"messages": HELLO}), (responses, {"input": HELLO})):
                with pytest.raises(openai.BadRequestError) as raised:
                    create(model=model, stream=stream, **words)
                assert raised.value.code == "context_length_exceeded"


def anthropic_too_long(clients, model):
    ask = {"model": model, "max_tokens": 400, "messages": HELLO}
    with too_long(clients, model):
        for stream in (False, True):
            with pytest.raises(anthropic.BadRequestError, match="prompt is too long") as raised:
                clients.anthropic.messages.create(stream=stream, **ask)
            assert raised.value.body["error"]["type"] == "invalid_request_error"
