"""What clients say to every kind of provider, in the forms that several tests use."""

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ASK = "Use get_weather for Oslo."
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Tells the weather.", "parameters": SCHEMA},
}


def user(text):
    return [{"role": "user", "content": text}]


def text_of(message):
    """A thought may follow the text: Gemini signs that, too."""
    return "".join(block.text for block in message.content if block.type == "text")


def deltas(chunks):
    """What the chunks of a chat add, as they come. Those of Azure's filters have no delta."""
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta:
            yield chunk.choices[0].delta


def provider_of(model):
    """The provider's name and the rest of a model's."""
    return model.split("/", 1)
