// A client on the TypeScript SDK that writes what really happened, as seen between the SDK and its transport.
// node client.mjs TRUTH v1|v2 [--call TOOL JSON] -- CMD ARGS... | URL
// A URL is spoken to over Streamable HTTP, one that ends in /sse over the transport of 2024-11-05.
// v1 speaks the protocol with a handshake, v2 the one without where the server does.
import fs from "node:fs";

const split = process.argv.indexOf("--");
const [truth, sdk, ...only] = process.argv.slice(2, split);
const [command, ...args] = process.argv.slice(split + 1);
const v2 = sdk === "v2";
const kind = !command.startsWith("http") ? "stdio" : command.endsWith("/sse") ? "sse" : "http";
const [file, name] = {
  stdio: ["stdio.js", "StdioClientTransport"],
  sse: ["sse.js", "SSEClientTransport"],
  http: ["streamableHttp.js", "StreamableHTTPClientTransport"],
}[kind];
// The SDK for Python takes no larger event than 1 MiB, and some servers say a result twice.
const large = kind === "stdio" ? 1 << 20 : 400 << 10;
let Client, Transport, schemas = {};
if (v2) {
  const all = await import("@modelcontextprotocol/client");
  Client = all.Client;
  Transport = kind === "stdio" ? (await import("@modelcontextprotocol/client/stdio"))[name] : all[name];
} else {
  ({ Client } = await import("@modelcontextprotocol/sdk/client/index.js"));
  Transport = (await import(`@modelcontextprotocol/sdk/client/${file}`))[name];
  schemas = await import("@modelcontextprotocol/sdk/types.js");
}

const flying = new Map();
const key = (ours, id) => `${ours} ${JSON.stringify(id)}`;
function end(ours, id, outcome, code) {
  const flight = flying.get(key(ours, id));
  if (!flight) return;
  flying.delete(key(ours, id));
  const { m, start } = flight;
  const latency = Number(process.hrtime.bigint() - start) / 1e3;
  fs.appendFileSync(truth, JSON.stringify({
    client_pid: process.pid, method: m.method, tool: m.method === "tools/call" ? m.params.name : null, id: m.id,
    outcome, code: code ?? null, mono_start_ns: Number(start), latency_us: ours ? latency : null,
    direction: ours ? "client_to_server" : "server_to_client",
  }) + "\n");
}
function tap(m, ours) {
  if (m.method !== undefined && m.id !== undefined) flying.set(key(ours, m.id), { m, start: process.hrtime.bigint() });
  else if (m.method === "notifications/cancelled") end(ours, m.params.requestId, "cancelled");
  else if (m.id !== undefined) end(!ours, m.id, m.error ? "rpc_error" : m.result?.isError ? "tool_error" : "ok", m.error?.code);
}

class Tapped extends Transport {
  send(message, ...rest) {
    tap(message, true);
    return super.send(message, ...rest);
  }
  set onmessage(handler) {
    this.handler = handler && ((message, ...rest) => { tap(message, false); handler(message, ...rest); });
  }
  get onmessage() {
    return this.handler;
  }
}

const options = { capabilities: { sampling: {}, elicitation: {}, roots: {} }, ...(v2 ? { versionNegotiation: { mode: "auto" } } : {}) };
const client = new Client({ name: "sdk-client", version: "1" }, options);
const serve = (schema, method, handler) => client.setRequestHandler(v2 ? method : schema, handler);
serve(schemas.CreateMessageRequestSchema, "sampling/createMessage", async () => ({ role: "assistant", model: "none", content: { type: "text", text: "sampled" } }));
serve(schemas.ElicitRequestSchema, "elicitation/create", async () => ({ action: "decline" }));
serve(schemas.ListRootsRequestSchema, "roots/list", async () => ({ roots: [] }));

const transport = new Tapped(kind !== "stdio" ? new URL(command) : { command, args, env: process.env, stderr: "inherit" });
// A field of the base class would hide the accessors of ours.
if (Object.hasOwn(transport, "onmessage")) delete transport.onmessage;
await client.connect(transport);

// Errors are in the truth; here they are none of our business.
const attempt = async (work) => { try { await work(); } catch (e) { console.error(String(e.message).slice(0, 200)); } };
const call = (name, args = {}, more) => v2 ? client.callTool({ name, arguments: args }, more) : client.callTool({ name, arguments: args }, undefined, more);
const names = new Set((await client.listTools()).tools.map((tool) => tool.name));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

if (only.length) {
  await attempt(() => call(only[1], JSON.parse(only[2])));
} else {
  for (let n = 0; n < 3; n++) await attempt(() => call("echo", { message: `hello ${n} \u00e9\u4e16 "q"\n` }));
  await attempt(() => call("nope"));
  for (const name of ["fail", "noisy"]) if (names.has(name)) await attempt(() => call(name));
  const slow = names.has("slow") ? ["slow", { ms: 200, steps: 4 }] : ["trigger-long-running-operation", { duration: 1, steps: 4 }];
  await attempt(() => call(...slow, { onprogress: () => {} }));
  if (!v2) await attempt(() => client.ping());
  if (names.has("trigger-sampling-request")) await attempt(() => call("trigger-sampling-request", { prompt: "hi", maxTokens: 5 }));
  await attempt(() => call("echo", { message: "x".repeat(large) }));
  await Promise.all(Array.from({ length: 30 }, (_, n) => attempt(() => call("echo", { message: `c${n}` }))));
  const abort = new AbortController();
  setTimeout(() => {
    abort.abort("the test says so");
    // Over HTTP, v2 says it by closing the response.
    for (const { m } of flying.values()) end(true, m.id, "cancelled");
  }, 150);
  await attempt(() => call(slow[0], slow[0] === "slow" ? { ms: 1500, steps: 2 } : { duration: 2, steps: 2 }, { signal: abort.signal }));
  await sleep(200);
  await attempt(() => call("echo", { message: "after" }));
}
await client.close();
