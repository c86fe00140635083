"""Answers as botocore would: one JSON question a line on standard input, one JSON answer a line on standard output."""

import binascii
import datetime
import json
import re
import struct
import sys

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer
from botocore.validate import ParamValidator


def at(seconds):
    """Sets the clock that botocore signs by."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)
    botocore.auth.get_current_datetime = lambda *_: moment


def credentials(question):
    return Credentials(question["access_key"], question["secret_key"], question["session_token"])


def sign(question):
    """The header fields that botocore's signer adds to any request."""
    at(question["time"])
    headers = {"Host": question["host"]}
    if question["content_type"]:
        headers["Content-Type"] = question["content_type"]
    url = "https://" + question["host"] + question["path"]
    request = AWSRequest(question["method"], url, headers, data=bytes.fromhex(question["body"]))
    botocore.auth.SigV4Auth(credentials(question), "bedrock", question["region"]).add_auth(request)
    names = ("X-Amz-Date", "Authorization", "X-Amz-Security-Token")
    return {name.lower(): request.headers[name] for name in names if name in request.headers}


class Client:
    """botocore's client for Bedrock, whose requests are looked at instead of sent."""

    clients = {}

    def __init__(self, question):
        session = botocore.session.Session()
        session.set_credentials(*(question[key] for key in ("access_key", "secret_key", "session_token")))
        config = Config(retries={"total_max_attempts": 1})
        self.client = session.create_client("bedrock-runtime", question["region"], config=config)
        self.client.meta.events.register("before-send", self.sent)

    def sent(self, request, **_):
        self.request = request
        return AWSResponse(request.url, 400, {}, Body())

    @classmethod
    def call(cls, question):
        """The request that botocore makes of `model` and `parameters` for the operation `call`."""
        at(question["time"])
        key = json.dumps([question[key] for key in ("access_key", "secret_key", "session_token", "region")])
        client = cls.clients.setdefault(key, None) or cls(question)
        cls.clients[key] = client
        try:
            getattr(client.client, question["call"])(modelId=question["model"], **question["parameters"])
        except client.client.exceptions.ClientError:
            pass
        request = client.request
        body = request.body or b""
        text = lambda value: value.decode() if isinstance(value, bytes) else value
        return {
            "method": request.method,
            "url": request.url,
            "body": (body.encode() if isinstance(body, str) else body).hex(),
            "headers": {name.lower(): text(value) for name, value in request.headers.items()},
        }


class Body:
    """An answer that says nothing."""

    def stream(self):
        yield b'{"message": "not sent"}'


def decode(question):
    """The frames that botocore reads from a stream."""
    buffer = EventStreamBuffer()
    buffer.add_data(bytes.fromhex(question["bytes"]))
    return [{"headers": frame.headers, "payload": frame.payload.hex()} for frame in buffer]


def encode(question):
    """A frame of text headers, which botocore's decoder accepts."""
    headers = b""
    for name, value in question["headers"]:
        name, value = name.encode(), value.encode()
        headers += struct.pack("!B", len(name)) + name + struct.pack("!BH", 7, len(value)) + value
    payload = bytes.fromhex(question["payload"])
    frame = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    frame += struct.pack("!I", binascii.crc32(frame)) + headers + payload
    frame += struct.pack("!I", binascii.crc32(frame))
    decoded = decode({"bytes": frame.hex()})
    assert decoded == [{"headers": dict(question["headers"]), "payload": question["payload"]}], decoded
    return frame.hex()


