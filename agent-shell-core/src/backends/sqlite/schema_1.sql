-- Format 1 of a journal file.
--
-- A session is named by a small number inside the file, so that a record needs two bytes for it and not sixteen.
-- Instants are milliseconds, ids and digests are raw bytes.

CREATE TABLE sessions (
    nr       INTEGER PRIMARY KEY,
    id       BLOB NOT NULL UNIQUE,
    tenant   TEXT NOT NULL,
    name     BLOB NOT NULL,
    sealed   BLOB NOT NULL,
    key      BLOB NOT NULL,
    created  INTEGER NOT NULL,
    epoch    INTEGER NOT NULL DEFAULT 0,
    owner    BLOB,
    status   INTEGER NOT NULL DEFAULT 0,
    wake_at  INTEGER,
    -- Whether mail waits that can move it; kept only while nobody owns the session, for a claim to find it.
    mail     INTEGER NOT NULL DEFAULT 0,
    -- The digests of what it requires, one after another.
    requires BLOB NOT NULL DEFAULT x'',
    UNIQUE (tenant, name)
) STRICT;

-- What a claim looks for, and nothing else stands in these.
CREATE INDEX sessions_ready ON sessions (tenant) WHERE owner IS NULL AND (mail = 1 OR status = 1);
CREATE INDEX sessions_due ON sessions (wake_at) WHERE owner IS NULL AND wake_at IS NOT NULL;

-- Lists, in the order of ids.
CREATE INDEX sessions_owned ON sessions (owner, id) WHERE owner IS NOT NULL;
CREATE INDEX sessions_of_tenant ON sessions (tenant, id);
-- What is sealed under one key, for a purge.
CREATE INDEX sessions_of_key ON sessions (key, id);

-- Records in the order of their commits, only ever added at the end.
CREATE TABLE records (
    nr          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    time        INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    actor       BLOB NOT NULL,
    append      BLOB NOT NULL,
    hash        BLOB NOT NULL,
    body_digest BLOB NOT NULL,
    body        BLOB NOT NULL
) STRICT;

-- Where a session's records stand. An index of its own, in two parts: an entry in the large one would make each
-- session that appends write a page of its own. So the newest entries stand in a part of a few pages, which is
-- merged into the large one when it has grown.
CREATE TABLE places (
    session INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    record  INTEGER NOT NULL,
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE recent_places (
    session INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    record  INTEGER NOT NULL,
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
    session INTEGER NOT NULL,
    address BLOB NOT NULL,
    sealed  BLOB NOT NULL,
    UNIQUE (session, address)
) STRICT;

CREATE TABLE snapshots (
    session      INTEGER PRIMARY KEY,
    seq          INTEGER NOT NULL,
    hash         BLOB NOT NULL,
    fold_version INTEGER NOT NULL,
    sealed       BLOB NOT NULL
) STRICT;

-- Turns, from the moment when their mail was posted.
CREATE TABLE turns (
    turn    BLOB PRIMARY KEY,
    session INTEGER NOT NULL,
    started INTEGER,
    ended   INTEGER
) STRICT, WITHOUT ROWID;

-- The turns of a session that a purge ends.
CREATE INDEX turns_open ON turns (session) WHERE ended IS NULL;

CREATE TABLE actors (
    tenant TEXT NOT NULL,
    actor  BLOB NOT NULL,
    key    BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, actor)
) STRICT, WITHOUT ROWID;

-- Mail that waits. Its place is the order in which it was committed.
CREATE TABLE mail (
    place   INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    lane    INTEGER NOT NULL,
    system  INTEGER NOT NULL,
    id      BLOB NOT NULL,
    kind    TEXT NOT NULL,
    actor   BLOB NOT NULL,
    posted  INTEGER NOT NULL,
    turn    BLOB,
    sealed  BLOB NOT NULL,
    UNIQUE (session, id)
) STRICT;

CREATE INDEX mail_lanes ON mail (session, lane, place, system);

-- Lives as long as the session, also when the mail is gone.
CREATE TABLE dedupe (
    session INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    key     BLOB NOT NULL,
    digest  BLOB NOT NULL,
    turn    BLOB,
    PRIMARY KEY (session, kind, key)
) STRICT, WITHOUT ROWID;

-- Transactions follow one another, so a position is also a place in the order of commits.
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    session  INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    id       BLOB NOT NULL,
    topic    TEXT NOT NULL,
    written  INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    UNIQUE (session, sequence)
) STRICT;

-- The last sequence of sessions whose rows were trimmed.
CREATE TABLE outbox_trimmed (
    session  INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT;

-- One row: the position up to which the outbox is acknowledged.
CREATE TABLE outbox_acknowledged (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_acknowledged VALUES (1, 0);

-- Processes that may own sessions. Time is that of the machine since its boot, named by the boot's id.
CREATE TABLE owners (
    id       BLOB PRIMARY KEY,
    boot     TEXT NOT NULL,
    expires  INTEGER NOT NULL,
    lasts_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
