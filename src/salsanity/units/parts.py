"""The parts of a value, and how objects are read without running any code of theirs.

A generator of `Facts` yields the `Part`s of a value, receives their digests, and returns JSON values; `identity` drives it.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from salsanity.units.origins import Module


@final
@dataclass(frozen=True, eq=False)
class Part:
    """A part of a value, and how it is reached, as in Python.

    `apart`: nothing around it may show in its digest. `lenient`: in it, what cannot be identified counts by its kind alone,
    since how it was made stands in a source that counts.
    """

    step: str
    value: object
    apart: bool = False
    lenient: bool = False


@final
@dataclass(frozen=True, eq=False)
class Code:
    """Stands in a part for a module whose code counts."""

    module: Module


Facts = Generator[Part, str, Any]


class Unidentified(Exception):
    """A value that another process could not recognise; the message says what it is."""


PLAIN: Final = (bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented))


def plain(value: object) -> str | None:
    """Return what stands for a number, a text or bytes; None for anything else."""
    kind = type(value)
    if kind not in PLAIN:
        return None
    if kind is int:
        return f"int {value:x}"
    if kind is bytes:
        return f"bytes {hashlib.sha256(value).hexdigest()}"  # type: ignore[arg-type]
    return f"{kind.__name__} {value!r}"


def called(kind: type) -> str:
    """Return the name of a class with its module, whatever its own class does with attributes."""
    read = type.__dict__["__module__"].__get__, type.__dict__["__qualname__"].__get__
    return ".".join(str(get(kind)) for get in read)


def bases_of(kind: type) -> tuple[type, ...]:
    """Return a class and all that it is made from."""
    found: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
    return found


def attributes_of(value: object) -> dict[str, object]:
    """Read an object's slots and dictionary; what is unset or computed is no part of it."""
    found: dict[str, object] = {}
    for kind in reversed(bases_of(type(value))):
        for name, entry in list(kind.__dict__.items()):
            if type(entry) is types.MemberDescriptorType and not name.startswith("__"):
                try:
                    found[name] = entry.__get__(value)
                except AttributeError:
                    continue
    return {**found, **dictionary_of(value)}


def dictionary_of(value: object) -> dict[str, object]:
    """Read an object's dictionary alone."""
    for kind in bases_of(type(value)):
        entry = kind.__dict__.get("__dict__")
        if type(entry) is types.GetSetDescriptorType:
            return dict(entry.__get__(value))
    return {}


def by_name(held: Mapping[Any, object], *, lenient: bool = False) -> Facts:
    """Parts by name, in the order of the names: that of an object's dictionary means nothing."""
    found = []
    for name in sorted(held, key=str):
        found.append([str(name), (yield Part(f".{name}", held[name], lenient=lenient))])
    return found


def one_by_one(parts: list[Part]) -> Facts:
    """Digests of parts, in their order."""
    found = []
    for part in parts:
        found.append((yield part))
    return found


def nothing_else(*facts: Any) -> Facts:
    """Facts of a value without parts."""
    yield from ()
    return list(facts)
