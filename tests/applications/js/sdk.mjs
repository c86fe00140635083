// What Vercel's AI SDK does through a gateway. Prints one line of JSON for each task and provider.
// Arguments: the gateway's address, and a JSON object of a model for each provider.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [url, models] = [process.argv[2], JSON.parse(process.argv[3])];
const baseURL = `${url}/v1`;
const apiKey = "unused";

const factories = {
  "AI SDK, openai": createOpenAI({ baseURL, apiKey }),
  "AI SDK, openai-compatible": createOpenAICompatible({ name: "remuda", baseURL, apiKey }),
  "AI SDK, anthropic": createAnthropic({ baseURL, apiKey }),
};

// A simulated service repeats what it was told; an Ollama server says what it likes.
function heard(provider, text) {
  assert.ok(provider === "ollama" ? text.trim() : text.includes("ahoy"), text.slice(0, 200));
}

const tasks = {
  async chat(model, provider) {
    heard(provider, (await generateText({ model, prompt: "say ahoy", maxRetries: 0 })).text);
  },
  async stream(model, provider) {
    let failure;
    const onError = ({ error }) => (failure = error);
    const { textStream } = streamText({ model, prompt: "say ahoy", maxRetries: 0, onError });
    let text = "";
    for await (const piece of textStream) text += piece;
    if (failure) throw failure;
    heard(provider, text);
  },
  async "tool call"(model) {
    const asked = [];
    const get_weather = tool({
      description: "The weather in a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => (asked.push(city), `sunny in ${city}`),
    });
    const prompt = "use get_weather for Oslo";
    const told = await generateText({
      model,
      prompt,
      maxRetries: 0,
      tools: { get_weather },
      stopWhen: stepCountIs(3),
    });
    assert.ok(asked.length > 0 && told.text.trim(), JSON.stringify([asked, told.text]));
  },
};

for (const [provider, name] of Object.entries(models)) {
  for (const [application, make] of Object.entries(factories)) {
    for (const [task, run] of Object.entries(tasks)) {
      let why = null;
      try {
        await run(make(name), provider);
      } catch (error) {
        why = `${error.name}: ${error.message} ${error.responseBody ?? ""}`.slice(0, 500);
      }
      console.log(JSON.stringify({ application, task, provider, why }));
    }
  }
}
