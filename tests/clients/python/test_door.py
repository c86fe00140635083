"""What clients come with to the door: packed bodies, a path in front, passwords, a page's origin, and mistyped base URLs."""

import gzip

import anthropic
import httpx
import httpx2
import ollama
import openai
import pytest

from asking import user
from fleet import PATIENCE

HELLO = user("Hello, what is a remuda?")
MODEL = "llama3.2"
KEY = "alice-has-this-key-0"


def zstd(data):
    """One frame, of a single block that is stored as it is."""
    size = len(data)
    assert size < 128 * 1024
    head = b"\x28\xb5\x2f\xfd" + b"\xa0" + size.to_bytes(4, "little")
    return head + (size << 3 | 1).to_bytes(3, "little") + data


PACKERS = {"gzip": gzip.compress, "zstd": zstd}


def packing(library, coding):
    """A client's transport that packs what is sent, as Codex and some proxies do."""

    class Packing(library.HTTPTransport):
        def handle_request(self, request):
            body = PACKERS[coding](request.read())
            headers = [
                (name, value)
                for name, value in request.headers.items()
                if name not in ("content-length", "transfer-encoding")
            ]
            headers.append(("content-encoding", coding))
            packed = library.Request(request.method, request.url, headers=headers, content=body)
            packed.extensions = request.extensions
            return super().handle_request(packed)

    return Packing()


def check_all(url, key="unused", transport=httpx2.HTTPTransport, headers=None):
    """OpenAI's and Anthropic's client are served; returns what the model says."""
    options = {"api_key": key, "timeout": PATIENCE, "max_retries": 0, "default_headers": headers}
    with (
        httpx2.Client(transport=transport(), timeout=PATIENCE) as http,
        openai.OpenAI(base_url=f"{url}/v1", http_client=http, **options) as client,
    ):
        create = client.chat.completions.create
        whole = create(model=MODEL, messages=HELLO)
        text = whole.choices[0].message.content
        chunks = list(create(model=MODEL, messages=HELLO, stream=True))
        assert text and "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
        assert MODEL in client.models.retrieve(f"{MODEL}:latest").id
    with (
        httpx2.Client(transport=transport(), timeout=PATIENCE) as http,
        anthropic.Anthropic(base_url=url, http_client=http, **options) as client,
    ):
        ask = {"model": MODEL, "max_tokens": 400, "messages": HELLO}
        with client.messages.stream(**ask) as stream:
            assert stream.get_final_text() == text
    return text


@pytest.mark.parametrize("coding", PACKERS)
def test_a_body_may_come_packed(gateway, coding):
    text = check_all(gateway.url, transport=lambda: packing(httpx2, coding))
    transport = packing(httpx, coding)
    with ollama.Client(gateway.url, timeout=PATIENCE, transport=transport) as client:
        assert client.chat(MODEL, HELLO).message.content == text


def test_a_path_stands_in_front(another_gateway):
    gateway = another_gateway(server={"base_path": "/ollama"})
    text = check_all(gateway.url)
    with ollama.Client(gateway.url, timeout=PATIENCE) as client:
        assert client.chat(MODEL, HELLO).message.content == text
        assert {model.model for model in client.list().models} > {"llama3.2:latest"}


def test_a_password_is_a_key(another_gateway):
    gateway = another_gateway(keys=[{"name": "alice", "key": KEY}])
    check_all(gateway.url, KEY)
    with ollama.Client(gateway.url, timeout=PATIENCE, auth=("anybody", KEY)) as client:
        assert client.chat(MODEL, HELLO).message.content
    with ollama.Client(gateway.url, timeout=PATIENCE, auth=("anybody", "wrong")) as client:
        with pytest.raises(ollama.ResponseError) as raised:
            client.chat(MODEL, HELLO)
        assert raised.value.status_code == 401


def test_pages_of_ollamas_origins_may_ask(gateway):
    page = {"Origin": "app://obsidian.md"}
    with ollama.Client(gateway.url, timeout=PATIENCE, headers=page) as client:
        assert client.chat(MODEL, HELLO).message.content
    check_all(gateway.url, headers=page)
    page = {"Origin": "https://elsewhere.example"}
    with ollama.Client(gateway.url, timeout=PATIENCE, headers=page) as client:
        with pytest.raises(ollama.ResponseError) as raised:
            client.chat(MODEL, HELLO)
        assert raised.value.status_code == 403


@pytest.mark.parametrize("path", ["", "/v1/", "/v1/v1", "/api/v1"])
def test_a_mistyped_base_url_is_served_or_told_the_right_one(gateway, path):
    with openai.OpenAI(
        base_url=gateway.url + path, api_key="unused", timeout=PATIENCE, max_retries=0
    ) as client:
        answer = client.chat.completions.create(model=MODEL, messages=HELLO)
        assert answer.choices[0].message.content
