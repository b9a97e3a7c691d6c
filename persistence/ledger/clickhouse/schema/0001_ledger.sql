-- The long memory: every row of the embedded ledger, once, and what is counted of
-- them (package ledger, Mark). {db} is the database.
CREATE TABLE IF NOT EXISTS {db}.event (
  row             UInt64 CODEC(Delta, ZSTD),
  ledger          LowCardinality(String),            -- the embedded ledger that sent it
  id              String CODEC(ZSTD),
  ts              DateTime64(6, 'UTC') CODEC(Delta, ZSTD), -- the event's own time
  received_at     DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
  type            LowCardinality(String),
  entity          String CODEC(ZSTD),
  correlation_id  String CODEC(ZSTD),
  idempotency_key String CODEC(ZSTD),
  origin          LowCardinality(String),
  source          LowCardinality(String),
  tenant          LowCardinality(String),
  tags            Map(LowCardinality(String), String) CODEC(ZSTD),
  body            String CODEC(ZSTD(3)),             -- the whole envelope as JSON

  counted         String CODEC(ZSTD),                -- the entity that it is counted for; '' it is not counted
  step            LowCardinality(String),
  prev            LowCardinality(String),            -- the step before it in its case
  hour            DateTime64(0, 'UTC') CODEC(Delta, ZSTD),
  bucket          Int8,                              -- of the latency; -1 it states none
  latency_ms      Nullable(Float64) CODEC(ZSTD),

  action_id       String CODEC(ZSTD),                -- '' it is no step of an action
  command         LowCardinality(String),
  state           LowCardinality(String),            -- of the action after it
  terminal        UInt8,
  rank            Int8,
  reason          LowCardinality(String),
  error_kind      LowCardinality(String),
  dry_run         UInt8,

  INDEX event_id id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX event_entity entity TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX event_correlation correlation_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX event_type type TYPE set(100) GRANULARITY 4,
  INDEX event_ts ts TYPE minmax GRANULARITY 1
) ENGINE = MergeTree PARTITION BY toYYYYMM(received_at) ORDER BY row
SETTINGS non_replicated_deduplication_window = 1000;

-- Which embedded ledgers have sent, and what is added to their rows.
CREATE TABLE IF NOT EXISTS {db}.mirror (
  id      String,
  cluster String,
  base    UInt64,
  at      DateTime64(6, 'UTC')
) ENGINE = MergeTree ORDER BY id;

