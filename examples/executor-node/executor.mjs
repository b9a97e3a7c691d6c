// An executor of actions with the official NATS client for Node.js, by
// docs/PROTOCOL.md. One attempt of each command at a time.
//
//   npm ci
//   NATS_URL=nats://127.0.0.1:4222 EXECUTOR_NAME=node-1 EXECUTOR_PASSWORD=… \
//   EXECUTOR_SPOOL=/var/lib/node-1 node executor.mjs

import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, openSync, closeSync, fsyncSync, readdirSync, readFileSync, renameSync, rmSync, writeSync, existsSync } from "node:fs";
import { join } from "node:path";
import { connect, headers } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";

const STREAM = "ACTIONS_ORDERS";
const RESULTS = new Set(["action.succeeded", "action.failed", "action.canceled"]);
const RESEND = 1000 * Number(process.env.EXECUTOR_RESEND ?? 1);
const RESEND_MAX = 30_000;

/** A failed attempt: a kind for the taxonomy, and what it means for the next. */
class Failure extends Error {
  constructor(message, { kind = "error", final = false, retryAfterMS = 0 } = {}) {
    super(message);
    Object.assign(this, { kind, final, retryAfterMS });
  }
}

const later = (ms, signal) =>
  new Promise((done) => {
    const t = setTimeout(done, ms);
    signal?.addEventListener("abort", () => { clearTimeout(t); done(); }, { once: true });
  });

/** What was begun and how it ended, on disk until the control plane has answered. */
class Spool {
  constructor(dir) {
    this.dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }
  path(attempt) { return join(this.dir, createHash("sha256").update(attempt).digest("hex").slice(0, 40) + ".json"); }
  put(record) {
    const path = this.path(record.order.attempt_id);
    const f = openSync(path + ".new", "w", 0o600);
    writeSync(f, JSON.stringify(record));
    fsyncSync(f);
    closeSync(f);
    renameSync(path + ".new", path);
    const d = openSync(this.dir, "r");
    fsyncSync(d);
    closeSync(d);
  }
  has(attempt) { return existsSync(this.path(attempt)); }
  forget(attempt) { rmSync(this.path(attempt), { force: true }); }
  all() { return readdirSync(this.dir).filter((n) => n.endsWith(".json")).map((n) => JSON.parse(readFileSync(join(this.dir, n), "utf8"))); }
}

class Executor {
  constructor({ url, name, password, spool, handlers }) {
    Object.assign(this, { url, name, password, handlers, spool: new Spool(spool) });
    this.boot = randomUUID();
    this.sent = 0;
    this.waiting = new Map(); // report id -> what to do with its verdict
    this.tasks = new Map(); // attempt id -> { stop(why), bound }
    this.back = new AbortController(); // aborted when the connection is back
    this.closing = new AbortController();
    this.posts = new Set(); // results that are not answered
  }

  async run() {
    // Waiting for the first connection is waiting for ever as well.
    this.nc = await connect({ servers: this.url, user: this.name, pass: this.password, name: `executor ${this.name}`,
      inboxPrefix: `_INBOX_${this.name}`, maxReconnectAttempts: -1, waitOnFirstConnect: true, reconnectTimeWait: 500,
      pingInterval: 10_000, ignoreAuthErrorAbort: true });
    this.js = jetstream(this.nc);
    this.watch();
    const verdicts = this.nc.subscribe(`actions.verdict.${this.name}`, { callback: (err, msg) => err ? this.fail(err) : this.verdict(msg.json()) });
    for (const record of this.spool.all()) { // what an earlier process left
      record.result ??= this.envelope("action.failed", record, { error: "the executor ended while the attempt ran", kind: "executor_lost" });
      this.deliver(record);
    }
    await Promise.all(Object.keys(this.handlers).map((command) => this.pull(command)));
    await Promise.race([Promise.all(this.posts), later(5000)]);
    verdicts.unsubscribe();
    await this.nc.close();
    if (this.forbidden) throw this.forbidden;
  }

