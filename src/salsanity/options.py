"""An option stands once: its name, default, help, range and kind are metadata of a dataclass field.

The command line, `--config`, the tables in docs/reference.md and the JSON schema of settings come from there. Annotations
are read as they are written, so that to know the options of a class nothing has to be loaded that its annotations speak of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, final

from salsanity.errors import SpecError

_KEY: Final = "salsanity"

Kind = Literal["bool", "int", "float", "text", "texts", "path", "none"]

_KINDS: Final[Mapping[str, Kind]] = {
    "bool": "bool",
    "int": "int",
    "float": "float",
    "str": "text",
    "tuple[str, ...]": "texts",
    "Path": "path",
    "None": "none",
    "NoneType": "none",
}


@final
@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name, type and default.

    `choices`: the allowed texts. `least`, `most`: the range of a number, both included unless `is_open` (then neither).
    `is_identity`: whether a run in a folder may never change it. `on_command_line`: whether there is a flag for it.
    `words`: texts with a meaning of their own where others are allowed too; alone in a list, they are no list. `unset`:
    the text that stands for None. `variable`: the variable of the environment that is read where nothing else is said.
    """

    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    is_open: bool = False
    is_identity: bool = True
    on_command_line: bool = True
    words: tuple[str, ...] = ()
    unset: str = ""
    variable: str = ""


@final
@dataclass(frozen=True)
class Described:
    """An option with its name, its default (`MISSING`: it must be given), and the kinds of values that it takes."""

    name: str
    default: Any
    kinds: frozenset[Kind]
    facts: Option

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def range(self) -> str:
        """Return `from 1 to 7` or `between 0 and 1`, or nothing."""
        least, most = self.facts.least, self.facts.most
        if least is None or most is None:
            return ""
        joined = "between {} and {}" if self.facts.is_open else "from {} to {}"
        return joined.format(_shown(least), _shown(most))

    def takes(self, value: Any) -> bool:
        """Whether `value` is of a kind that the option takes, one of the choices, and within the range."""
        if self.facts.choices and value is not None:
            return value in self.facts.choices
        return not self.kinds or any(_is_of(value, kind, self.facts) for kind in self.kinds)


def option(default: Any, help: str, **facts: Any) -> Any:
    """Return a dataclass field with its option's facts; see `Option`. Default `MISSING`: it must be given."""
    return field(default=default, metadata={_KEY: Option(help, **facts)})


def described(kind: type) -> tuple[Described, ...]:
    """Return the options of a dataclass in order; fields without metadata are none."""
    return tuple(
        Described(f.name, f.default, _kinds_of(f), f.metadata[_KEY])
        for f in fields(kind)
        if _KEY in f.metadata
    )


def options_of(kind: type) -> dict[str, Option]:
    """Return the facts of a dataclass's options by name, in order."""
    return {known.name: known.facts for known in described(kind)}


def identity_of(value: Any) -> dict[str, Any]:
    """Return the options of a dataclass value that a run in a folder may never change."""
    return {n: getattr(value, n) for n, o in options_of(type(value)).items() if o.is_identity}


def as_identified(value: Any) -> Any:
    """Return a dataclass value with every option that a run in a folder may change at its default; others as they are."""
    if not is_dataclass(value) or isinstance(value, type):
        return value
    free = {n for n, facts in options_of(type(value)).items() if not facts.is_identity}
    usual = {
        f.name: f.default for f in fields(value) if f.name in free and f.default is not MISSING
    }
    return replace(value, **usual) if usual else value


def checked(value: Any) -> None:
    """Refuse values of a dataclass's options that are of another type, outside the range or no choice.

    Raises `SpecError` that names the option, what was expected and what came.
    """
    for known in described(type(value)):
        given = getattr(value, known.name)
        if not known.takes(given):
            raise SpecError(f"expected {known.name} {_wanted(known)}, got {given!r}")


def from_mapping(kind: type, values: Mapping[str, Any]) -> Any:
    """Build a dataclass of options from a mapping such as a TOML table or what a command line gives.

    Unknown keys are errors, lists become tuples. What the option calls by a word of its own may be given so: `auto` for None.
    """
    known = {one.name: one for one in described(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise SpecError(f"unknown key {unknown[0]!r}; expected some of {', '.join(sorted(known))}")
    return kind(**{name: _read(known[name], value) for name, value in values.items()})


def _read(known: Described, value: Any) -> Any:
    value = tuple(value) if isinstance(value, list) else value
    if isinstance(value, tuple) and len(value) == 1 and value[0] in known.facts.words:
        return value[0]
    if isinstance(value, str) and known.facts.unset:
        return None if value == known.facts.unset else _number(value)
    if isinstance(value, str) and "path" in known.kinds:
        return Path(value)
    return value


def _number(text: str) -> Any:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,20}", text) else text


def _kinds_of(known: Field[Any]) -> frozenset[Kind]:
    """Read the kinds off an annotation, as text; a text of certain choices is of one kind, whatever its type is called."""
    written: Any = known.type
    text = written if isinstance(written, str) else _spelled(written)
    wrapped = re.fullmatch(r"(?:typing\.)?Optional\[(.*)\]", text)
    parts = f"{wrapped[1]} | None" if wrapped else text
    found = {_KINDS[p.strip()] for p in parts.split("|") if p.strip() in _KINDS}
    return frozenset({*found, "text"} if known.metadata[_KEY].choices else found)


def _spelled(written: Any) -> str:
    return written.__name__ if type(written) is type else str(written).replace("pathlib.", "")


def _is_of(value: Any, kind: Kind, facts: Option) -> bool:
    is_right: Mapping[Kind, bool] = {
        "none": value is None,
        "bool": isinstance(value, bool),
        "int": _is_whole(value) and _is_within(value, facts),
        "float": _is_number(value) and _is_within(value, facts),
        "text": isinstance(value, str),
        "texts": isinstance(value, tuple) and all(isinstance(part, str) for part in value),
        "path": isinstance(value, str | Path),
    }
    return is_right[kind]


def _wanted(known: Described) -> str:
    if known.facts.choices:
        return f"to be one of {', '.join(known.facts.choices)}"
    words: Mapping[Kind, str] = {
        "bool": "true or false",
        "int": f"a whole number {known.range}".strip(),
        "float": f"a number {known.range}".strip(),
        "text": "text",
        "texts": "texts",
        "path": "the path of a file or folder",
    }
    named = [words[kind] for kind in words if kind in known.kinds]
    if known.facts.unset:
        named.insert(0, known.facts.unset)
    return f"as {either(named)}"


def either(words: Iterable[str]) -> str:
    """Join words to `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_within(value: float, facts: Option) -> bool:
    above = facts.least is None or (value > facts.least if facts.is_open else value >= facts.least)
    below = facts.most is None or (value < facts.most if facts.is_open else value <= facts.most)
    return above and below


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
