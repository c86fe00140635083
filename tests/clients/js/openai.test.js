// The `openai` client for JavaScript on the gateway's `/v1`.

import assert from "node:assert/strict";
import test, { after, beforeEach } from "node:test";
import OpenAI from "openai";
import { fleetOf, until } from "./fleet.js";

const fleet = await fleetOf({ after, beforeEach });
const client = new OpenAI({ baseURL: `${fleet.url}/v1`, apiKey: "unused", maxRetries: 0 });

// Where Ollama servers are asked for chats, whatever the client's format.
const ROUTE = "/api/chat";

const messages = [{ role: "user", content: "Hello, what is a remuda?" }];
const create = (request) => client.chat.completions.create({ model: "llama3.2", messages, ...request });

test("a chat, whole and streamed with usage", async () => {
  const whole = await create({});
  assert.ok(whole.choices[0].message.content);
  assert.equal(whole.choices[0].finish_reason, "stop");
  let text = "";
  let usage;
  const stream = await create({ stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(usage, whole.usage);
});

test("a tool is called", async () => {
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
  const [choice] = (await create({ tools })).choices;
  assert.equal(choice.finish_reason, "tool_calls");
  assert.ok(JSON.parse(choice.message.tool_calls[0].function.arguments).city);
});

test("completions, embeddings and models", async () => {
  const answer = await client.completions.create({ model: "llama3.2", prompt: "Once upon a time" });
  assert.ok(answer.choices[0].text);
  const { data } = await client.embeddings.create({ model: "nomic-embed-text", input: ["a", "b"] });
  assert.deepEqual(
    data.map((row) => row.embedding.length),
    [768, 768],
  );
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("qwen3:8b") && names.length === 4);
  assert.equal((await client.models.retrieve("qwen3:8b")).id, "qwen3:8b");
});

test("errors", async () => {
  await assert.rejects(create({ model: "nope" }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    return error.error.message === "model 'nope' not found";
  });
  await assert.rejects(create({ messages: [] }), OpenAI.BadRequestError);
});

test("a client that leaves a stream frees its slot", async () => {
  await fleet.stall(ROUTE);
  const stream = await create({ stream: true });
  for await (const chunk of stream) {
    assert.equal(chunk.choices[0].finish_reason, null);
    assert.equal(await fleet.inFlight(), 1);
    assert.equal(await fleet.requests(`POST ${ROUTE}`), 1);
    break;
  }
  await until(async () => (await fleet.inFlight()) === 0, "the slot is free", 5_000);
  await until(async () => (await fleet.total("active")) === 0, "the server has stopped", 5_000);
});

test("a broken stream throws", async () => {
  await fleet.fault({ kind: "cut", tokens: 5, route: ROUTE });
  // Of one server alone, nobody goes on with what it has begun.
  const headers = { "X-Backend": new URL(fleet.servers[0]).host };
  const request = { model: "llama3.2", messages, stream: true };
  const reading = (async () => {
    for await (const chunk of await client.chat.completions.create(request, { headers })) {
      assert.equal(chunk.choices[0].finish_reason, null);
    }
  })();
  await assert.rejects(reading, /the backend closed the stream before its end/);
});
