"""What the `ollama` client sees when something goes wrong, and what its leaving does at the gateway."""

import asyncio
import concurrent.futures

import ollama
import pytest

from fleet import PATIENCE, fetch, fetch_json, wait_until

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def seen(gateway):
    """A client that keeps the HTTP answers it has had."""
    answers = []
    hooks = {"response": [answers.append]}
    with ollama.Client(gateway.url, timeout=PATIENCE, event_hooks=hooks) as client:
        client.answers = answers
        yield client


@pytest.fixture
def pinned(gateway, simulation):
    """A client that wants one server, so that nobody else goes on with its answers."""
    one = {"X-Backend": simulation.servers[0].removeprefix("http://")}
    with ollama.Client(gateway.url, timeout=PATIENCE, headers=one) as client:
        yield client


def refused(status, text, call):
    with pytest.raises(ollama.ResponseError) as raised:
        call()
    assert (raised.value.status_code, raised.value.error) == (status, text)


def test_a_model_that_nobody_has(client):
    text = "model 'nope' not found"
    refused(404, text, lambda: client.chat("nope", HELLO))
    refused(404, text, lambda: list(client.chat("nope", HELLO, stream=True)))
    refused(404, text, lambda: client.generate("nope", "Hello"))
    refused(404, "model 'nope:latest' not found", lambda: client.show("nope"))
    text = 'model "nope" not found, try pulling it first'
    refused(404, text, lambda: client.embed("nope", "Hello"))
    refused(404, text, lambda: client.embeddings("nope", "Hello"))


def test_requests_that_make_no_sense(client):
    refused(400, "invalid model name", lambda: client.chat("a/b/c/d/e", HELLO))
    refused(
        400,
        'invalid think value: "deeply" (must be "high", "medium", "low", "max", true, or false)',
        lambda: client.chat("llama3.2", HELLO, think="deeply"),
    )
    refused(
        400,
        "top_logprobs must be between 0 and 20",
        lambda: client.chat("llama3.2", HELLO, logprobs=True, top_logprobs=21),
    )
    refused(
        500,
        'option "top_p" must be of type float32',
        lambda: client.chat("llama3.2", HELLO, options={"top_p": "high"}),
    )


def test_answers_of_the_client_do_not_wear_out_its_connections(seen, simulation):
    for _ in range(10):
        seen.chat("llama3.2", HELLO)
        list(seen.chat("llama3.2", HELLO, stream=True))
        refused(404, "model 'nope' not found", lambda: seen.chat("nope", HELLO))
    ports = {
        answer.extensions["network_stream"].get_extra_info("client_addr") for answer in seen.answers
    }
    assert len(seen.answers) == 30 and len(ports) == 1
    # The gateway's own connections, for 20 requests and the probes meanwhile.
    requests = sum(sum(server["requests"].values()) for server in simulation.stats())
    assert simulation.total("connections_accepted") < requests / 2


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503, "retry_after": 1},
        {"kind": "error", "tokens": 0},
        {"kind": "cut", "at": "head"},
        {"kind": "cut", "at": "head", "reset": True},
        {"kind": "cut", "at": "body"},
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_content_is_not_seen(gateway, seen, fault, stream):
    expected = seen.chat("llama3.2", HELLO).message.content
    warm = seen.answers[-1].headers["x-remuda-backend"]
    port = int(warm.rsplit(":", 1)[1])
    # Probes are not hit: the gateway finds out with the request itself.
    gateway.simulation.fault(**fault, port=port, route="/api/chat")
    answer = seen.chat("llama3.2", HELLO, stream=stream)
    parts = list(answer) if stream else [answer]
    assert "".join(part.message.content for part in parts) == expected and parts[-1].done
    assert seen.answers[-1].headers["x-remuda-attempts"] == "2"
    assert seen.answers[-1].headers["x-remuda-backend"] != warm


def test_a_server_that_is_gone_is_not_seen(gateway, seen):
    for server in gateway.backends()[:2]:
        fetch_json(f"{gateway.simulation.control}/sim/stop", {"port": server["port"]})
        for _ in range(4):
            assert seen.chat("llama3.2", HELLO).done


def test_an_error_of_all_servers_is_told(client, simulation):
    simulation.fault(kind="status", status=500, body='{"error":"out of memory"}', route="/api/chat")
    refused(500, "out of memory", lambda: client.chat("llama3.2", HELLO))
    # A model that cannot be loaded is tried on one more server.
    assert simulation.requests("POST /api/chat") == 2


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"kind": "cut"}, "the backend closed the stream before its end"),
        ({"kind": "cut", "reset": True}, "the backend closed the stream before its end"),
        ({"kind": "error", "message": "the GPU is gone"}, "the GPU is gone"),
    ],
    ids=str,
)
@pytest.mark.parametrize("route", ["/api/chat", "/api/generate"])
def test_a_failure_after_the_first_content_is_told(pinned, gateway, simulation, fault, text, route):
    simulation.fault(**fault, tokens=5, route=route)
    client = pinned
    if route == "/api/chat":
        stream = client.chat("llama3.2", HELLO, stream=True)
    else:
        stream = client.generate("llama3.2", "Hello", stream=True)
    parts = []
    with pytest.raises(ollama.ResponseError, match=text):
        for part in stream:
            parts.append(part)
    assert len(parts) == 5 and not any(part.done for part in parts)
    gateway.settle()


def test_a_stream_that_breaks_goes_on_elsewhere(client, gateway, simulation):
    whole = client.chat("llama3.2", HELLO).message.content
    simulation.fault(kind="cut", tokens=5, route="inference", times=1)
    parts = list(client.chat("llama3.2", HELLO, stream=True))
    assert "".join(part.message.content for part in parts) == whole
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    gateway.settle()


