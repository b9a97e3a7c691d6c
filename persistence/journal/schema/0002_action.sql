CREATE TABLE action(                  -- what lists of actions need; the rest is in doc
  ordinal INTEGER PRIMARY KEY,        -- entity.no: newest first is ORDER BY ordinal DESC
  id      TEXT NOT NULL UNIQUE,
  state   TEXT NOT NULL,
  command TEXT NOT NULL,
  tenant  TEXT NOT NULL,
  target  TEXT NOT NULL               -- the entity that its request names
) STRICT;

CREATE INDEX action_state ON action(state);
CREATE INDEX action_command ON action(command);
CREATE INDEX action_target ON action(target) WHERE target <> '';
