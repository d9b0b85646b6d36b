// The client of `cargo xtask demo`, on the TypeScript SDK.
// usage: node demo-client.mjs SERVER ARGS...
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { CreateMessageRequestSchema, ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [command, ...args] = process.argv.slice(2);
const client = new Client(
  { name: "demo-client", version: "1.0.0" },
  { capabilities: { sampling: {}, roots: {} } },
);
client.setRequestHandler(ListRootsRequestSchema, async () => ({ roots: [] }));
// The server asks its client for a completion: a call in the other direction.
client.setRequestHandler(CreateMessageRequestSchema, async () => {
  await new Promise((resolve) => setTimeout(resolve, 120));
  return { role: "assistant", model: "demo", content: { type: "text", text: "A sampled answer." } };
});

await client.connect(new StdioClientTransport({ command, args, stderr: "ignore" }));
const { tools } = await client.listTools();
const offered = new Set(tools.map((tool) => tool.name));
const call = (name, input = {}, options) => client.callTool({ name, arguments: input }, undefined, options);
// What fails is part of the demonstration: the agent shows it, the client goes on.
const attempt = (promise) => promise.catch(() => undefined);

for (const word of ["one", "two", "three"]) await call("echo", { message: `hello ${word}` });
if (offered.has("get-sum")) await call("get-sum", { a: 20, b: 22 });
await attempt(client.listPrompts());
const { resources = [] } = (await attempt(client.listResources())) ?? {};
if (resources.length > 0) await attempt(client.readResource({ uri: resources[0].uri }));

// Slow, with progress notifications on the way.
if (offered.has("trigger-long-running-operation")) {
  await call("trigger-long-running-operation", { duration: 1, steps: 5 }, { onprogress: () => {} });
}
await attempt(call("no-such-tool"));
if (offered.has("trigger-sampling-request")) {
  await attempt(call("trigger-sampling-request", { prompt: "hello", maxTokens: 16 }));
}
// A message of a megabyte, twenty calls at once, and one that the client gives up.
await call("echo", { message: "x".repeat(1 << 20) });
await Promise.all(Array.from({ length: 20 }, (_, i) => call("echo", { message: `concurrent ${i}` })));
if (offered.has("trigger-long-running-operation")) {
  const giveUp = AbortSignal.timeout(300);
  await attempt(call("trigger-long-running-operation", { duration: 2, steps: 2 }, { signal: giveUp }));
}
await client.ping();
await client.close();
process.exit(0);
