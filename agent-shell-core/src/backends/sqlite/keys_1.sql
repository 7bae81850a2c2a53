-- Format 1 of a file of keys.
--
-- Rows are added at the end and never move, so that no copy of a key is left where a page was rearranged.

CREATE TABLE keys (
    nr           INTEGER PRIMARY KEY,
    id           BLOB NOT NULL UNIQUE,
    -- Null once it is destroyed: the row is the tombstone.
    key          BLOB,
    created_at   INTEGER NOT NULL,
    destroyed_at INTEGER
) STRICT;