class Converse:
    """What the service's own model, and the rules beside it, object to in the body of a Converse request."""

    shape = None

    @classmethod
    def validate(cls, question):
        if cls.shape is None:
            service = botocore.session.Session().get_service_model("bedrock-runtime")
            cls.shape = service.operation_model("Converse").input_shape
        body = dict(question["body"], modelId="model")
        report = ParamValidator().validate(body, cls.shape)
        problems = [report.generate_report()] if report.has_errors() else []
        problems += cls.values(body, cls.shape, "")
        return problems + cls.turns(body)

    @classmethod
    def values(cls, value, shape, path):
        """Patterns, enumerations and largest values, which botocore leaves to the service."""
        problems = []
        if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
            for name, member in value.items():
                problems += cls.values(member, shape.members[name], f"{path}.{name}")
        elif shape.type_name == "list":
            for item in value:
                problems += cls.values(item, shape.member, path)
        rules = shape.metadata
        if "enum" in rules and value not in rules["enum"]:
            problems.append(f"{path}: {value} is none of {rules['enum']}")
        if shape.type_name == "string" and "pattern" in rules and not re.fullmatch(rules["pattern"], value):
            problems.append(f"{path}: {value!r} does not match {rules['pattern']}")
        size = len(value) if shape.type_name in ("string", "list") else value
        if shape.type_name in ("string", "list", "float", "integer") and size > rules.get("max", size):
            problems.append(f"{path}: {size} is more than {rules['max']}")
        return problems

    @staticmethod
    def turns(body):
        """What the service says in its documentation alone."""
        problems = []
        turns = body["messages"]
        roles = [turn["role"] for turn in turns]
        if roles != (["user", "assistant"] * len(roles))[: len(roles)]:
            problems.append(f"roles: {roles}")
        asked = []
        for turn in turns:
            said = [next(iter(block)) for block in turn["content"]]
            for before, point in zip([None, *said], said):
                if point == "cachePoint" and before in (None, "cachePoint", "reasoningContent"):
                    problems.append(f"a point after {before}")
            kinds = [kind for kind in said if kind != "cachePoint"]
            if not kinds:
                problems.append("a turn without content")
            results = [block["toolResult"] for block in turn["content"] if "toolResult" in block]
            if [result["toolUseId"] for result in results] != asked:
                problems.append(f"calls {asked} have the results {results}")
            if kinds[: len(results)] != ["toolResult"] * len(results):
                problems.append(f"results do not come first: {kinds}")
            asked = [block["toolUse"]["toolUseId"] for block in turn["content"] if "toolUse" in block]
            if len(set(asked)) != len(asked):
                problems.append(f"ids are not distinct: {asked}")
            if turn["role"] == "user" and {"toolUse", "reasoningContent"} & set(kinds):
                problems.append(f"the user says {kinds}")
            if turn["role"] == "assistant" and {"toolResult", "image", "document", "audio"} & set(kinds):
                problems.append(f"the assistant says {kinds}")
            inner = [block for result in results for block in result["content"]]
            for block in turn["content"] + inner:
                if not block.get("text", "x").strip():
                    problems.append("a blank text")
        if asked:
            problems.append(f"calls without results: {asked}")
        has_calls = any("toolUse" in block or "toolResult" in block for turn in turns for block in turn["content"])
        config = body.get("toolConfig")
        if has_calls and not config:
            problems.append("calls, but no toolConfig")
        points = json.dumps(body).count('{"cachePoint":')
        if points > 4:
            problems.append(f"{points} points")
        if config:
            tools = [tool["toolSpec"] for tool in config["tools"] if "toolSpec" in tool]
            names = [tool["name"] for tool in tools]
            if len(set(names)) != len(names):
                problems.append(f"names are not distinct: {names}")
            if any(tool["inputSchema"]["json"].get("type") != "object" for tool in tools):
                problems.append("a schema of no object")
            chosen = config.get("toolChoice", {}).get("tool", {}).get("name", names[0])
            if chosen not in names:
                problems.append(f"{chosen} is none of {names}")
        more = body.get("additionalModelRequestFields", {}).get("thinking", {})
        if more.get("budget_tokens", 0) >= body["inferenceConfig"].get("maxTokens", float("inf")):
            problems.append("a budget as large as the answer")
        return problems


ANSWERS = {"sign": sign, "call": Client.call, "decode": decode, "encode": encode, "validate": Converse.validate}

for line in sys.stdin:
    question = json.loads(line)
    json.dump(ANSWERS[question["ask"]](question), sys.stdout)
    sys.stdout.write("\n")