  close() {
    this.closing.abort();
    for (const t of this.tasks.values()) t.stop("stopped");
  }

  fail(err) {
    this.forbidden ??= new Error(`${err.message}: the credential must be named ${this.name} and have its commands`);
    this.close();
  }

  /** The server says beside a call that it was forbidden; the call only times out. */
  async watch() {
    for await (const s of this.nc.status()) {
      if (s.type === "reconnect") {
        this.back.abort();
        this.back = new AbortController();
      } else if (s.type === "error" && /permission/i.test(String(s.error))) {
        this.fail(s.error);
      }
    }
  }

  verdict(v) {
    this.waiting.get(v.report)?.(v);
    const task = this.tasks.get(v.attempt_id);
    if (v.cancel) task?.stop("canceled");
    else if (v.verdict === "superseded") task?.stop("superseded");
  }

  envelope(type, { order, request }, attrs) {
    return { id: randomUUID(), ts: new Date().toISOString(), event_type: type, entity_id: request.entity_id, correlation_id: request.correlation_id,
      causation_id: request.id, source: { system: "executor", ns: { executor: this.name } }, tags: request.tags,
      attrs: { action_id: order.action_id, attempt_id: order.attempt_id, executor: this.name, ...attrs }, schema: 1 };
  }

  subject(type) { return `actions.${RESULTS.has(type) ? "result" : "progress"}.${this.name}`; }

  /** Repeats a report until there is a verdict; undefined when signal ends it first. */
  async tell(ev, signal) {
    const data = JSON.stringify(ev);
    let answer;
    const answered = new AbortController();
    this.waiting.set(ev.id, (v) => { answer = v; answered.abort(); });
    try {
      for (let wait = RESEND; !answer && !signal?.aborted; wait = Math.min(2 * wait, RESEND_MAX)) {
        const h = headers();
        h.set("Nats-Msg-Id", `${ev.id}:${this.boot}.${++this.sent}`);
        const again = AbortSignal.any([answered.signal, this.back.signal, ...(signal ? [signal] : [])]);
        try {
          this.nc.publish(this.subject(ev.event_type), data, { headers: h, reply: `_INBOX_${this.name}.ack` });
        } catch { /* not connected: it is repeated */ }
        if (!answer) await later(wait, again);
      }
      return answer;
    } finally {
      this.waiting.delete(ev.id);
    }
  }

  async pull(command) {
    let consumer;
    while (!this.closing.signal.aborted) {
      try {
        consumer ??= await this.js.consumers.get(STREAM, `exec-${command}`);
        const msg = await consumer.next({ expires: 2000 });
        if (msg) await this.take(command, msg);
      } catch (err) {
        consumer = undefined;
        console.error(`executor: no orders of ${command} can be had now: ${err.message}`);
        await later(500, AbortSignal.any([this.closing.signal, this.back.signal]));
      }
    }
  }

  async take(command, msg) {
    const arrived = performance.now();
    let record;
    try {
      const { attrs: order, ...request } = msg.json();
      if (order.command !== command || !order.action_id || !order.attempt_id) throw new Error("it is another's");
      record = { order, request };
    } catch (err) {
      msg.term(`not understood: ${err.message}`);
      return;
    }
    const { order } = record;
    const held = this.tasks.get(order.attempt_id);
    if (held || this.spool.has(order.attempt_id)) {
      if (!held || held.bound) msg.ack();
      return;
    }
    const task = { bound: false, stop: (why) => { task.why ??= why; task.end.abort(); }, end: new AbortController() };
    this.tasks.set(order.attempt_id, task);
    const inHand = setInterval(() => msg.working(), 10_000);
    try {
      const ttl = AbortSignal.timeout(Math.floor(Math.min(Math.max(0, order.remaining_ms - (performance.now() - arrived)), 2 ** 31 - 1)));
      const verdict = await this.tell(this.envelope("action.accepted", record, {}), ttl);
      task.bound = verdict?.verdict === "accepted";
      await msg.ackAck().catch(() => {}); // else it comes again, and is known
      if (!verdict) this.end(record, "action.failed", { error: "no verdict came within the TTL", kind: "expired" });
      else if (task.bound) await this.carryOut(record, task);
    } finally {
      clearInterval(inHand);
      this.tasks.delete(order.attempt_id);
    }
  }

