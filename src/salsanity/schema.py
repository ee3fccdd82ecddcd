"""The JSON schema of what spec.json says of options; made from their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from salsanity.options import Described, Kind, described

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TYPES: Final[Mapping[Kind, str]] = {
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "text": "string",
    "path": "string",
    "texts": "array",
    "none": "null",
}


def schema_of(run: type, checks: Mapping[str, type]) -> dict[str, Any]:
    """Return the schema of spec.json as far as it holds options: those of every run, and those of its checks by name.

    Only what a run in a folder may never change stands there, so each is there where it is at all; further keys may follow.
    """
    known = {
        "type": "object",
        "required": ["identity"],
        "properties": {"identity": {"$ref": "#/$defs/run"}},
    }
    return {
        "$schema": DIALECT,
        "title": "Options in spec.json",
        "type": "object",
        "required": ["settings", "checks"],
        "properties": {
            "settings": known,
            "checks": {"type": "array", "minItems": 1, "items": {"allOf": [*map(_where, checks)]}},
        },
        "$defs": {"run": options_schema(run)}
        | {f"check-{name}": options_schema(kind) for name, kind in checks.items()},
    }


def options_schema(kind: type) -> dict[str, Any]:
    """Return the schema of the options of a dataclass that a run in a folder may never change."""
    own = [known for known in described(kind) if known.facts.is_identity]
    return {"type": "object", "properties": {known.name: _value(known) for known in own}}


def _where(name: str) -> dict[str, Any]:
    """Say what a check's settings are, where the check is that of this name."""
    return {
        "if": {"properties": {"name": {"const": name}}},
        "then": {"properties": {"settings": {"$ref": f"#/$defs/check-{name}"}}},
    }


def _value(known: Described) -> dict[str, Any]:
    types = sorted({_TYPES[kind] for kind in known.kinds})
    found: dict[str, Any] = {"description": known.facts.help}
    if types:
        found["type"] = types[0] if len(types) == 1 else types
    if known.facts.choices:
        found["enum"] = [*known.facts.choices, *([None] if "none" in known.kinds else [])]
    if "texts" in known.kinds:
        found["items"] = {"type": "string"}
    if not known.is_required:
        default = known.default
        found["default"] = list(default) if isinstance(default, tuple) else default
    return found | _bounds(known)


def _bounds(known: Described) -> dict[str, float]:
    ends = (
        ("exclusiveMinimum", "exclusiveMaximum") if known.facts.is_open else ("minimum", "maximum")
    )
    found = zip(ends, (known.facts.least, known.facts.most), strict=True)
    return {name: bound for name, bound in found if bound is not None}
