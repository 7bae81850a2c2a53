#!/usr/bin/env python3
"""Verifies an export or archives of Agent Shell, from docs/FORMAT.md alone: without its code, without a key, and with
nothing but Python's standard library.

    python3 verify.py [HEADS ...] < EXPORT

It checks every record of every session, prints the head of each session, and ends with 0. An archive file is
checked alike; give several, the older one of a session first, and an export after them. Of a session that an export
says is archived, and whose file is not given, it says so on standard error.

Keep what it prints, elsewhere than the journal: given as HEADS, it is what a later export must still contain. A
heads file has one head a line: session, place and hash, with blanks between them. Several may be given.

It ends with 1 and one line on standard error where something was changed, cut off or removed, and with 2 where
it can't read what it was given.
"""

import hashlib
import json
import re
import struct
import sys

BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NUMBERS = {"seq": 64, "epoch": 64, "version": 16, "time_ms": 64, "at_ms": 64, "created_ms": 64, "records": 64,
           "blobs": 64}
TEXTS = {
    "tenant": r"[^\0-\x1f\x7f-\x9f]+",
    "session": rf"[0-7][{BASE32}]{{25}}",
    "append": rf"[0-7][{BASE32}]{{25}}",
    "kind": r"[\s\S]+",
    "actor": r"[0-9a-f]{32}",
    "body_digest": r"[0-9a-f]{64}",
    "hash": r"[0-9a-f]{64}",
    "sealed_body": r"([0-9a-f]{2})*",
    "address": r"[0-9a-f]{64}",
    "sealed": r"([0-9a-f]{2})*",
    "sha256": r"[0-9a-f]{64}",
    "file": r"[0-9a-f]{64}",
    "key": r"[0-9a-f]{64}",
}
RECORD = (
    "seq", "epoch", "version", "time_ms", "tenant", "session", "append", "kind", "actor", "body_digest", "hash",
    "sealed_body",
)
OTHERS = {
    "archive": ("version", "tenant", "session", "seq", "hash", "created_ms", "key"),
    "blob": ("session", "address", "sealed"),
    "archive_end": ("session", "records", "blobs", "sha256"),
    "archived": ("session", "seq", "hash", "at_ms", "file"),
}


class Broken(Exception):
    """What was found."""


def once(members):
    """An object whose members each stand once: of two, every reader could take another."""
    if len(dict(members)) < len(members):
        raise ValueError("a member stands twice")
    return dict(members)


def check(members, forms):
    """Checks members against the numbers and the texts that an object must have."""
    for name in forms:
        value = members[name]
        if name in NUMBERS:
            if type(value) is not int or not 0 <= value < 1 << NUMBERS[name]:
                raise ValueError(f"`{name}` is no number of {NUMBERS[name]} bits")
        else:
            if not re.fullmatch(TEXTS[name], value):
                raise ValueError(f"`{name}` is not what the format says")
            value.encode()  # Half of a surrogate pair is no text.


def parse(line, number):
    """What a line is, and its members, in the form that the format says; `body`, if there is one, is not looked at."""
    try:
        members = json.loads(line.decode(), object_pairs_hook=once)
        what = next(iter(members)) if isinstance(members, dict) and len(members) == 1 else None
        if what not in OTHERS:
            check(members, RECORD)
            return "record", members
        members = members[what]
        check(members, OTHERS[what])
        if what == "archive":
            if members["version"] > 1:
                raise ValueError(f"the archive is of version {members['version']}")
            if type(members["requires"]) is not list:
                raise ValueError("`requires` is no list")
            for one in members["requires"]:
                check({"hash": one}, ["hash"])
        return what, members
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise Broken(f"line {number} is not a record: {problem}")


def text(raw):
    return struct.pack(">I", len(raw)) + raw


def ulid(name):
    number = 0
    for character in name:
        number = number << 5 | BASE32.index(character)
    return number.to_bytes(16, "big")


def record_hash(before, r):
    return hashlib.sha256(
        text(b"agent-shell/record/1")
        + bytes.fromhex(before)
        + text(r["tenant"].encode())
        + ulid(r["session"])
        + struct.pack(">QQ", r["seq"], r["epoch"])
        + text(r["kind"].encode())
        + struct.pack(">HQ", r["version"], r["time_ms"])
        + bytes.fromhex(r["actor"])
        + bytes.fromhex(r["body_digest"])
    ).hexdigest()


def follow(last, r):
    """Checks that a record follows from the one before it in its session, `None` for the first."""
    seq, before, epoch, tenant = (0, "00" * 32, 0, r["tenant"])
    if last:
        seq, before, epoch, tenant = last["seq"], last["hash"], last["epoch"], last["tenant"]
    at = f"session {r['session']}, record {r['seq']}"
    if r["seq"] != seq + 1:
        raise Broken(f"{at} stands where record {seq + 1} should: a record was removed or added")
    if tenant not in (None, r["tenant"]) or r["epoch"] < epoch:
        raise Broken(f"{at} is of another chain")
    if hashlib.sha256(bytes.fromhex(r["sealed_body"])).hexdigest() != r["body_digest"]:
        raise Broken(f"{at}: its body was changed")
    if record_hash(before, r) != r["hash"]:
        raise Broken(f"{at}: its header or its hash was changed")


