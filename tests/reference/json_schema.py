"""A slow, literal reading of the keywords of JSON Schema (draft 2020-12) that salsanity's schema has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYWORDS = {
    *("$schema", "title", "description", "default", "$defs"),
    *("type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("items", "minItems", "required", "properties", "allOf", "if", "then", "$ref"),
}

TYPES: Mapping[str, Any] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v == int(v),
}


def complaints(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str = ""
) -> list[str]:
    """Say where `value` is not as `schema` has it; `root`: the document in which `$ref` points."""
    assert set(schema) <= KEYWORDS, set(schema) - KEYWORDS
    found = []
    if "$ref" in schema:
        found += complaints(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(TYPES[kind](value) for kind in kinds):
        return [f"{at}: no {kinds}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: not {schema['const']}")
    if TYPES["number"](value):
        found += [
            f"{at}: {name}"
            for name in BOUNDS
            if name in schema and not BOUNDS[name](value, schema[name])
        ]
    if isinstance(value, list):
        found += [f"{at}: too few"] if len(value) < schema.get("minItems", 0) else []
        for i, item in enumerate(value):
            found += complaints(item, schema.get("items", {}), root, f"{at}[{i}]")
    if isinstance(value, dict):
        found += [f"{at}: no {name}" for name in schema.get("required", []) if name not in value]
        for name, part in schema.get("properties", {}).items():
            if name in value:
                found += complaints(value[name], part, root, f"{at}.{name}")
    for part in schema.get("allOf", []):
        found += complaints(value, part, root, at)
    if "if" in schema and not complaints(value, schema["if"], root, at):
        found += complaints(value, schema["then"], root, at)
    return found


BOUNDS: Mapping[str, Any] = {
    "minimum": lambda v, bound: v >= bound,
    "maximum": lambda v, bound: v <= bound,
    "exclusiveMinimum": lambda v, bound: v > bound,
    "exclusiveMaximum": lambda v, bound: v < bound,
}
