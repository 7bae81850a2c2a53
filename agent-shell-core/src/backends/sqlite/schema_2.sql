-- Format 2 of a journal file: who does what for all processes, and how far consumers of events are.

-- A duty belongs to its owner for as long as that one stands among the owners.
CREATE TABLE duties (
    name  TEXT PRIMARY KEY,
    owner BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Up to which sequence a group of consumers has done a session's events, and up to which it has seen them. A handler
-- may raise `done` itself, in one transaction with its effect (docs/GUARANTEES.md). Sessions are named by their ids.
CREATE TABLE marks (
    consumers TEXT NOT NULL,
    session   BLOB NOT NULL,
    done      INTEGER NOT NULL,
    seen      INTEGER NOT NULL,
    PRIMARY KEY (consumers, session)
) STRICT, WITHOUT ROWID;

CREATE INDEX marks_behind ON marks (consumers, session) WHERE seen > done;
