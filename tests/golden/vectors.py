"""Computes vectors-v1.json, export-v1.jsonl and archive-v1.jsonl from docs/FORMAT.md alone, without any code of Agent Shell.

Needs Python 3 and the package `cryptography` (AES-GCM-SIV). The files that it wrote are never written anew: they
say what version 1 of the format is. `python3 vectors.py FOLDER` writes both into FOLDER, to be compared.
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(raw):
    """Sixteen bytes as 26 characters of Crockford's base 32."""
    number = int.from_bytes(raw, "big")
    return "".join(BASE32[number >> 5 * place & 31] for place in reversed(range(26)))


def canonical(value):
    """Canonical JSON, for values with ASCII names and without extreme numbers."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def keyed_digest(key, domain, *parts):
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in (domain.encode(), *parts):
        mac.update(struct.pack(">Q", len(part)) + part)
    return mac.digest()


def derive(key, purpose):
    return keyed_digest(key, "agent-shell/derive/1", purpose.encode())


def digest(key, purpose, *parts):
    return keyed_digest(derive(key, "digest"), purpose, *parts)


def seal(key, nonce, context, text):
    return b"\x01" + nonce + AESGCMSIV(derive(key, "seal")).encrypt(nonce, text, context)


def text(raw):
    return struct.pack(">I", len(raw)) + raw


def record_hash(previous, r):
    return hashlib.sha256(
        text(b"agent-shell/record/1")
        + previous
        + text(r["tenant"].encode())
        + r["session"]
        + struct.pack(">QQ", r["seq"], r["epoch"])
        + text(r["kind"].encode())
        + struct.pack(">HQ", r["version"], r["time_ms"])
        + r["actor"]
        + r["body_digest"]
    ).digest()


KEY = bytes(range(32))
SESSION = bytes.fromhex("019ac5f0e1d27b3c4d5e6f708192a3b4")
TURN = bytes.fromhex("019ac5f0e1d3aaaabbbbccccddddeeee")
APPEND = bytes.fromhex("019ac5f0e1d400000000000000000001")
INPUT = {"order": 17, "lines": [{"sku": "ä€𝄞\n", "cents": 1999.5}], "note": None, "exact": 9007199254740993}


def export():
    bodies = [
        ("session.opened", b"runtime.........", {"name": "customer-42", "subject": {"user": "customer-42"}}),
        (
            "turn.started",
            digest(KEY, "actor", b"olga")[:16],
            {
                "turn": ulid(TURN),
                "input": {"inline": {"order": 17}},
                "planner": {"named": "default"},
                "posted": 1764000000000,
                "deadline": None,
            },
        ),
        (
            "turn.ended",
            b"runtime.........",
            {"turn": ulid(TURN), "outcome": {"answered": None}, "answer": {"inline": "done"}},
        ),
    ]
    previous = bytes(32)
    lines = []
    for seq, (kind, actor, body) in enumerate(bodies, 1):
        opened = json.dumps(body, separators=(",", ":")).encode()
        sealed = seal(KEY, bytes([seq]) * 12, b"record/1" + SESSION + kind.encode(), opened)
        record = {
            "tenant": "default",
            "session": SESSION,
            "seq": seq,
            "epoch": 1 + seq // 3,
            "kind": kind,
            "version": 1,
            "time_ms": 1764000000000 + seq,
            "actor": actor,
            "body_digest": hashlib.sha256(sealed).digest(),
        }
        previous = record_hash(previous, record)
        written = {name: value.hex() if isinstance(value, bytes) else value for name, value in record.items()}
        written |= {
            "session": ulid(SESSION),
            "hash": previous.hex(),
            "append": ulid(APPEND),
            "sealed_body": sealed.hex(),
        }
        lines.append(json.dumps(written, separators=(",", ":")))
    return lines, previous


def archive(lines, head):
    """The file of the exported session, as if it had left the journal, with a blob and a requirement."""
    first = json.loads(lines[0])
    session, sealed = first["session"], "00010203"
    begin = {"version": 1, "tenant": first["tenant"], "session": session, "seq": len(lines), "hash": head}
    begin |= {"created_ms": first["time_ms"], "key": "11" * 32, "requires": ["22" * 32]}
    blob = {"session": session, "address": "33" * 32, "sealed": sealed}
    lines = [json.dumps({"archive": begin}), *lines, json.dumps({"blob": blob})]
    before = "".join(line + "\n" for line in lines).encode()
    end = {"session": session, "records": len(lines) - 2, "blobs": 1, "sha256": hashlib.sha256(before).hexdigest()}
    return [*lines, json.dumps({"archive_end": end})]


def vectors(head):
    step = b"charge"
    act = hashlib.sha256(
        b"agent-shell/key/1\0" + SESSION + TURN + text(step) + canonical(INPUT)
    ).hexdigest()[:32]

    def call(tool):
        return hashlib.sha256(
            canonical({"domain": "agent-shell/call/1", "tool": tool, "input": INPUT})
        ).hexdigest()

    contract = {"name": "charge", "version": 3, "class": "idempotent", "input": {"type": "object"}}
    tenant_key_id = hashlib.sha256(b"agent-shell/tenant-key/1\0" + b"default")
    return {
        "idempotency_key": act,
        "approval_digest_of_a_call": call(["charge", 3]),
        "approval_digest_of_a_question": call(None),
        "requirement": hashlib.sha256(canonical(contract | {"compensation": None})).hexdigest(),
        "keyed_digest": keyed_digest(KEY, "domain", b"a", b"", b"bc").hex(),
        "subject_key_id": digest(KEY, "subject-key", b"ada").hex(),
        "sealed": seal(KEY, b"nonce-of-12-", b"context", "ä text".encode()).hex(),
        "tenant_key_id": tenant_key_id.hexdigest(),
        "export_head": head.hex(),
    }


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    lines, head = export()
    (folder / "export-v1.jsonl").write_text("".join(line + "\n" for line in lines))
    filed = archive(lines, head.hex())
    (folder / "archive-v1.jsonl").write_text("".join(line + "\n" for line in filed))
    (folder / "vectors-v1.json").write_text(json.dumps(vectors(head), indent=2) + "\n")
