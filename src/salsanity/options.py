"""An option stands once: its name, default, help, range and kind are metadata of a dataclass field.

The command line, `--config`, the table in docs/reference.md and the JSON schema of settings come from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final, final, get_type_hints

from salsanity.errors import SpecError

_KEY: Final = "salsanity"


@final
@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name, type and default.

    `choices`: the allowed texts. `least`, `most`: the range of a number, both included unless `is_open` (then neither).
    `is_identity`: whether a run in a folder may never change it. `on_command_line`: whether there is a flag for it.
    """

    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    is_open: bool = False
    is_identity: bool = True
    on_command_line: bool = True


def option(default: Any, help: str, **facts: Any) -> Any:
    """Return a dataclass field with its option's facts; see `Option`."""
    return field(default=default, metadata={_KEY: Option(help, **facts)})


def options_of(kind: type) -> dict[str, Option]:
    """Return the options of a dataclass by name, in order; fields without metadata are none."""
    return {f.name: f.metadata[_KEY] for f in fields(kind) if _KEY in f.metadata}


def identity_of(value: Any) -> dict[str, Any]:
    """Return the options of a dataclass value that a run in a folder may never change."""
    return {n: getattr(value, n) for n, o in options_of(type(value)).items() if o.is_identity}


def default_of(kind: type, name: str) -> Any:
    """Return an option's default; None where it has none."""
    (found,) = (f for f in fields(kind) if f.name == name)
    return None if found.default is MISSING else found.default


def checked(value: Any) -> None:
    """Refuse values of a dataclass's options that are of another type, outside the range or no choice.

    Raises `SpecError` that names the option, what was expected and what came.
    """
    hints = get_type_hints(type(value))
    for name, facts in options_of(type(value)).items():
        _check(name, getattr(value, name), facts, str(hints[name]))


def from_mapping(kind: type, values: Mapping[str, Any]) -> Any:
    """Build a dataclass of options from a mapping such as a TOML table; unknown keys are errors, lists become tuples."""
    unknown = sorted(set(values) - set(options_of(kind)))
    if unknown:
        known = ", ".join(sorted(options_of(kind)))
        raise SpecError(f"unknown key {unknown[0]!r}; expected some of {known}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _check(name: str, value: Any, facts: Option, hint: str) -> None:
    if value is None and "None" in hint:
        return
    if facts.choices and value not in facts.choices:
        raise SpecError(f"expected {name} to be one of {', '.join(facts.choices)}, got {value!r}")
    for kind, is_right, words in _kinds(facts):
        if _is_of(hint, kind) and not is_right(value):
            raise SpecError(f"expected {name} as {words}, got {value!r}")


def _is_of(hint: str, kind: str) -> bool:
    plain = {part.strip() for part in hint.replace("<class '", "").replace("'>", "").split("|")}
    texts = {"str", "tuple[str, ...]"}
    return (plain - {"None"}) <= texts if kind == "text" else kind in plain


def _kinds(facts: Option) -> Iterator[tuple[str, Any, str]]:
    yield "bool", lambda v: isinstance(v, bool), "true or false"
    yield "int", lambda v: _is_whole(v) and _is_within(v, facts), f"a whole number{_range(facts)}"
    yield "float", lambda v: _is_number(v) and _is_within(v, facts), f"a number{_range(facts)}"
    yield "text", _is_text, "text or texts"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(isinstance(part, str) for part in values)


def _is_within(value: float, facts: Option) -> bool:
    above = facts.least is None or (value > facts.least if facts.is_open else value >= facts.least)
    below = facts.most is None or (value < facts.most if facts.is_open else value <= facts.most)
    return above and below


def _range(facts: Option) -> str:
    if facts.least is None or facts.most is None:
        return ""
    joined = "between {} and {}" if facts.is_open else "from {} to {}"
    return " " + joined.format(f"{facts.least:g}", f"{facts.most:g}")
