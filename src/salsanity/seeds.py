"""`seed_for`: the only source of randomness."""

from __future__ import annotations

import hashlib


def seed_for(root: int, *names: str | int) -> int:
    """Derive a 63-bit seed from `root` and a path of names, by SHA-256.

    Equal arguments give equal seeds on every machine; paths that differ in any name, or in where one
    name ends and the next begins, give unrelated seeds.
    """
    digest = hashlib.sha256()
    for part in (root, *names):
        encoded = f"{type(part).__name__}:{part}".encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return int.from_bytes(digest.digest()[:8], "little") >> 1
