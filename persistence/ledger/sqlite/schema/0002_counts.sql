-- What is counted of the events as they come in (package ledger, Mark): statistics
-- do not read the events again, and outlive them.
ALTER TABLE event ADD COLUMN prev TEXT NOT NULL DEFAULT ''; -- the step before it in its case; '' none, or it came out of order

CREATE TABLE latency (            -- of steps, by hour and bucket
  entity TEXT    NOT NULL,
  step   TEXT    NOT NULL,
  hour   INTEGER NOT NULL,        -- since 1970
  bucket INTEGER NOT NULL,        -- -1: no latency is stated
  n      INTEGER NOT NULL,
  PRIMARY KEY (entity, step, hour, bucket)
) STRICT, WITHOUT ROWID;
CREATE TABLE transition (
  entity TEXT    NOT NULL,
  prev   TEXT    NOT NULL,
  step   TEXT    NOT NULL,
  hour   INTEGER NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (entity, prev, step, hour)
) STRICT, WITHOUT ROWID;
CREATE TABLE case_step (          -- the newest step of each case
  id     TEXT    PRIMARY KEY,
  step   TEXT    NOT NULL,
  ts     INTEGER NOT NULL,
  row    INTEGER NOT NULL         -- of the event; the case is forgotten with it
) STRICT, WITHOUT ROWID;

CREATE TABLE action (
  id          TEXT    PRIMARY KEY,
  command     TEXT    NOT NULL,
  tenant      TEXT    NOT NULL,
  correlation TEXT    NOT NULL,
  dry_run     INTEGER NOT NULL,
  state       TEXT    NOT NULL,   -- of the event that is terminal, else latest, else further in the action's life
  reason      TEXT    NOT NULL,
  terminal    INTEGER NOT NULL,
  ts          INTEGER NOT NULL,   -- of that event
  rank        INTEGER NOT NULL,
  requested   INTEGER,            -- microseconds since 1970
  accepted    INTEGER,            -- the first time
  retries     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX action_requested ON action (requested);
CREATE TABLE action_error (
  id   TEXT    NOT NULL,
  kind TEXT    NOT NULL,
  n    INTEGER NOT NULL,
  PRIMARY KEY (id, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE deviation (          -- from which the time to repair is measured
  correlation TEXT    NOT NULL,
  ts          INTEGER NOT NULL,
  PRIMARY KEY (correlation, ts)
) STRICT, WITHOUT ROWID;

-- How a second ledger is kept up: which rows are on their way to it.
CREATE TABLE mirror (
  name    TEXT    PRIMARY KEY,
  id      TEXT    NOT NULL,       -- of this ledger, as the other one knows it
  base    INTEGER NOT NULL,       -- what is added to a row to make it one of the other's; -1: not agreed yet
  sent    INTEGER NOT NULL,       -- up to this row the other one has everything
  pending INTEGER NOT NULL        -- the last row of the batch that may be on its way; sent: there is none
) STRICT;
