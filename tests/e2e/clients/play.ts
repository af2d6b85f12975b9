// Plays three runs through openapi-fetch with the types that openapi-typescript wrote, and prints what it saw as JSON.

import { randomUUID } from "node:crypto";
import { env } from "node:process";

import createClient from "openapi-fetch";

import type { components, paths } from "./openapi.ts";

type Schemas = components["schemas"];

const client = createClient<paths>({ baseUrl: env.GYOZA_URL!, headers: { "X-API-Key": env.GYOZA_API_KEY! } });
const image = `example/${randomUUID()}`;
const seen: [string, unknown][] = [];

function see(step: string, value: unknown): void {
  seen.push([step, value]);
}

function path(id: string): { path: { id: string } } {
  return { path: { id } };
}

/** The run, which a caller that set no preference gets whole. */
function whole(data: Schemas["OpRunOrMinimal"] | undefined): Schemas["OpRun"] {
  if (data === undefined || !("image" in data)) throw new Error(`No whole run: ${JSON.stringify(data)}`);
  return data;
}

async function post(id: string, body: Schemas["AddEventRequest"], prefer?: string): Promise<string> {
  const header = prefer === undefined ? {} : { Prefer: prefer };
  const { data, error } = await client.POST("/runs/{id}/events", { params: { ...path(id), header }, body });
  if (data === undefined) return error.code;
  return `${"image" in data ? "OpRun" : "OpRunMinimal"} ${data.state}`;
}

const body: Schemas["CreateRunRequest"] = {
  image,
  priority: 7,
  inputs: { widths: [320, 640] },
  constraints: { cpu: 2, ram_mb: null },
  retry_policy: { max_attempts: 2 },
  event_delivery: { topic: "clients", attributes: { team: "ä", tier: 2, urgent: true } },
};
const create = () => client.POST("/runs", { params: { header: { "Idempotency-Key": `create ${image}` } }, body });
const run = whole((await create()).data);
see("create", run.state);
see("inputs", run.inputs);
see("attributes", run.event_delivery?.attributes);
see("create again", whole((await create()).data).id === run.id);

const started = (attempt: number) =>
  post(run.id, { type: "STARTED", payload: { worker_id: "w" }, attempt });
see("ASSIGNED", await post(run.id, { type: "ASSIGNED" }));
see("STARTED", await started(1));
see("INFO", await post(run.id, { type: "INFO", msg: "hello" }));
see("ERROR", await post(run.id, { type: "ERROR", msg: 404 }));
see("PROGRESS", await post(run.id, { type: "PROGRESS", msg: 40 }, "return=minimal"));
see("FAILED", await post(run.id, { type: "FAILED", payload: { error_message: "disk full" } }));
see("STARTED late", await started(1));
see("STARTED again", await started(2));
see("COMPLETED", await post(run.id, { type: "COMPLETED", payload: { outputs: { answer: 42 } } }));

see("get", (await client.GET("/runs/{id}", { params: path(run.id) })).data?.outputs);
const events = await client.GET("/runs/{id}/events", { params: { ...path(run.id), query: { after_seq: -1 } } });
see("events", events.data?.events.map((event) => event.type));
const part = await client.GET("/runs/{id}/events", { params: { ...path(run.id), query: { after: 0, limit: 1 } } });
see("events in part", [part.data?.events.map((event) => event.type), part.data?.has_more, part.data?.state]);
const attempts = await client.GET("/runs/{id}/attempts", { params: path(run.id) });
see("attempts", attempts.data?.map((attempt) => attempt.state));
see("patch", whole((await client.PATCH("/runs/{id}", { params: path(run.id), body: { priority: 9 } })).data).priority);
see("cancel too late", (await client.POST("/runs/{id}/cancel", { params: path(run.id) })).error?.code);

const other = whole((await client.POST("/runs", { body: { image } })).data);
see("priority", other.priority);
see("cancel", (await client.POST("/runs/{id}/cancel", { params: path(other.id) })).data?.state);
see("retry", (await client.POST("/runs/{id}/retry", { params: path(other.id) })).data?.state);
see("ASSIGNED", await post(other.id, { type: "ASSIGNED" }));
see("RETRIED", await post(other.id, { type: "RETRIED" }));
see("CANCELLED", await post(other.id, { type: "CANCELLED" }));

const queue: string = randomUUID();
const waiting = whole((await client.POST("/runs", { body: { image, queue } })).data);
const claimBody: Schemas["ClaimRequest"] = {
  worker_id: "w",
  queues: [queue],
  capacity: { cpu: 4, ram_mb: null },
  lease_s: 60,
};
const claim = () =>
  client.POST("/runs/claim", { params: { header: { "Idempotency-Key": `claim ${image}` } }, body: claimBody });
