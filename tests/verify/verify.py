#!/usr/bin/env python3
"""Verifies an export of Agent Shell, from docs/FORMAT.md alone: without its code, without a key, and with
nothing but Python's standard library.

    python3 verify.py [HEADS ...] < EXPORT

It checks every record of every session, prints the head of each session, and ends with 0. Keep what it
prints, elsewhere than the journal: given as HEADS, it is what a later export must still contain. A heads file
has one head a line: session, place and hash, with blanks between them. Several may be given.

It ends with 1 and one line on standard error where something was changed, cut off or removed, and with 2 where
it can't read what it was given.
"""

import hashlib
import json
import re
import struct
import sys

BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NUMBERS = {"seq": 64, "epoch": 64, "version": 16, "time_ms": 64}
TEXTS = {
    "tenant": r"[^\0-\x1f\x7f-\x9f]+",
    "session": rf"[0-7][{BASE32}]{{25}}",
    "append": rf"[0-7][{BASE32}]{{25}}",
    "kind": r"[\s\S]+",
    "actor": r"[0-9a-f]{32}",
    "body_digest": r"[0-9a-f]{64}",
    "hash": r"[0-9a-f]{64}",
    "sealed_body": r"([0-9a-f]{2})*",
}


class Broken(Exception):
    """What was found."""


def once(members):
    """An object whose members each stand once: of two, every reader could take another."""
    if len(dict(members)) < len(members):
        raise ValueError("a member stands twice")
    return dict(members)


def parse(line, number):
    """A line's record, in the form that the format says; `body`, if there is one, is not looked at."""
    try:
        record = json.loads(line.decode(), object_pairs_hook=once)
        for name, bits in NUMBERS.items():
            if type(record[name]) is not int or not 0 <= record[name] < 1 << bits:
                raise ValueError(f"`{name}` is no number of {bits} bits")
        for name, form in TEXTS.items():
            if not re.fullmatch(form, record[name]):
                raise ValueError(f"`{name}` is not what the format says")
            record[name].encode()  # Half of a surrogate pair is no text.
        return record
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
    if r["tenant"] != tenant or r["epoch"] < epoch:
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


def verify(lines, known):
    """Checks an export, and returns the last record of each session."""
    heads = {}
    for number, line in enumerate(lines, 1):
        r = parse(line, number)
        follow(heads.get(r["session"]), r)
        heads[r["session"]] = {name: r[name] for name in ("seq", "hash", "epoch", "tenant")}
        if known.pop((r["session"], r["seq"]), r["hash"]) != r["hash"]:
            raise Broken(f"session {r['session']} was rewritten: record {r['seq']} is not the known one")
    if known:
        session, seq = min(known)
        raise Broken(f"session {session} was cut off or removed: record {seq} was known, and is not there")
    return heads


if __name__ == "__main__":
    try:
        heads = verify(sys.stdin.buffer, read_heads(sys.argv[1:]))
    except Broken as found:
        print(found, file=sys.stderr)
        sys.exit(1)
    except OSError as problem:
        print(f"can't be read: {problem}", file=sys.stderr)
        sys.exit(2)
    for session, head in sorted(heads.items()):
        print(session, head["seq"], head["hash"])
