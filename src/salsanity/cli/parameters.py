"""Options of the command line, made from the metadata of dataclasses (`salsanity.options`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Final, final

import typer
from typer.core import TyperCommand

from salsanity.cli.values import listed
from salsanity.options import Described, described, from_mapping


@final
@dataclass(frozen=True)
class Group:
    """Options of a dataclass that a command has: all, or those that are named.

    `in_file`: whether a file of options may hold them. `is_hidden`: read but not shown, so that one that does not belong here is
    refused with the name of what it belongs to.
    """

    title: str
    kind: type
    names: tuple[str, ...] = ()
    in_file: bool = False
    is_hidden: bool = False

    @property
    def options(self) -> tuple[Described, ...]:
        """Return what is known of each option."""
        return tuple(o for o in described(self.kind) if not self.names or o.name in self.names)


@final
@dataclass(frozen=True)
class Given:
    """What was said on a command line, by the names of options; what was not said is not there."""

    values: Mapping[str, Any]
    groups: tuple[Group, ...]

    def of(self, kind: type) -> Any:
        """Build the dataclass of a group from what was said; raises `SpecError` for wrong values."""
        return from_mapping(kind, self._of(group for group in self.groups if group.kind is kind))

    @property
    def shared(self) -> dict[str, Any]:
        """Return what could also stand in a file of options."""
        return self._of(group for group in self.groups if group.in_file)

    def _of(self, groups: Iterator[Group]) -> dict[str, Any]:
        names = {known.name for group in groups for known in group.options}
        return {name: value for name, value in self.values.items() if name in names}


@final
@dataclass(frozen=True)
class Command:
    """A command whose options are those of dataclasses; `groups` is called when the command is, since it may load torch."""

    run: Callable[[Given], int]
    groups: Callable[[], tuple[Group, ...]]

    def function(self) -> Callable[..., int]:
        """Return the function that typer takes, with a parameter for every option."""
        groups = self.groups()

        def command(**values: Any) -> int:
            said = {name: value for name, value in values.items() if value not in (None, [])}
            return self.run(Given(said, groups))

        parameters = list(_parameters(groups))
        return _described_as(self.run, command, parameters)

    def listed(self) -> Callable[..., int]:
        """Return a function without options, which is enough for a list of commands."""

        def command() -> int:
            return 0

        return _described_as(self.run, command, [])


@final
class Sectioned(TyperCommand):
    """A command whose help has a section for each group of options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under the titles of their groups."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = getattr(parameter, "rich_help_panel", None) or "Help"
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def flag(known: Described) -> str:
    """Return how an option is written on a command line."""
    return f"--{known.name.replace('_', '-')}"


def told(known: Described) -> str:
    """Return an option's help with its choices, range and default."""
    facts = [*allowed(known), *(f"default: {default}" for default in usual(known))]
    return f"{known.facts.help} [{'; '.join(facts)}]" if facts else known.facts.help


def allowed(known: Described) -> Iterator[str]:
    """Yield the texts that an option takes, or its range, in words; nothing where all are allowed."""
    if known.facts.choices:
        yield ", ".join(known.facts.choices)
    if known.facts.words:
        yield f"{', '.join(known.facts.words)}, ..."
    if known.range:
        yield known.range


def usual(known: Described) -> Iterator[str]:
    """Yield an option's default in words, where it has one that says something."""
    if known.default is None and known.facts.unset:
        yield known.facts.unset
    elif not known.is_required and known.default not in (None, ()) and known.default is not False:
        yield str(known.default)


def _parameters(groups: tuple[Group, ...]) -> Iterator[Parameter]:
    """Yield a parameter for every option; one that several groups have is shown in the first."""
    seen: set[str] = set()
    for group in sorted(groups, key=lambda group: group.is_hidden):
        for known in group.options:
            if known.facts.on_command_line and known.name not in seen:
                seen.add(known.name)
                yield _parameter(known, group)


def _parameter(known: Described, group: Group) -> Parameter:
    name = flag(known)
    is_switch = "bool" in known.kinds and group.in_file
    told_of = typer.Option(
        f"{name}/--no{name[1:]}" if is_switch else name,
        help=told(known),
        metavar=_stands_for(known),
        envvar=known.facts.variable or None,
        hidden=group.is_hidden,
        show_default=False,
        rich_help_panel=group.title,
    )
    kind = _type_of(known)
    is_needed = known.is_required and not group.is_hidden
    return Parameter(
        known.name,
        Parameter.KEYWORD_ONLY,
        default=Parameter.empty if is_needed else None,
        annotation=Annotated[kind if is_needed else kind | None, told_of],
    )


def _stands_for(known: Described) -> str | None:
    """Return what `--help` writes in place of a value."""
    if known.facts.choices:
        return "WORD"
    if known.facts.unset:
        return f"N|{known.facts.unset}"
    found = (word for kind, word in _STAND_INS.items() if kind in known.kinds)
    return next(found, None)


def _type_of(known: Described) -> Any:
    if "texts" in known.kinds:
        return list[str]
    if known.facts.unset:  # a word or a number
        return str
    return next((_TYPES[kind] for kind in _TYPES if kind in known.kinds), str)


_STAND_INS: Final = {"texts": "TEXT,...", "path": "PATH", "int": "N", "float": "X", "text": "TEXT"}

_TYPES: Final[Mapping[str, type]] = {"bool": bool, "int": int, "float": float, "path": Path}


def _described_as(
    run: Callable[..., int], command: Callable[..., int], parameters: list[Parameter]
) -> Callable[..., int]:
    shaped: Any = command
    shaped.__name__, shaped.__doc__ = run.__name__, run.__doc__
    shaped.__signature__ = Signature(parameters, return_annotation=int)
    shaped.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def split_lists(values: Mapping[str, Any], groups: tuple[Group, ...]) -> dict[str, Any]:
    """Split texts at commas where an option takes several, as `--method a,b` and `method = "a,b"` have them."""
    kinds = {known.name: known.kinds for group in groups for known in group.options}
    return {name: _split(value, kinds.get(name, frozenset())) for name, value in values.items()}


def _split(value: Any, kinds: frozenset[str]) -> Any:
    if isinstance(value, str) and "texts" in kinds and "text" not in kinds:
        value = [value]
    is_texts = isinstance(value, list) and all(isinstance(part, str) for part in value)
    return listed(value) if is_texts and "texts" in kinds else value
