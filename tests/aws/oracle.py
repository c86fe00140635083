"""Answers as botocore would: one JSON question a line on standard input, one JSON answer a line on standard output."""

import binascii
import datetime
import json
import struct
import sys

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer


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


ANSWERS = {"sign": sign, "call": Client.call, "decode": decode, "encode": encode}

for line in sys.stdin:
    question = json.loads(line)
    json.dump(ANSWERS[question["ask"]](question), sys.stdout)
    sys.stdout.write("\n")
