// The `ollama` client for JavaScript through the gateway.

import assert from "node:assert/strict";
import test, { after, beforeEach } from "node:test";
import { Ollama } from "ollama";
import { fleetOf, until, withFleet } from "./fleet.js";

const fleet = await fleetOf({ after, beforeEach });
const client = new Ollama({ host: fleet.url });

const messages = [{ role: "user", content: "Hello, what is a remuda?" }];

// A picture of one pixel.
const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Tells the weather.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

const refusal = (status_code, error) => ({ name: "ResponseError", status_code, error });

test("a chat, whole and streamed", async () => {
  const whole = await client.chat({ model: "llama3.2", messages });
  assert.ok(whole.message.content && whole.done && whole.eval_count >= 24);
  const direct = new Ollama({ host: fleet.servers[0] });
  const own = await direct.chat({ model: "llama3.2", messages });
  assert.equal(whole.message.content, own.message.content);
  const parts = await all(await client.chat({ model: "llama3.2", messages, stream: true }));
  assert.equal(parts.map((part) => part.message.content).join(""), whole.message.content);
  assert.equal(parts.at(-1).done_reason, "stop");
  assert.equal(parts.length, whole.eval_count + 1);
});

test("a thinking model", async () => {
  const request = { model: "qwen3:8b", messages, think: true };
  const parts = await all(await client.chat({ ...request, stream: true }));
  const whole = await client.chat(request);
  assert.ok(whole.message.thinking && whole.message.content);
  assert.equal(parts.map((part) => part.message.thinking ?? "").join(""), whole.message.thinking);
  assert.equal((await client.chat({ ...request, think: false })).message.thinking, undefined);
});

test("a generation, whole and streamed, and options", async () => {
  const request = { model: "llama3.2", prompt: "Why is the sky blue?" };
  const whole = await client.generate(request);
  const parts = await all(await client.generate({ ...request, stream: true }));
  assert.equal(parts.map((part) => part.response).join(""), whole.response);
  assert.deepEqual(parts.at(-1).context, whole.context);
  const short = await client.generate({ ...request, options: { num_predict: 4 } });
  assert.deepEqual([short.eval_count, short.done_reason], [4, "length"]);
});

test("an answer in a format", async () => {
  const format = { type: "object", properties: { age: { type: "integer" } }, required: ["age"] };
  const answer = await client.chat({ model: "llama3.2", messages, format });
  assert.ok(Number.isInteger(JSON.parse(answer.message.content).age));
});

for (const model of ["llama3.2", "qwen3:8b"]) {
  test(`a tool is called and answers: ${model}`, async () => {
    const request = { model, messages, tools: [weather] };
    const asked = await client.chat(request);
    const [call] = asked.message.tool_calls;
    assert.equal(call.function.name, "get_weather");
    assert.equal(typeof call.function.arguments.city, "string");
    const parts = await all(await client.chat({ ...request, stream: true }));
    const streamed = parts.flatMap((part) => part.message.tool_calls ?? []);
    assert.deepEqual(
      streamed.map((call) => call.function),
      [call.function],
    );
    const answered = await client.chat({
      ...request,
      messages: [...messages, asked.message, { role: "tool", content: "dry", tool_name: "get_weather" }],
    });
    assert.ok(answered.message.content && !answered.message.tool_calls);
  });
}

test("images", async () => {
  const plain = await client.chat({ model: "gemma3", messages });
  for (const image of [PNG, Buffer.from(PNG, "base64")]) {
    const seen = await client.chat({
      model: "gemma3",
      messages: [{ ...messages[0], images: [image] }],
    });
    assert.equal(seen.prompt_eval_count, plain.prompt_eval_count + 256);
  }
  await assert.rejects(
    client.generate({ model: "gemma3", prompt: "?", images: ["!!!!"] }),
    refusal(400, "illegal base64 data at input byte 0"),
  );
});

test("embeddings", async () => {
  const input = ["a horse", "a saddle"];
  const { embeddings } = await client.embed({ model: "nomic-embed-text", input });
  assert.deepEqual(
    embeddings.map((vector) => vector.length),
    [768, 768],
  );
  const older = await client.embeddings({ model: "nomic-embed-text", prompt: "a horse" });
  assert.equal(older.embedding.length, 768);
});

test("list, show, ps and version", async () => {
  const { models } = await client.list();
  assert.deepEqual(models.map((model) => model.name).sort(), [
    "gemma3:latest",
    "llama3.2:latest",
    "nomic-embed-text:latest",
    "qwen3:8b",
  ]);
  const shown = await client.show({ model: "qwen3:8b" });
  assert.ok(shown.capabilities.includes("thinking"));
  assert.ok(shown.model_info["qwen3.context_length"] > 0);
  const loaded = await client.generate({ model: "llama3.2", prompt: "", keep_alive: "1h" });
  assert.equal(loaded.done_reason, "load");
  const isLoaded = (row) => row.name === "llama3.2:latest" && row.size_vram > 0;
  await until(async () => (await client.ps()).models.some(isLoaded), "the model is in ps");
  assert.match((await client.version()).version, /^\d+\.\d+\.\d+/);
});

