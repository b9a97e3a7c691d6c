-- The embedded ledger: what happened, in the one envelope, for those who analyze it.
CREATE TABLE event (
  row         INTEGER PRIMARY KEY,     -- place in the ledger, rising
  id          TEXT    NOT NULL UNIQUE, -- the event's; one that comes twice is kept once
  ts          INTEGER NOT NULL,        -- the event's own time, microseconds since 1970
  entity      TEXT    NOT NULL,
  type        TEXT    NOT NULL,
  received_at INTEGER NOT NULL,        -- microseconds since 1970
  origin      TEXT    NOT NULL,
  body        TEXT    NOT NULL CHECK (json_valid(body))
) STRICT;
CREATE INDEX event_entity ON event (entity, row);
CREATE INDEX event_type ON event (type, row);
CREATE TABLE dead_letter (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  received_at INTEGER NOT NULL,
  origin      TEXT    NOT NULL,
  reason      TEXT    NOT NULL,
  raw         BLOB    NOT NULL,
  digest      BLOB    NOT NULL UNIQUE, -- SHA-256 of raw: what is sent again is kept once
  times       INTEGER NOT NULL         -- how often it came
) STRICT;
-- How far a relay has come, in the same transaction as what it brought.
CREATE TABLE cursor (
  source TEXT    PRIMARY KEY,
  epoch  INTEGER NOT NULL,
  seq    INTEGER NOT NULL
) STRICT;
