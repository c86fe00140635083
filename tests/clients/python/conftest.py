"""What every test is given: a fleet of three servers, a gateway in front of it, and clients of it."""

import contextlib

import ollama
import openai
import pytest

# What these assert is told as the tests' own is.
pytest.register_assert_rewrite("reaching", "failing")

from fleet import PATIENCE, Gateway, Simulation

COMMON = ["llama3.2", "qwen3:8b", "gemma3", "nomic-embed-text"]


@contextlib.contextmanager
def running(process):
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="session")
def _simulation():
    # codellama and mistral are on one server each.
    with running(Simulation([*COMMON, "codellama"], [*COMMON, "mistral"], COMMON)) as simulation:
        yield simulation


@pytest.fixture(scope="session")
def _gateway(_simulation, tmp_path_factory):
    with running(Gateway(_simulation, tmp_path_factory.mktemp("gateway"))) as gateway:
        yield gateway


@pytest.fixture
def gateway(_gateway):
    """The gateway, with all its backends up, healthy and idle."""
    _gateway.simulation.reset()
    _gateway.settle()
    return _gateway


@pytest.fixture
def simulation(gateway):
    return gateway.simulation


@pytest.fixture
def client(gateway):
    with ollama.Client(gateway.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def direct(simulation):
    """A client of the first server itself, for comparison."""
    with ollama.Client(simulation.servers[0], timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def gpt(gateway):
    """The `openai` client."""
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key="unused", timeout=PATIENCE, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def another_gateway(simulation, tmp_path):
    """Makes a further gateway, with settings of its own, in front of the same fleet."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            running(Gateway(simulation, tmp_path, **settings))
        )
