-- Format 1. The table event is the truth; what follows it is derived from it and
-- written in the same transaction.

CREATE TABLE meta(
  k TEXT PRIMARY KEY,                 -- cluster_id, epoch, created
  v TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entity(                  -- the others say no: a tenth of the bytes, in order of age
  no   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE           -- "<kind>:<id>"
) STRICT;

CREATE TABLE event(
  seq     INTEGER PRIMARY KEY,        -- gapless from 1, given by the committer
  entity  INTEGER NOT NULL,           -- entity.no
  version INTEGER NOT NULL CHECK(version >= 1),
  type    TEXT NOT NULL,
  body    TEXT NOT NULL,              -- the rest of the envelope, JSON
  crc     INTEGER NOT NULL,           -- CRC-32C of the columns above, with the entity's name
  UNIQUE(entity, version)
) STRICT;

CREATE TABLE batch_seal(              -- one row per transaction that wrote events
  last_seq INTEGER PRIMARY KEY,
  sha256   BLOB NOT NULL              -- H(the seal before, the rows up to last_seq)
) STRICT;

CREATE TABLE job(                     -- what lists, filters and the scheduler's index need; small, for it changes often
  ordinal     INTEGER PRIMARY KEY,    -- entity.no: newest first is ORDER BY ordinal DESC
  id          TEXT NOT NULL,
  version     INTEGER NOT NULL,
  state       TEXT NOT NULL,
  held        INTEGER NOT NULL,
  excluded    INTEGER NOT NULL,       -- 1: some worker may not run it
  retried     INTEGER NOT NULL,       -- 1: it takes up a retry slot
  blocked     INTEGER NOT NULL,       -- 1: it waits for other jobs
  priority    INTEGER NOT NULL,
  name        TEXT NOT NULL,
  queue       TEXT NOT NULL,
  tenant      TEXT NOT NULL,
  handler     TEXT NOT NULL,
  demand      TEXT NOT NULL,          -- JSON of what says where it may run, "" when it demands nothing
  created_ms  INTEGER NOT NULL,       -- Unix milliseconds, as all *_ms
  eligible_ms INTEGER,
  wake_ms     INTEGER,
  finished_ms INTEGER
) STRICT;
CREATE INDEX job_state ON job(state)  -- those assigned and running are in lease
  WHERE state NOT IN ('assigned', 'running');
CREATE INDEX job_queue ON job(queue) WHERE queue <> 'default';
CREATE INDEX job_retried ON job(queue) WHERE retried = 1;
CREATE INDEX job_name  ON job(name) WHERE name <> '';
CREATE INDEX job_wake  ON job(wake_ms) WHERE wake_ms IS NOT NULL;
CREATE INDEX job_blocked ON job(ordinal) WHERE blocked = 1;

CREATE TABLE job_spec(                -- apart from the job, which changes: a spec is written once
  ordinal INTEGER PRIMARY KEY,
  spec    TEXT NOT NULL
) STRICT;

CREATE TABLE job_record(              -- a job without its spec, at a version: what reading it starts from
  ordinal INTEGER PRIMARY KEY,        -- absent: start from nothing. The events since then lead to job.version
  version INTEGER NOT NULL,
  record  TEXT NOT NULL
) STRICT;

CREATE TABLE job_label(
  key     TEXT NOT NULL,
  value   TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  PRIMARY KEY(key, value, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_link(                -- what a job's spec says about others, by the other
  kind    TEXT NOT NULL,              -- "after": it waits for target; "array": it is a member of target
  target  TEXT NOT NULL,              -- ID of a job or an array
  ordinal INTEGER NOT NULL,
  PRIMARY KEY(kind, target, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease(                   -- a row while the job has a live lease: the key forbids a second one
  ordinal       INTEGER PRIMARY KEY,  -- of the job
  assignment_id TEXT NOT NULL UNIQUE,
  worker_id     TEXT NOT NULL,
  incarnation   INTEGER NOT NULL,
  claim_seq     INTEGER NOT NULL
) STRICT;

CREATE TABLE claim(                   -- the newest claim of each worker and what it was given
  worker_id   TEXT PRIMARY KEY,
  incarnation INTEGER NOT NULL,
  claim_seq   INTEGER NOT NULL,
  items       TEXT NOT NULL           -- JSON array of {"job_id", "assignment_id"}
) STRICT, WITHOUT ROWID;

CREATE TABLE doc(                     -- workers and tokens
  kind    TEXT NOT NULL,
  id      TEXT NOT NULL,
  version INTEGER NOT NULL,
  record  TEXT NOT NULL,
  PRIMARY KEY(kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE operation(
  principal TEXT NOT NULL,
  id        TEXT NOT NULL,
  digest    TEXT NOT NULL,
  entity    TEXT NOT NULL,
  at_ms     INTEGER NOT NULL,
  PRIMARY KEY(principal, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE liveness(                -- not history: overwritten
  one      INTEGER PRIMARY KEY CHECK(one = 1),
  saved_ms INTEGER NOT NULL,
  record   TEXT NOT NULL
) STRICT;

CREATE TABLE probe(                   -- written and emptied to find out whether a full disk has room again
  one  INTEGER PRIMARY KEY CHECK(one = 1),
  fill BLOB NOT NULL
) STRICT;