def read_heads(paths):
    """The heads that must be there: hashes by session and place. Place 0 stands before the first record."""
    known = {}
    for path in paths:
        with open(path, encoding="ascii", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                head = re.fullmatch(rf"({TEXTS['session']}) ([0-9]+) ({TEXTS['hash']})\s*", line)
                if not head:
                    raise OSError(f"{path}, line {number}: not a session, a place and a hash")
                if known.setdefault((head[1], int(head[2])), head[3]) != head[3]:
                    raise Broken(f"session {head[1]}: two heads are known at record {head[2]}")
    return {where: digest for where, digest in known.items() if where[1] > 0}


def last_of(r):
    return {name: r[name] for name in ("seq", "hash", "epoch", "tenant")}


class Archive:
    """An archive file, as far as it was read."""

    def __init__(self, line, members):
        self.head = members
        self.last, self.records, self.blobs = None, 0, 0
        self.bytes = hashlib.sha256(line)

    def end(self, members, line):
        session, seq = self.head["session"], self.head["seq"]
        where = f"the archive of session {session}"
        counts = (members["session"], members["records"], members["blobs"])
        if counts != (session, self.records, self.blobs) or self.records != seq:
            raise Broken(f"{where} holds more or less than it says")
        if members["sha256"] != self.bytes.hexdigest():
            raise Broken(f"{where}: its bytes were changed")
        if not self.last or (self.last["seq"], self.last["hash"]) != (seq, self.head["hash"]):
            raise Broken(f"{where}: its records do not end at its head")
        self.bytes.update(line)
        return self.last


def meet(known, met, filed, r):
    """A record takes the place of what is known of it: a head, and the last record of an archive."""
    session, seq = r["session"], r["seq"]
    if known.get((session, seq), r["hash"]) != r["hash"]:
        raise Broken(f"session {session} was rewritten: record {seq} is not the known one")
    if (session, seq) in known:
        met.add((session, seq))
    last = filed.get(session)
    if last and last["seq"] == seq and last["hash"] != r["hash"]:
        raise Broken(f"session {session} was rewritten: record {seq} is not that of its archive")


def verify(lines, known):
    """Checks exports and archives, and returns the last record of each session, and the heads up to which sessions
    are said to be archived, and whose records were not seen."""
    heads, filed, unseen, files, archive = {}, {}, {}, {}, None
    met = set()
    for number, line in enumerate(lines, 1):
        what, r = parse(line, number)
        session = r["session"]
        if archive and (session != archive.head["session"] or what in ("archive", "archived")):
            raise Broken(f"line {number} stands in an archive of which it is no part")
        if not archive and what in ("blob", "archive_end"):
            raise Broken(f"line {number} stands in no archive, of which it must be part")
        if what == "archive":
            if session in heads:
                raise Broken(f"the archive of session {session} stands after the export: give it first")
            if session in filed and filed[session]["seq"] > r["seq"]:
                raise Broken(f"the archive of session {session} stands after one that holds more")
            archive = Archive(line, r)
            continue
        if what == "archive_end":
            filed[session] = archive.end(r, line)
            file = archive.bytes.hexdigest()
            if file in files.setdefault((session, r["records"]), set()):
                raise Broken(f"the archive of session {session} stands twice")
            files[session, r["records"]].add(file)
            archive = None
        elif archive and what == "blob":
            archive.blobs += 1
        elif archive:
            if r["tenant"] != archive.head["tenant"]:
                raise Broken(f"the archive of session {session} says that its records are of another tenant")
            follow(archive.last, r)
            meet(known, met, filed, r)
            archive.last, archive.records = last_of(r), archive.records + 1
        elif what == "archived":
            if session in heads or r["seq"] == 0:
                raise Broken(f"session {session} is archived, and records of it stand before the line that says so")
            if session in filed:
                heads[session] = filed.pop(session)
            else:
                heads[session] = unseen[session] = {**r, "epoch": 0, "tenant": None}
            if (heads[session]["seq"], heads[session]["hash"]) != (r["seq"], r["hash"]):
                raise Broken(f"the archive of session {session} ends elsewhere than the journal says")
            if session not in unseen and r["file"] not in files[session, r["seq"]]:
                raise Broken(f"the archive of session {session} is not the file that the journal let it leave in")
            meet(known, met, filed, r)
        else:
            follow(heads.get(session), r)
            meet(known, met, filed, r)
            heads[session] = last_of(r)
        if archive:
            archive.bytes.update(line)
    if archive:
        raise Broken(f"the archive of session {archive.head['session']} was cut off: its last line is missing")
    for session, last in filed.items():
        if heads.setdefault(session, last)["seq"] < last["seq"]:
            raise Broken(f"session {session} holds less than its archive: records were cut off")
    missing = [at for at in known if at not in met and at[1] >= unseen.get(at[0], {"seq": 0})["seq"]]
    if missing:
        session, seq = min(missing)
        raise Broken(f"session {session} was cut off or removed: record {seq} was known, and is not there")
    return heads, unseen


if __name__ == "__main__":
    try:
        heads, unseen = verify(sys.stdin.buffer, read_heads(sys.argv[1:]))
    except Broken as found:
        print(found, file=sys.stderr)
        sys.exit(1)
    except OSError as problem:
        print(f"can't be read: {problem}", file=sys.stderr)
        sys.exit(2)
    for session, head in sorted(heads.items()):
        print(session, head["seq"], head["hash"])
    for session, head in sorted(unseen.items()):
        print(f"session {session} is archived up to record {head['seq']}: check its file, too", file=sys.stderr)