test("errors", async () => {
  const missing = refusal(404, "model 'nope' not found");
  await assert.rejects(client.chat({ model: "nope", messages }), missing);
  await assert.rejects(client.chat({ model: "nope", messages, stream: true }), missing);
  await assert.rejects(client.chat({ model: "", messages }), refusal(400, "model is required"));
  await assert.rejects(
    client.show({ model: "nope" }),
    refusal(404, "model 'nope:latest' not found"),
  );
  await assert.rejects(
    client.embed({ model: "nope", input: "x" }),
    refusal(404, 'model "nope" not found, try pulling it first'),
  );
  await assert.rejects(
    client.chat({ model: "llama3.2", messages, think: true }),
    refusal(400, '"llama3.2" does not support thinking'),
  );
  await assert.rejects(client.pull({ model: "all-minilm" }), (error) => {
    assert.equal(error.status_code, 403);
    return /manage: true/.test(error.message);
  });
});

test("abort() frees the slot", async () => {
  await fleet.stall("/api/chat");
  const stream = await client.chat({ model: "llama3.2", messages, stream: true });
  let count = 0;
  const reading = (async () => {
    for await (const part of stream) {
      assert.ok(!part.done);
      if (++count === 3) {
        assert.equal(await fleet.inFlight(), 1);
        client.abort();
      }
    }
  })();
  await assert.rejects(reading, { name: "AbortError" });
  await until(async () => (await fleet.inFlight()) === 0, "the slot is free", 5_000);
  await until(async () => (await fleet.total("active")) === 0, "the server has stopped", 5_000);
  assert.equal(await fleet.total("aborted"), 1);
});

test("a failure before the first content is not seen", async () => {
  let headers;
  const seeing = async (...request) => {
    const answer = await fetch(...request);
    headers = answer.headers;
    return answer;
  };
  const client = new Ollama({ host: fleet.url, fetch: seeing });
  const expected = await client.chat({ model: "llama3.2", messages });
  const warm = headers.get("x-remuda-backend");
  const port = Number(warm.split(":").at(-1));
  await fleet.fault({ kind: "cut", at: "head", port, route: "/api/chat" });
  const answer = await client.chat({ model: "llama3.2", messages });
  assert.equal(answer.message.content, expected.message.content);
  assert.equal(headers.get("x-remuda-attempts"), "2");
  assert.notEqual(headers.get("x-remuda-backend"), warm);
});

test("a failure after the first content throws", async () => {
  await fleet.fault({ kind: "cut", tokens: 5, route: "/api/chat" });
  // Of one server alone, nobody goes on with what it has begun.
  const headers = { "X-Backend": new URL(fleet.servers[0]).host };
  const pinned = new Ollama({ host: fleet.url, headers });
  const parts = [];
  const reading = (async () => {
    for await (const part of await pinned.chat({ model: "llama3.2", messages, stream: true })) {
      parts.push(part);
    }
  })();
  await assert.rejects(reading, /the backend closed the stream before its end/);
  assert.equal(parts.length, 5);
});

test("a stream that breaks goes on elsewhere", async () => {
  const whole = await client.chat({ model: "llama3.2", messages });
  await fleet.fault({ kind: "cut", tokens: 5, route: "inference", times: 1 });
  const parts = await all(await client.chat({ model: "llama3.2", messages, stream: true }));
  assert.equal(parts.map((part) => part.message.content).join(""), whole.message.content);
  assert.equal(parts.filter((part) => part.done).length, 1);
});

test("many at a time", async () => {
  const prompts = Array.from({ length: 30 }, (_, number) => `Say ${number}`);
  const ask = async (prompt) => {
    const parts = await all(await client.generate({ model: "llama3.2", prompt, stream: true }));
    assert.ok(parts.at(-1).done);
    return parts.map((part) => part.response).join("");
  };
  const answers = await Promise.all(prompts.map(ask));
  for (const number of [0, 13, 29]) {
    const again = await client.generate({ model: "llama3.2", prompt: prompts[number] });
    assert.equal(answers[number], again.response);
  }
  // A client may have read the last byte before the gateway has come back from writing it.
  await until(async () => (await fleet.inFlight()) === 0, "all slots are free", 5_000);
});

test("management, where it is allowed", async () => {
  await withFleet({ manage: true }, async (fleet) => {
    const client = new Ollama({ host: fleet.url });
    const parts = await all(await client.pull({ model: "all-minilm", stream: true }));
    assert.equal(parts.at(-1).status, "success");
    assert.ok(parts.some((part) => part.total > 0));
    await client.copy({ source: "llama3.2", destination: "mine" });
    await client.create({ model: "brief", from: "llama3.2", system: "Be brief." });
    const names = async () => (await client.list()).models.map((model) => model.name).sort();
    const added = ["all-minilm:latest", "brief:latest", "mine:latest"];
    await until(
      async () => (await names()).filter((name) => added.includes(name)).length === 3,
      "the new models are listed",
    );
    await client.delete({ model: "mine" });
    await until(async () => !(await names()).includes("mine:latest"), "it is gone");
  });
});
