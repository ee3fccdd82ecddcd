"""Values as JSON, piece by piece, so that what is large is never held as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any


def plain(value: Any) -> Any:
    """Turn mappings, sequences and numbers into JSON values; NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        return plain(value.item())
    return str(value)


def pieces(value: Any, margin: str = "\n") -> Iterator[str]:
    """Yield the text that `json.dump(plain(value), indent=1)` writes; items of collections are asked for one by one."""
    if isinstance(value, Mapping):
        named = ((f"{json.dumps(str(key))}: ", item) for key, item in value.items())
        yield from _between("{}", named, margin)
    elif (
        isinstance(value, Collection) and not isinstance(value, str) and not hasattr(value, "item")
    ):
        yield from _between("[]", (("", item) for item in value), margin)
    else:
        yield json.dumps(plain(value), allow_nan=False)


def _between(brackets: str, items: Iterable[tuple[str, Any]], margin: str) -> Iterator[str]:
    """Yield items with their names, each on a line of its own."""
    before = brackets[0]
    for name, item in items:
        yield f"{before}{margin} {name}"
        yield from pieces(item, f"{margin} ")
        before = ","
    yield f"{margin}{brackets[1]}" if before == "," else brackets
