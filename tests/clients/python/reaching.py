"""Features that show at the provider: what it was sent, and what the client hears of that."""

import json
import re

import openai
import pytest

from asking import ASK, SCHEMA, deltas, provider_of, text_of, user

# Marks are for these.
MARKED = {"anthropic", "bedrock", "openrouter"}
# Of these it is not known that they keep prompts by themselves, as the others do.
UNTOLD = {"perplexity"}
# A server of which nothing is known gets what its client wrote for it.
PASSED = {"compatible"}

# The simulations of these count the tokens that were kept.
COUNTING = {"openai", "responses", "compatible", "anthropic", "azure", "bedrock", "openrouter"}


def left_out(raw):
    return raw.headers.get("x-remuda-dropped", "").split(", ")


def long_prompt(whose):
    """Longer than the least that any provider keeps, and another one for each test."""
    return f"You work for {whose}. " + "Be kind and brief. " * 1000


def check_marks(clients, provider, raw, passed=frozenset()):
    """Marks go where they are heeded, and where they would be missed the answer says so."""
    sent = json.dumps(clients.providers.sent(provider))
    assert ("cache_control" in sent or "cachePoint" in sent) == (provider in MARKED | passed)
    assert ("cache_control" in left_out(raw)) == (provider in UNTOLD)


def openai_caching(clients, model):
    provider, _ = provider_of(model)
    part = {"type": "text", "text": long_prompt(f"openai, {model}")}
    part["cache_control"] = {"type": "ephemeral"}
    messages = [{"role": "system", "content": [part]}, *user("good morning")]
    create = clients.openai.chat.completions.with_raw_response.create
    create(model=model, messages=messages)
    raw = create(model=model, messages=messages)
    check_marks(clients, provider, raw, PASSED)
    kept = raw.parse().usage.prompt_tokens_details.cached_tokens
    assert (kept > 1000) == (provider in COUNTING)


def anthropic_caching(clients, model):
    provider, _ = provider_of(model)
    block = {"type": "text", "text": long_prompt(f"anthropic, {model}")}
    block["cache_control"] = {"type": "ephemeral"}
    ask = {"model": model, "max_tokens": 400, "system": [block], "messages": user("good morning")}
    create = clients.anthropic.messages.with_raw_response.create
    create(**ask)
    raw = create(**ask)
    check_marks(clients, provider, raw)
    usage = raw.parse().usage
    assert (usage.cache_read_input_tokens > 1000) == (provider in COUNTING)
    assert usage.input_tokens > 0


ORDER = ["What is a remuda?", "A herd of horses.", "Speak of cedar from now on.", "And a bronco?"]


def stays_in_place(sent):
    """The system's words stand between the turns, whoever says them there."""
    turns = next(sent[name] for name in ("messages", "contents", "input") if name in sent)
    said = json.dumps(turns)
    places = [said.find(text) for text in ORDER]
    assert places == sorted(places) and -1 not in places, places


def openai_system_amid(clients, model):
    provider, _ = provider_of(model)
    first, answer, rule, last = ORDER
    for role in ("system", "developer"):
        messages = [
            {"role": role, "content": "Be brief."},
            *user(first),
            {"role": "assistant", "content": answer},
            {"role": role, "content": rule},
            *user(last),
        ]
        answered = clients.openai.chat.completions.create(model=model, messages=messages)
        assert answered.choices[0].message.content
        stays_in_place(clients.providers.sent(provider))
        assert clients.openai.responses.create(model=model, input=messages).output_text
        stays_in_place(clients.providers.sent(provider))


def openai_custom_tools(clients, model):
    tool = {"type": "custom", "custom": {"name": "apply_patch", "description": "Edits files."}}
    ask = {"model": model, "tools": [tool]}
    messages = user("Use apply_patch for Oslo.")
    create = clients.openai.chat.completions.create
    answer = create(messages=messages, **ask).choices[0]
    assert answer.finish_reason == "tool_calls"
    [call] = answer.message.tool_calls
    assert (call.type, call.custom.name) == ("custom", "apply_patch") and call.custom.input
    calls = [
        call
        for delta in deltas(create(messages=messages, stream=True, **ask))
        for call in delta.tool_calls or []
    ]
    assert calls[0].type == "custom" and calls[0].custom["name"] == "apply_patch"
    assert "".join(call.custom.get("input") or "" for call in calls) == call.custom.input
    messages += [answer.message, {"role": "tool", "tool_call_id": call.id, "content": "done"}]
    answer = create(messages=messages, **ask).choices[0]
    assert answer.message.content and answer.finish_reason == "stop"


