// Executes Cypher statements in an embedded engine. Reads {"module", "runs"} as JSON
// from the standard input, where each run is a list of {cypher, params}, and writes
// for each run what the database holds after it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { module, runs } = JSON.parse(readFileSync(0, "utf8"));
const kuzu = createRequire(import.meta.url)(module);
const db = new kuzu.Database(":memory:");
const connection = new kuzu.Connection(db);

async function all(result) {
  const last = Array.isArray(result) ? result[result.length - 1] : result;
  return last.getAll();
}

async function execute({ cypher, params }) {
  const prepared = await connection.prepare(cypher);
  if (!prepared.isSuccess()) throw new Error(`${prepared.getErrorMessage()}\n${cypher}`);
  return all(await connection.execute(prepared, params));
}

// What other databases need no schema for.
await connection.query(`CREATE NODE TABLE EntropyStep(id STRING PRIMARY KEY, kind STRING, role STRING, step STRING,
  count DOUBLE, share DOUBLE, entropy DOUBLE, median_ms DOUBLE, version INT64)`);
await connection.query(`CREATE REL TABLE FOLLOWED_BY(FROM EntropyStep TO EntropyStep, count DOUBLE, p DOUBLE, bits DOUBLE,
  gap_median_ms DOUBLE, gap_p99_ms DOUBLE, changed_at STRING, was DOUBLE, is_now DOUBLE, version INT64)`);

const held = [];
for (const run of runs) {
  for (const statement of run) await execute(statement);
  const nodes = await all(await connection.query(`MATCH (s:EntropyStep)
    RETURN s.id AS id, s.kind AS kind, s.role AS role, s.step AS step, s.count AS count, s.share AS share, s.entropy AS entropy, s.median_ms AS median_ms ORDER BY id`));
  const edges = await all(await connection.query(`MATCH (a:EntropyStep)-[n:FOLLOWED_BY]->(b:EntropyStep)
    RETURN a.id AS from_id, b.id AS to_id, n.count AS count, n.p AS p, n.bits AS bits, n.gap_median_ms AS gap_median_ms, n.gap_p99_ms AS gap_p99_ms,
    n.changed_at AS changed_at, n.was AS was, n.is_now AS is_now ORDER BY from_id, to_id`));
  held.push({ nodes, edges });
}
process.stdout.write(JSON.stringify(held), () => process.exit(0));