  async carryOut(record, task) {
    const { order } = record;
    if (order.dry_run) {
      this.end(record, "action.failed", { error: `${order.command} has no dry run`, kind: "unsupported", final: true });
      return;
    }
    this.spool.put(record);
    const over = new AbortController();
    const started = this.tell(this.envelope("action.started", record, {}), over.signal);
    let news = {};
    const word = () => {
      try { this.nc.publish(this.subject("action.progress"), JSON.stringify(this.envelope("action.progress", record, news))); } catch { /* the next one */ }
    };
    const alive = setInterval(() => task.end.signal.aborted || word(), (order.heartbeat_ms || 30_000) / 3);
    const timer = order.timeout_ms > 0 ? setTimeout(() => task.stop("timeout"), Math.min(order.timeout_ms, 2 ** 31 - 1)) : undefined;
    const begin = performance.now();
    let type, attrs;
    try {
      const result = await this.handlers[order.command]({ order, args: order.args ?? {}, signal: task.end.signal,
        progress: (percent, message) => { news = { percent, message }; word(); } });
      type = "action.succeeded";
      attrs = { result };
    } catch (err) {
      if (task.why === "canceled") {
        type = "action.canceled";
        attrs = { message: err.message };
      } else {
        type = "action.failed";
        const kind = { timeout: "timeout", stopped: "executor_stopped" }[task.why] ?? err.kind ?? "panic";
        attrs = { error: String(err.message).slice(0, 1000), kind, final: err.final ?? false, retry_after_ms: err.retryAfterMS ?? 0 };
      }
    }
    clearInterval(alive);
    clearTimeout(timer);
    attrs.duration_ms = Math.round(performance.now() - begin);
    await Promise.race([started, later(1000)]); // the journal tells the story in order
    over.abort();
    this.end(record, type, attrs);
  }

  /** Writes a result down, reports it until it is answered, and forgets it. */
  end(record, type, attrs) {
    const ended = { ...record, result: this.envelope(type, record, attrs) };
    this.spool.put(ended);
    this.deliver(ended);
  }

  deliver(record) {
    const post = this.tell(record.result).then((v) => {
      if (v) this.spool.forget(record.order.attempt_id);
      this.posts.delete(post);
    });
    this.posts.add(post);
  }
}

// What this executor can do.
const handlers = {
  async greet({ args, order }) {
    if (typeof args.name !== "string" || Object.keys(args).length !== 1) {
      throw new Failure("greet has the argument name, a text, and no other", { kind: "invalid", final: true });
    }
    return { greeting: `Hello, ${args.name}!`, idempotency_key: order.action_id };
  },
  async count({ args, signal, progress }) {
    const to = Number(args.to ?? 10);
    for (let i = 0; i < to; i++) {
      progress((100 * i) / to, `at ${i}`);
      await later(1000 * Number(args.every ?? 0.1), signal);
      if (signal.aborted) throw new Failure("it was asked to end");
    }
    return { counted: to };
  },
  async flaky({ order }) {
    if (order.attempt === 1) throw new Failure("not yet", { kind: "unavailable", retryAfterMS: 10 });
    return { attempt: order.attempt };
  },
};

const executor = new Executor({ url: process.env.NATS_URL, name: process.env.EXECUTOR_NAME, password: process.env.EXECUTOR_PASSWORD,
  spool: process.env.EXECUTOR_SPOOL, handlers });
for (const s of ["SIGTERM", "SIGINT"]) process.on(s, () => executor.close());
executor.run().then(() => process.exit(0), (err) => { console.error(`executor: ${err.message}`); process.exit(1); });