CREATE TABLE IF NOT EXISTS {db}.latency (
  entity String,
  step   LowCardinality(String),
  hour   DateTime64(0, 'UTC'),
  bucket Int8,
  n      UInt64
) ENGINE = SummingMergeTree(n) ORDER BY (entity, step, hour, bucket)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS {db}.transition (
  entity String,
  prev   LowCardinality(String),
  step   LowCardinality(String),
  hour   DateTime64(0, 'UTC'),
  n      UInt64
) ENGINE = SummingMergeTree(n) ORDER BY (entity, prev, step, hour)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS {db}.deviation (
  correlation String,
  ts          DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree ORDER BY (correlation, ts)
SETTINGS non_replicated_deduplication_window = 1000;

-- The decision is that of the event that is terminal, else latest, else further in
-- the action's life.
CREATE TABLE IF NOT EXISTS {db}.action (
  id          String,
  command     SimpleAggregateFunction(max, String),
  tenant      SimpleAggregateFunction(max, String),
  correlation SimpleAggregateFunction(max, String),
  dry_run     SimpleAggregateFunction(max, UInt8),
  decision    AggregateFunction(argMax, Tuple(String, String, UInt8, DateTime64(6, 'UTC')), Tuple(UInt8, DateTime64(6, 'UTC'), Int8)),
  requested   SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
  accepted    SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
  retries     SimpleAggregateFunction(sum, UInt64),
  errors      SimpleAggregateFunction(sumMap, Map(String, UInt64)),
  seen        SimpleAggregateFunction(max, DateTime64(0, 'UTC'))
) ENGINE = AggregatingMergeTree ORDER BY id
SETTINGS non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.latency_mv TO {db}.latency AS
SELECT counted AS entity, step, hour, bucket, count() AS n FROM {db}.event WHERE counted != '' GROUP BY entity, step, hour, bucket;

CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.transition_mv TO {db}.transition AS
SELECT counted AS entity, prev, step, hour, count() AS n FROM {db}.event WHERE counted != '' AND prev != '' GROUP BY entity, prev, step, hour;

CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.deviation_mv TO {db}.deviation AS
SELECT correlation_id AS correlation, ts FROM {db}.event WHERE type = 'entropy.deviation' AND correlation_id != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.action_mv TO {db}.action AS
SELECT
  action_id AS id, max(toString(command)) AS command, max(toString(tenant)) AS tenant, max(correlation_id) AS correlation, max(dry_run) AS dry_run,
  argMaxState((toString(state), toString(reason), terminal, ts), (terminal, ts, rank)) AS decision,
  minOrNullIf(ts, type = 'action.requested') AS requested, minOrNullIf(ts, type = 'action.accepted') AS accepted,
  countIf(type = 'action.retrying') AS retries, sumMapIf(map(toString(error_kind), toUInt64(1)), error_kind != '') AS errors, max(hour) AS seen
FROM (SELECT action_id, command, tenant, correlation_id, dry_run, state, reason, terminal, ts, rank, type, error_kind, hour FROM {db}.event WHERE action_id != '' AND state != '')
GROUP BY id;

CREATE VIEW IF NOT EXISTS {db}.action_state_current AS
SELECT a.id AS id, a.command AS command, a.tenant AS tenant, a.correlation AS correlation, a.dry_run AS dry_run, a.d.1 AS state, a.d.2 AS reason, a.d.3 AS terminal,
  a.requested AS requested_at, a.accepted AS accepted_at, if(a.d.3 = 1, a.d.4, NULL) AS finished_at,
  if(d.correlation = '', NULL, d.ts) AS triggered_at, a.retries AS retries, a.errors AS errors
FROM (
  SELECT id, max(command) AS command, max(tenant) AS tenant, max(correlation) AS correlation, max(dry_run) AS dry_run, argMaxMerge(decision) AS d,
    assumeNotNull(min(requested)) AS requested, min(accepted) AS accepted, sum(retries) AS retries, sumMap(errors) AS errors
  FROM {db}.action GROUP BY id HAVING min(action.requested) IS NOT NULL
) AS a ASOF LEFT JOIN (SELECT correlation, ts FROM {db}.deviation WHERE correlation != '') AS d ON a.correlation = d.correlation AND a.requested >= d.ts;

CREATE VIEW IF NOT EXISTS {db}.action_stats AS
SELECT command, tenant, count() AS requested, countIf(state = 'succeeded') AS succeeded, countIf(state = 'failed') AS failed, countIf(state = 'canceled') AS canceled,
  countIf(terminal = 0) AS open, sum(action_state_current.retries) AS retries, succeeded / nullIf(succeeded + failed + canceled, 0) AS success_rate,
  avg(dateDiff('microsecond', requested_at, accepted_at)) / 1e6 AS mtta_sec,
  avgIf(dateDiff('microsecond', triggered_at, finished_at), state = 'succeeded') / 1e6 AS mttr_sec, sumMap(action_state_current.errors) AS errors
FROM {db}.action_state_current WHERE dry_run = 0 GROUP BY command, tenant;

-- By entity, step and hour: how many events, and the entropy of their latencies in bits.
CREATE VIEW IF NOT EXISTS {db}.step_entropy AS
SELECT entity, step, hour, sum(cells.n) AS n, sumIf(cells.n, bucket >= 0) AS timed, countIf(bucket >= 0) AS buckets,
  if(timed = 0, 0, log2(timed) - sumIf(cells.n * log2(cells.n), bucket >= 0) / timed + (buckets - 1) / (2 * timed * log(2))) AS entropy
FROM (SELECT entity, step, hour, bucket, sum(latency.n) AS n FROM {db}.latency GROUP BY entity, step, hour, bucket) AS cells
GROUP BY entity, step, hour;
