-- Format 3 of a journal file: sessions whose records stand in files.

-- What left: the last record, when, and the SHA-256 of the file. The records after it stand here.
ALTER TABLE sessions ADD COLUMN archived_seq  INTEGER;
ALTER TABLE sessions ADD COLUMN archived_hash BLOB;
ALTER TABLE sessions ADD COLUMN archived_at   INTEGER;
ALTER TABLE sessions ADD COLUMN archived_file BLOB;

-- One row: the largest number of a session that was removed. No number is used again, because readers remember them.
CREATE TABLE sessions_removed (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    newest INTEGER NOT NULL
) STRICT;
INSERT INTO sessions_removed VALUES (1, 0);

-- The turns that go with a session that is removed; it has none that is open.
CREATE INDEX turns_ended ON turns (session) WHERE ended IS NOT NULL;