def responses_agent_tools(clients, model):
    """As Codex offers them: a tool that takes plain text, and functions in a namespace."""
    provider, _ = provider_of(model)
    function = {"type": "function", "name": "send", "description": "Sends.", "strict": False}
    mail = {"type": "namespace", "name": "mail", "description": "Mail."}
    mail["tools"] = [{**function, "parameters": SCHEMA}]
    patch = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
    create = clients.openai.responses.create
    create(model=model, input="good morning", tools=[mail])
    own = own_name("send", clients.providers.sent(provider))
    for tool, name in ((mail, own), (patch, "apply_patch")):
        # Ollama's simulation calls the first.
        ask = {"model": model, "tools": [tool, *(one for one in (mail, patch) if one is not tool)]}
        question = user(f"Use {name} for Oslo.")
        whole = create(input=question, **ask)
        with clients.openai.responses.stream(input=question, **ask) as events:
            streamed = events.get_final_response()
        for answer in (whole, streamed):
            [call] = [item for item in answer.output if item.type.endswith("_call")]
            if tool is mail:
                assert (call.type, call.namespace, call.name) == ("function_call", "mail", "send")
                assert "city" in json.loads(call.arguments)
            else:
                assert (call.type, call.name) == ("custom_tool_call", "apply_patch") and call.input
        result = {"type": f"{call.type}_output", "call_id": call.call_id, "output": "dry and cold"}
        answer = create(input=[*question, *answer.output, result], **ask)
        assert answer.status == "completed" and answer.output_text


def own_name(name, sent):
    """What the model calls a namespace's one function: the gateway's name for it, or both names."""
    offered = json.dumps(sent.get("tools") or sent["toolConfig"])
    names = [found for found in re.findall(r'"name": "([^"]*)"', offered) if found.endswith(name)]
    return next((found for found in names if found != name), f"mail.{name}")


def fields_of_ollama(clients, model):
    """Ollama's servers honour them; elsewhere they are named, and the rest of the request is served."""
    provider, _ = provider_of(model)
    more = {"keep_alive": "7m", "options": {"num_ctx": 8192}}
    create = clients.openai.chat.completions.with_raw_response.create
    if provider == "compatible":
        # It may be one that knows them; this one does not, and says so itself.
        with pytest.raises(openai.BadRequestError) as raised:
            create(model=model, messages=user("good morning"), extra_body=more)
        assert raised.value.param == "keep_alive"
        return
    raw = create(model=model, messages=user("good morning"), extra_body=more)
    assert raw.parse().choices[0].message.content
    sent = clients.providers.sent(provider)
    found = {name: sent[name] for name in more if name in sent}
    if provider == "ollama":
        assert found == more and left_out(raw) == [""]
    else:
        assert not found and "keep_alive" in left_out(raw)
        assert {"num_ctx", "options"} & set(left_out(raw))


def models_retrieved(clients, model):
    """Each that is listed, with the slashes in its name as they are."""
    provider, _ = provider_of(model)
    listed = [one.id for one in clients.openai.models.list()]
    # A service's names for its models come with its own; those of a fleet stand alone.
    names = [name for name in listed if provider_of(name)[0] == provider]
    names = names or [name for name in listed if "/" not in name]
    assert len(names) > 1
    for name in names:
        assert clients.openai.models.retrieve(name).id == name


def anthropic_first_usage(clients, model):
    """Clients show from the beginning how full the context is."""
    ask = {"model": model, "max_tokens": 400, "messages": user("good morning " * 100)}
    events = list(clients.anthropic.messages.create(stream=True, **ask))
    starts = [event.message.usage for event in events if event.type == "message_start"]
    assert len(starts) == 1 and starts[0].input_tokens > 50


def anthropic_thinking(clients, model):
    """Thoughts go back to the provider with the calls that they led to, in their order."""
    if provider_of(model)[0] == "compatible":
        pytest.skip("its model thinks and has tools in Responses alone")
    tools = [{"name": "get_weather", "description": "Tells the weather.", "input_schema": SCHEMA}]
    ask = {
        "model": model,
        "max_tokens": 4000,
        "tools": tools,
        "thinking": {"type": "adaptive"},
    }
    messages = user(ASK)
    with clients.anthropic.messages.stream(messages=messages, **ask) as stream:
        answer = stream.get_final_message()
    kinds = [block.type for block in answer.content]
    assert kinds.index("thinking") < kinds.index("tool_use") and answer.stop_reason == "tool_use"
    call = next(block for block in answer.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "dry and cold"}
    messages += [{"role": "assistant", "content": answer.content}, *user([result])]
    with clients.anthropic.messages.stream(messages=messages, **ask) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "end_turn" and text_of(answer)
    last = answer.content[-1]
    assert last.type != "thinking" or last.thinking
