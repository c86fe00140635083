// Every official client for JavaScript against every kind of provider.

import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import test, { after } from "node:test";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { PATIENCE } from "./fleet.js";
import { allProviders } from "./providers.js";

const providers = await allProviders({ after });
const { url } = providers;
const ollama = new Ollama({ host: url });
const options = { apiKey: "unused", timeout: PATIENCE, maxRetries: 0 };
const openai = new OpenAI({ baseURL: `${url}/v1`, ...options });
const anthropic = new Anthropic({ baseURL: url, ...options });

// The models that each provider is asked for: for chats, and for vectors.
const MODELS = {
  ollama: { chat: "llama3.2", vectors: "nomic-embed-text" },
  openai: { chat: "gpt-4.1", vectors: "text-embedding-3-small" },
  responses: { chat: "gpt-5.5" },
  compatible: { chat: "gpt-4o", vectors: "text-embedding-3-small" },
  anthropic: { chat: "claude-opus-5" },
  google: { chat: "gemini-3.5-flash", vectors: "gemini-embedding-001" },
  azure: { chat: "gpt-4o", vectors: "text-embedding-3-small" },
  bedrock: {
    chat: "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    vectors: "amazon.titan-embed-text-v2:0",
  },
  openrouter: { chat: "openai/gpt-4o" },
  perplexity: { chat: "perplexity/sonar" },
};

const parameters = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
const weather = { name: "get_weather", description: "Tells the weather.", parameters };
const tools = [{ type: "function", function: weather }];

const user = (content) => ({ role: "user", content });
const greeting = [user("good morning")];
const question = [user("Use get_weather for Oslo.")];

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function ollamaChat(model) {
  const answer = await ollama.chat({ model, messages: greeting });
  assert.ok(answer.message.content && answer.done);
  assert.equal(answer.done_reason, "stop");
  assert.ok(answer.eval_count > 0 && answer.prompt_eval_count > 0);
}

async function ollamaStream(model) {
  const parts = await all(await ollama.chat({ model, messages: greeting, stream: true }));
  assert.ok(parts.map((part) => part.message.content ?? "").join(""));
  const last = parts.pop();
  assert.ok(last.done && parts.every((part) => !part.done));
  assert.ok(last.eval_count > 0 && last.eval_duration > 0);
}

async function ollamaTools(model) {
  const request = { model, messages: question, tools };
  const whole = [await ollama.chat(request)];
  const streamed = await all(await ollama.chat({ ...request, stream: true }));
  for (const parts of [whole, streamed]) {
    const calls = parts.flatMap((part) => part.message.tool_calls ?? []);
    assert.deepEqual(
      calls.map((call) => call.function.name),
      ["get_weather"],
    );
    assert.ok(Number.isInteger(calls[0].function.arguments.days));
  }
  const result = { role: "tool", tool_name: "get_weather", content: "dry and cold" };
  const messages = [...question, whole[0].message, result];
  const answer = await ollama.chat({ ...request, messages });
  assert.ok(answer.message.content && !answer.message.tool_calls?.length);
}

async function openaiChat(model) {
  const answer = await openai.chat.completions.create({ model, messages: greeting });
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.ok(answer.usage.total_tokens > 0);
}

