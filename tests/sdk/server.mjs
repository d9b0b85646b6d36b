// A server on the TypeScript SDK over HTTP.
// node server.mjs PORT [--json] [--stateless] [--tls CERT KEY]
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import express from "express";
import { z } from "zod";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";

const [port, ...more] = process.argv.slice(2);
const has = (flag) => more.includes(flag);
const text = (text) => ({ content: [{ type: "text", text }] });

function make() {
  const server = new McpServer({ name: "sdk-server", version: "1" });
  server.registerTool("echo", { inputSchema: { message: z.string() } }, async ({ message }) => text(`Echo: ${message}`));
  server.registerTool("big", { inputSchema: { bytes: z.number() } }, async ({ bytes }) => text("x".repeat(bytes)));
  server.registerTool("fail", { inputSchema: {} }, async () => { throw new Error("boom"); });
  server.registerTool("slow", { inputSchema: { ms: z.number(), steps: z.number() } }, async ({ ms, steps }, extra) => {
    const progressToken = extra._meta?.progressToken;
    for (let step = 1; step <= steps; step++) {
      await new Promise((done) => setTimeout(done, ms / steps));
      if (progressToken !== undefined) await extra.sendNotification({ method: "notifications/progress", params: { progressToken, progress: step, total: steps } });
    }
    return text("slow done");
  });
  return server;
}

const sessions = new Map();
const app = express();
app.use(express.json({ limit: "16mb" }));
app.all("/mcp", async (request, response) => {
  let transport = sessions.get(request.headers["mcp-session-id"]);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: has("--stateless") ? undefined : randomUUID,
      enableJsonResponse: has("--json"),
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    await make().connect(transport);
  }
  await transport.handleRequest(request, response, request.body);
});
const at = more.indexOf("--tls");
const server = at < 0 ? http.createServer(app) : https.createServer({ cert: fs.readFileSync(more[at + 1]), key: fs.readFileSync(more[at + 2]) }, app);
server.listen(Number(port), "127.0.0.1");
