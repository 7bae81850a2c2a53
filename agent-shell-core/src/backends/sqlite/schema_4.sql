-- Format 4 of a journal file: the ledger, what may be spent and what was.
--
-- Amounts are five numbers one after another: nano-dollars, tokens, calls of tools, steps, milliseconds. A number
-- is written in groups of seven bits, the lowest first, each in a byte whose highest bit says that another follows.

-- Accounts by their kind (0 tenant, 1 user, 2 session, 3 turn) and digest. Three amounts: settled, reserved, overrun.
CREATE TABLE ledger_accounts (
    kind    INTEGER NOT NULL,
    id      BLOB NOT NULL,
    amounts BLOB NOT NULL,
    closed  INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Attempts by their digests; `session` and `turn` are ids, `epoch` that of the owner that reserved.
CREATE TABLE ledger_attempts (
    attempt  BLOB PRIMARY KEY,
    session  BLOB NOT NULL,
    turn     BLOB NOT NULL,
    epoch    INTEGER NOT NULL,
    -- Whether something is reserved.
    live     INTEGER NOT NULL,
    -- The numbers of its first operation and of its latest.
    first    INTEGER NOT NULL,
    latest   INTEGER NOT NULL,
    -- Reserved, settled, overrun, and then the bills.
    spending BLOB NOT NULL,
    -- For each account a byte of its kind, its digest, a byte whose lowest five bits say which dimensions are bounded, and the
    -- bounds.
    accounts BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX ledger_live ON ledger_attempts (session, first) WHERE live = 1;

-- Numbers are not used again. `movement` is a byte whose lowest five bits say which amounts follow: reserved, released,
-- settled, unsettled, overrun.
CREATE TABLE ledger_operations (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    attempt  BLOB,
    session  BLOB,
    accounts BLOB NOT NULL,
    movement BLOB NOT NULL
) STRICT;