const claimed = whole((await claim()).data);
see("claim", [claimed.state, claimed.lease_s, claimed.id === waiting.id]);
see("claim again", whole((await claim()).data).id === claimed.id);
const inVain = await client.POST("/runs/claim", { body: claimBody });
see("claim in vain", inVain.response.status === 204 ? null : inVain.error?.code);

async function beat(worker_id: string): Promise<unknown> {
  const body = { attempt: 1, worker_id };
  const { data, error } = await client.POST("/runs/{id}/heartbeat", { params: path(claimed.id), body });
  return data === undefined ? error.code : [data.state, data.lease_s, data.cancel_by !== null];
}

see("heartbeat", await beat("w"));
see("heartbeat of another", await beat("x"));
see("start without an attempt", await post(claimed.id, { type: "STARTED", payload: { worker_id: "w" } }));
const attempt = claimed.current_attempt;
see("start", await post(claimed.id, { type: "STARTED", payload: { worker_id: "w" }, attempt }));
const ask: Schemas["CancelRequest"] = { mode: "ask", grace_s: 30 };
const asked = whole((await client.POST("/runs/{id}/cancel", { params: path(claimed.id), body: ask })).data);
see("ask", [asked.cancel_by !== null, asked.cancel?.outcome]);
see("heartbeat asked", await beat("w"));
see("stop", await post(claimed.id, { type: "CANCELLED", attempt }, "return=minimal"));
see("heartbeat late", await beat("w"));
const stopped = (await client.GET("/runs/{id}", { params: path(claimed.id) })).data;
const tries = (await client.GET("/runs/{id}/attempts", { params: path(claimed.id) })).data;
see("outcome", [stopped?.cancel?.outcome, tries?.[0]?.assigned_at !== null, stopped?.execution_summary.reason]);

const name = `play-${randomUUID()}`;
const named = { path: { name } };
const smallest: Schemas["CreateDefinitionRequest"] = { name, version: "1.0.0", image: "busybox:1" };
const keyed = { header: { "Idempotency-Key": `define ${name}` } };
const made = (await client.POST("/definitions", { params: keyed, body: smallest })).data;
see("define", [made?.version, made?.revision]);
const put: Schemas["PutDefinitionRequest"] = {
  version: "1.0.0",
  image: "busybox:1",
  input_specs: { text: { type: "string" }, width: { type: "int", default: 640 } },
};
const ifMatch = { header: { "If-Match": "*" } };
const changed = await client.PUT("/definitions/{name}", { params: { ...named, ...ifMatch }, body: put });
see("define again", changed.data?.revision);
const ofVersion = { ...named, query: { version: "1.0.0" } };
see("definition", (await client.GET("/definitions/{name}", { params: ofVersion })).data?.input_specs.width);
const runFrom = (inputs: Record<string, unknown>) =>
  client.POST("/definitions/{name}/runs", { params: named, body: { inputs } });
const copied = whole((await runFrom({ text: "ä" })).data);
see("run from a definition", [copied.state, copied.inputs, copied.op_revision]);
const wrong = (await runFrom({ colour: "blue" })).error?.detail;
see("wrong inputs", Array.isArray(wrong) ? wrong.map((fault) => fault.type) : wrong);
const definitions = await client.GET("/definitions", { params: { query: { limit: 100 } } });
see("definitions", definitions.data?.data[0]?.version !== "");
const versions = await client.GET("/definitions/{name}/versions", { params: named });
see("versions", versions.data?.data.map((row) => row.version));
await client.DELETE("/definitions/{name}", { params: named });
see("deleted", (await client.GET("/definitions/{name}", { params: named })).error?.code);

const query = { image, state: "COMPLETED", "created[gte]": 0 } as const;
const page = await client.GET("/runs", { params: { query } });
const kind = (row: object) => ("events" in row ? "OpRun" : "inputs" in row ? "OpRunRow" : "RunSummary");
see("list", page.data?.data.map((row) => [row.id === run.id, kind(row)]));
const summaries = await client.GET("/runs", { params: { query: { ...query, fields: "summary" } } });
see("summaries", summaries.data?.data.map((row) => [row.id === run.id, kind(row)]));
see("unknown", (await client.GET("/runs/{id}", { params: path(randomUUID()) })).error?.code);

console.log(JSON.stringify(seen));