async function openaiStream(model) {
  const chunks = await all(
    await openai.chat.completions.create({
      model,
      messages: greeting,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const choices = chunks.flatMap((chunk) => chunk.choices);
  // Azure's filters have chunks of their own, without a delta.
  assert.ok(choices.map((choice) => choice.delta?.content ?? "").join(""));
  const reasons = choices.map((choice) => choice.finish_reason).filter(Boolean);
  assert.deepEqual(reasons, ["stop"]);
  const usages = chunks.map((chunk) => chunk.usage).filter(Boolean);
  assert.deepEqual(
    usages.map((usage) => usage.total_tokens > 0),
    [true],
  );
}

async function openaiTools(model) {
  const request = { model, messages: question, tools };
  const [asked] = (await openai.chat.completions.create(request)).choices;
  const streamed = await openai.chat.completions.stream(request).finalChatCompletion();
  for (const choice of [asked, streamed.choices[0]]) {
    assert.equal(choice.finish_reason, "tool_calls");
    const [call] = choice.message.tool_calls;
    assert.equal(call.function.name, "get_weather");
    assert.ok("city" in JSON.parse(call.function.arguments));
  }
  const tool_call_id = asked.message.tool_calls[0].id;
  const result = { role: "tool", tool_call_id, content: "dry and cold" };
  const messages = [...question, asked.message, result];
  const [answer] = (await openai.chat.completions.create({ ...request, messages })).choices;
  assert.ok(answer.message.content);
  assert.equal(answer.finish_reason, "stop");
}

async function openaiEmbeddings(model) {
  // Without a format the client asks for base64, and decodes it.
  for (const format of [{}, { encoding_format: "float" }]) {
    const { data } = await openai.embeddings.create({ model, input: ["one", "two"], ...format });
    assert.deepEqual(
      data.map((row) => row.index),
      [0, 1],
    );
    assert.ok(data.every((row) => row.embedding.length > 100));
    assert.ok(data.every((row) => row.embedding.every(Number.isFinite)));
  }
}

async function openaiResponses(model) {
  const request = { model, input: "good morning" };
  const whole = await openai.responses.create(request);
  assert.ok(whole.usage.total_tokens > 0);
  const stream = openai.responses.stream(request);
  const events = await all(stream);
  const final = await stream.finalResponse();
  for (const answer of [whole, final]) {
    assert.equal(answer.status, "completed");
    assert.ok(answer.output_text);
  }
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), final.output_text);
}

/** A thought may follow the text: Gemini signs that, too. */
const textOf = (message) =>
  message.content.map((block) => (block.type === "text" ? block.text : "")).join("");

async function anthropicMessages(model) {
  const answer = await anthropic.messages.create({
    model,
    max_tokens: 400,
    system: "Be kind.",
    messages: greeting,
  });
  assert.ok(textOf(answer));
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
}

async function anthropicStream(model) {
  let text = "";
  const stream = anthropic.messages.stream({ model, max_tokens: 400, messages: greeting });
  stream.on("text", (delta) => (text += delta));
  const final = await stream.finalMessage();
  assert.ok(text);
  assert.equal(text, textOf(final));
  assert.equal(final.stop_reason, "end_turn");
  assert.ok(final.usage.output_tokens > 0);
}

async function anthropicTools(model) {
  const { name, description } = weather;
  const request = {
    model,
    max_tokens: 400,
    messages: question,
    tools: [{ name, description, input_schema: parameters }],
  };
  const asked = await anthropic.messages.stream(request).finalMessage();
  assert.equal(asked.stop_reason, "tool_use");
  const call = asked.content.find((block) => block.type === "tool_use");
  assert.equal(call.name, name);
  assert.ok("city" in call.input);
  const result = { type: "tool_result", tool_use_id: call.id, content: "dry and cold" };
  const turn = { role: "assistant", content: asked.content };
  const messages = [...question, turn, user([result])];
  const answer = await anthropic.messages.create({ ...request, messages });
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(textOf(answer));
}

async function anthropicCount(model) {
  const count = await anthropic.messages.countTokens({ model, messages: greeting });
  assert.ok(count.input_tokens > 0);
}

const providerOf = (model) => model.split("/", 1)[0];

/** How each client reads a stream: what it is told of the text goes to `told`. */
const READERS = [
  async (model, told) => {
    const stream = await ollama.chat({ model, messages: greeting, stream: true });
    for await (const part of stream) told.push(part.message.content ?? "");
  },
  async (model, told) => {
    const request = { model, messages: greeting, stream: true };
    const stream = await openai.chat.completions.create(request);
    for await (const chunk of stream) told.push(chunk.choices[0]?.delta?.content ?? "");
  },
  async (model, told) => {
    const request = { model, max_tokens: 400, messages: greeting };
    const stream = anthropic.messages.stream(request).on("text", (text) => told.push(text));
    await stream.finalMessage();
  },
];

/** A stream that breaks throws, after what has been said; before that there is only the error. */
async function brokenStreams(model) {
  for (const kind of ["error", "cut"]) {
    // By the twentieth token all have begun to speak, those that think first too.
    for (const [tokens, speaks] of [
      [0, false],
      [20, true],
    ]) {
      await providers.failing(providerOf(model), { kind, tokens }, async () => {
        for (const read of READERS) {
          const told = [];
          await assert.rejects(read(model, told), Error);
          assert.equal(told.join("") !== "", speaks);
        }
      });
    }
  }
}

/** Clients cut their conversations by a code, or by words. */
async function tooLong(model) {
  const message = "This model's maximum context length is 4096 tokens. However, your messages resulted in 9001 tokens.";
  await providers.failing(providerOf(model), { kind: "status", status: 400, message }, async () => {
    await assert.rejects(openai.chat.completions.create({ model, messages: greeting }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      return error.code === "context_length_exceeded";
    });
    await assert.rejects(anthropic.messages.create({ model, max_tokens: 400, messages: greeting }), (error) => {
      assert.ok(error instanceof Anthropic.BadRequestError);
      return error.message.includes("prompt is too long: 9001 tokens > 4096 maximum");
    });
  });
}

/** Browsers and Electron send where their page is from. */
async function fromPage(model) {
  const defaultHeaders = { Origin: "app://obsidian.md" };
  const client = new OpenAI({ baseURL: `${url}/v1`, ...options, defaultHeaders });
  const { data, response } = await client.chat.completions
    .create({ model, messages: greeting })
    .withResponse();
  assert.ok(data.choices[0].message.content);
  assert.equal(response.headers.get("access-control-allow-origin"), "app://obsidian.md");
}

const FEATURES = [
  ["ollama: chat", "chat", ollamaChat],
  ["ollama: streamed chat", "chat", ollamaStream],
  ["ollama: tool loop", "chat", ollamaTools],
  ["openai: chat", "chat", openaiChat],
  ["openai: streamed chat, usage", "chat", openaiStream],
  ["openai: tool loop", "chat", openaiTools],
  ["openai: embeddings, base64 and float", "vectors", openaiEmbeddings],
  ["openai: Responses, whole and streamed", "chat", openaiResponses],
  ["anthropic: messages", "chat", anthropicMessages],
  ["anthropic: streaming helper", "chat", anthropicStream],
  ["anthropic: tool loop", "chat", anthropicTools],
  ["anthropic: count_tokens", "chat", anthropicCount],
  ["all: broken streams throw", "chat", brokenStreams],
  ["all: a prompt that is too long", "chat", tooLong],
  ["openai: from a page", "chat", fromPage],
];

for (const [feature, needs, use] of FEATURES) {
  for (const [provider, models] of Object.entries(MODELS)) {
    const model = models[needs];
    if (!model) continue;
    test(`${feature}: ${provider}`, { timeout: PATIENCE }, () => use(`${provider}/${model}`));
  }
}

test("an unknown model is each format's own 404", async () => {
  const model = "no-such-model";
  await assert.rejects(ollama.chat({ model, messages: greeting }), {
    status_code: 404,
    error: `model '${model}' not found`,
  });
  await assert.rejects(openai.chat.completions.create({ model, messages: greeting }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    return error.code === "model_not_found";
  });
  await assert.rejects(
    anthropic.messages.create({ model, max_tokens: 9, messages: greeting }),
    Anthropic.NotFoundError,
  );
});

test("models are listed for every client", async () => {
  const ids = async (list) => (await all(list)).map((model) => model.id);
  const listed = await ids(openai.models.list());
  assert.ok(listed.includes("claude-opus-5") && listed.includes("llama3.2:latest"));
  assert.ok((await ids(anthropic.models.list())).includes("gemini-3.5-flash"));
  assert.ok((await ollama.show({ model: "openai/gpt-4.1" })).capabilities.includes("tools"));
});
