"""What Python's libraries for models do through a gateway. Prints one line of JSON for each task and provider.

Arguments: the gateway's address, and a JSON object of a model for each provider.
"""

import json
import sys
import traceback

import litellm
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

URL, MODELS = sys.argv[1], json.loads(sys.argv[2])
OPENAI = f"{URL}/v1"
KEY = "unused"
ASK = "say ahoy"
# Simulated models call the tools that are named.
ASK_TOOL = "use get_weather for Oslo"


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def heard(provider, text):
    """A simulated service repeats what it was told; an Ollama server says what it likes."""
    assert text.strip() if provider == "ollama" else "ahoy" in text, text[:200]


def langchain(model):
    return {
        "LangChain, ChatOpenAI": ChatOpenAI(model=model, base_url=OPENAI, api_key=KEY, max_retries=0),
        "LangChain, ChatAnthropic": ChatAnthropic(
            model=model, base_url=URL, api_key=KEY, max_retries=0, max_tokens=2000
        ),
        "LangChain, ChatOllama": ChatOllama(model=model, base_url=URL),
    }


def langchain_chat(chat, provider):
    heard(provider, chat.invoke(ASK).text)


def langchain_stream(chat, provider):
    chunks = [chunk.text for chunk in chat.stream(ASK)]
    assert len([chunk for chunk in chunks if chunk]) > 1, chunks
    heard(provider, "".join(chunks))


def langchain_tool(chat, provider):
    asked = [{"role": "user", "content": ASK_TOOL}]
    bound = chat.bind_tools([get_weather])
    first = bound.invoke(asked)
    [call] = first.tool_calls
    assert call["name"] == "get_weather", call
    last = bound.invoke([*asked, first, get_weather.invoke(call)])
    assert last.text.strip(), last


def litellm_of(model):
    # To this library a name that begins so asks for another API; the gateway knows the model by a dash as well.
    model = model.replace("responses/", "responses-")
    common = {"api_key": KEY, "max_retries": 0, "max_tokens": 2000}
    return {
        "LiteLLM, openai/": {"model": f"openai/{model}", "api_base": OPENAI, **common},
        "LiteLLM, anthropic/": {"model": f"anthropic/{model}", "api_base": URL, **common},
        "LiteLLM, ollama_chat/": {"model": f"ollama_chat/{model}", "api_base": URL, "max_tokens": 2000},
    }


def litellm_chat(how, provider):
    answer = litellm.completion(messages=[{"role": "user", "content": ASK}], **how)
    heard(provider, answer.choices[0].message.content)


def litellm_stream(how, provider):
    stream = litellm.completion(messages=[{"role": "user", "content": ASK}], stream=True, **how)
    heard(provider, "".join(chunk.choices[0].delta.content or "" for chunk in stream))


def litellm_tool(how, provider):
    function = {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
    tools = [{"type": "function", "function": function}]
    asked = [{"role": "user", "content": ASK_TOOL}]
    first = litellm.completion(messages=asked, tools=tools, **how).choices[0].message
    [call] = first.tool_calls
    assert call.function.name == "get_weather", call
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    last = litellm.completion(messages=[*asked, first, result], tools=tools, **how)
    assert last.choices[0].message.content.strip(), last


def pydantic_ai(model):
    openai = OpenAIProvider(base_url=OPENAI, api_key=KEY)
    return {
        "pydantic-ai, OpenAIChatModel": OpenAIChatModel(model, provider=openai),
        "pydantic-ai, OpenAIResponsesModel": OpenAIResponsesModel(model, provider=openai),
        "pydantic-ai, AnthropicModel": AnthropicModel(
            model, provider=AnthropicProvider(base_url=URL, api_key=KEY)
        ),
    }


def pydantic_chat(model, provider):
    heard(provider, Agent(model).run_sync(ASK).output)


def pydantic_stream(model, provider):
    result = Agent(model).run_stream_sync(ASK)
    heard(provider, "".join(result.stream_text(delta=True)))


def pydantic_tool(model, provider):
    asked = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return f"sunny in {city}"

    answer = Agent(model, tools=[get_weather]).run_sync(ASK_TOOL).output
    assert asked and answer.strip(), (asked, answer)


LIBRARIES = [
    (langchain, {"chat": langchain_chat, "stream": langchain_stream, "tool call": langchain_tool}),
    (litellm_of, {"chat": litellm_chat, "stream": litellm_stream, "tool call": litellm_tool}),
    (pydantic_ai, {"chat": pydantic_chat, "stream": pydantic_stream, "tool call": pydantic_tool}),
]


def main():
    for provider, model in MODELS.items():
        for make, tasks in LIBRARIES:
            for name, one in make(model).items():
                for task, run in tasks.items():
                    try:
                        run(one, provider)
                        why = None
                    except Exception as error:
                        why = "".join(traceback.format_exception_only(error)).strip()[:500]
                    line = {"application": name, "task": task, "provider": provider, "why": why}
                    print(json.dumps(line), flush=True)


main()