def test_a_client_that_leaves_a_stream_frees_its_slot(client, gateway, simulation):
    simulation.stall("/api/chat")
    stream = client.chat("llama3.2", HELLO, stream=True)
    assert [next(stream).done for _ in range(3)] == [False] * 3
    assert gateway.in_flight() == 1 and simulation.total("active") == 1
    stream.close()
    wait_until(lambda: gateway.in_flight() == 0, "the slot is free", 5)
    wait_until(lambda: simulation.total("active") == 0, "the server has stopped", 5)
    assert simulation.total("aborted") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_task_that_is_cancelled_frees_its_slot(gateway, simulation, stream):
    simulation.stall("/api/generate", tokens=0)

    async def ask(client):
        answer = await client.generate("llama3.2", "Hello", stream=stream)
        return [part async for part in answer] if stream else answer

    async def leave():
        async with ollama.AsyncClient(gateway.url) as client:
            task = asyncio.create_task(ask(client))
            await asyncio.to_thread(wait_until, lambda: simulation.total("active") == 1, "begun")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(
                wait_until, lambda: gateway.in_flight() == 0, "the slot is free", 5
            )

    asyncio.run(leave())
    wait_until(lambda: simulation.total("active") == 0, "the server has stopped", 5)
    assert simulation.total("completed") == 0


def test_a_full_queue(simulation, another_gateway):
    gateway = another_gateway(queue={"size": 1, "max_concurrent": 1})
    simulation.stall("/api/chat")
    with (
        ollama.Client(gateway.url, timeout=PATIENCE) as client,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        running = client.chat("llama3.2", HELLO, stream=True)
        next(running)
        waiting = pool.submit(client.generate, "llama3.2", "Hello")
        wait_until(lambda: gateway.queue_depth() == 1, "the second request waits")
        text = "server busy, please try again.  maximum pending requests exceeded"
        refused(503, text, lambda: client.chat("llama3.2", HELLO))
        refused(503, text, lambda: list(client.chat("llama3.2", HELLO, stream=True)))
        status, headers, _ = fetch(f"{gateway.url}/api/generate", {"model": "llama3.2", "prompt": "?"})
        assert status == 503 and int(headers["Retry-After"]) >= 1
        running.close()
        assert waiting.result(PATIENCE).done


def test_a_client_that_leaves_the_queue(simulation, another_gateway):
    gateway = another_gateway(queue={"max_concurrent": 1})
    simulation.stall("/api/chat")

    async def leave():
        async with ollama.AsyncClient(gateway.url, timeout=PATIENCE) as client:
            running = await client.chat("llama3.2", HELLO, stream=True)
            await anext(running)
            tasks = [asyncio.create_task(client.generate("llama3.2", "Hi")) for _ in range(5)]
            await asyncio.to_thread(wait_until, lambda: gateway.queue_depth() == 5, "five wait")
            for task in tasks:
                task.cancel()
            await asyncio.to_thread(wait_until, lambda: gateway.queue_depth() == 0, "none", 5)
            assert simulation.requests("POST /api/generate") == 0
            await running.aclose()
            assert (await client.generate("llama3.2", "Hi")).done

    asyncio.run(leave())


def test_those_with_priority_go_first(simulation, another_gateway):
    gateway = another_gateway(queue={"max_concurrent": 1})
    simulation.stall("/api/chat")
    done = []

    async def ask(level):
        headers = {"X-Priority": level}
        async with ollama.AsyncClient(gateway.url, timeout=PATIENCE, headers=headers) as client:
            await client.generate("llama3.2", level)
            done.append(level)

    async def in_line():
        async with ollama.AsyncClient(gateway.url, timeout=PATIENCE) as client:
            running = await client.chat("llama3.2", HELLO, stream=True)
            await anext(running)
            waiting = []
            for level in ("low", "normal", "high"):
                waiting.append(asyncio.create_task(ask(level)))
                await asyncio.to_thread(
                    wait_until, lambda: gateway.queue_depth() == len(waiting), "it waits"
                )
            await running.aclose()
            await asyncio.gather(*waiting)

    asyncio.run(in_line())
    assert done == ["high", "normal", "low"]


def test_streaming_may_be_refused(another_gateway):
    gateway = another_gateway(server={"reject_streaming": True})
    with ollama.Client(gateway.url, timeout=PATIENCE) as client:
        assert client.chat("llama3.2", HELLO).done
        refused(
            400,
            "Streaming is not supported by this proxy; use stream=false",
            lambda: list(client.chat("llama3.2", HELLO, stream=True)),
        )


def test_fifty_at_a_time(gateway, simulation, direct):
    """Each gets its own answer, and no server more than one request at a time."""
    prompts = [f"Say {number}" for number in range(50)]
    expected = [direct.generate("llama3.2", prompt).response for prompt in prompts]
    simulation.reset()

    async def ask(client, number):
        if number % 2:
            return (await client.generate("llama3.2", prompts[number])).response
        parts = await client.generate("llama3.2", prompts[number], stream=True)
        return "".join([part.response async for part in parts])

    async def all_at_once():
        async with ollama.AsyncClient(gateway.url, timeout=2 * PATIENCE) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(50)))

    assert asyncio.run(all_at_once()) == expected
    stats = simulation.stats()
    assert sum(server["completed"] for server in stats) == 50
    assert all(server["max_active"] <= 1 for server in stats)
    gateway.settle()
    assert gateway.queue_depth() == 0
