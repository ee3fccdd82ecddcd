"""What makes a score the same score: one print for methods, similarities, draws, checks and networks with all their code.

A remembered score must never outlive what it was about, so a print covers too much rather than too little. It is the same
in every process, whatever the seed of hashes, the order of imports, or where things lie in memory.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, Final, final

from torch import nn

from salsanity.errors import UsageError
from salsanity.records import digest
from salsanity.units.facts import HOOK, facts_of
from salsanity.units.origins import (
    Home,
    Module,
    around,
    differing,
    held_by,
    imported_by,
    module_of_class,
    release,
)
from salsanity.units.parts import Code, Facts, Part, Unidentified, attributes_of, called, plain

_DEEPEST: Final = 10_000
"""Parts inside each other; what goes deeper has no end, such as a proxy that hands out another one."""


def print_of(*values: object) -> str:
    """Return a digest (64 hexadecimal digits) of values, of all that objects hold, and of the code behind them.

    **State**: attributes, slots, content of containers, closures, defaults, the globals that a function names; tensors and
    arrays by value; networks with weights, structure, mode and hooks; library objects by what they would pickle. As in `==`,
    the order of a dict or a set does not count, that of a list, tuple or `OrderedDict` does.
    **Code**: of the user's, the files that define something and every module of the user's that these import, at any depth
    (a file beside them that nothing imports does not count; within a file every letter does, its date does not), and what
    differs in memory from these files; code without a file by its instructions. A library counts by its release,
    salsanity's own by names and fields alone, Python not at all. What is read while code runs (files, variables of the
    environment) does not count unless something holds it.

    An object with a method `__salsanity_print__()` (a function: with an attribute of that name) is told apart by its code and
    the JSON value which that returns, in place of what it holds. Raises `UsageError` for anything that another process could
    not recognise: files, generators, locks, threads, objects of C without a state.
    """
    walk = _Walk()
    parts = [walk.digest_of(Part(_title(value), value)) for value in values]
    return digest([parts, walk.sources()])


def _title(value: object) -> str:
    """Name a value in a sentence."""
    held: Any = value  # its class may be anything that it says, so that its type is asked for
    if type(value) is FunctionType:
        return str(held.__code__.co_qualname)
    if type(value) is MethodType:
        return f"{_title(held.__self__)}.{getattr(held.__func__, '__name__', '?')}"
    return called(held if issubclass(type(value), type) else type(value)).rpartition(".")[2]


def unidentified(*values: object) -> str | None:
    """Return why `print_of` refuses these values, in one sentence; None where it does not."""
    try:
        print_of(*values)
    except UsageError as error:
        return str(error)
    return None


def can_be_identified(*values: object) -> bool:
    """Whether another process could recognise these values."""
    return unidentified(*values) is None


@final
@dataclass(frozen=True)
class Prints:
    """What stands for each method and similarity in the keys of units, by their names.

    Taken when a run begins, before anything of the user's is called: an explainer that counts its calls or keeps what it
    has computed is another one afterwards.
    """

    methods: Mapping[str, str]
    similarities: Mapping[str, str]
    network: str = ""
    """The code of the user's that the network runs."""

    @classmethod
    def of(
        cls, methods: Sequence[Any], similarities: Sequence[Any], *, rerun: bool = False
    ) -> Prints:
        """Take the prints; `rerun`: what cannot be identified is new every time, and not an error."""
        return cls(
            {m.name: method_print(m, rerun=rerun) for m in methods},
            {s.name: similarity_print(s, rerun=rerun) for s in similarities},
        )

    def with_network(self, network: nn.Module) -> Prints:
        """Return the prints with that of a network's code."""
        return replace(self, network=code_print(network))


def method_print(method: Any, *, rerun: bool = False) -> str:
    """Return the text that stands for a method in the keys of units, for `key_of`.

    For one of salsanity's own with plain settings its `repr`, as in folders of format 1; for an explainer of the user's the
    name and the print of the explainer, for any other method its own.
    """
    if _is_ours_and_plain(method):
        return repr(method)
    explainer = _fields_of(method).get("explainer", method)
    return f"{method.name} {_print_or_new(explainer, bool(method.stochastic), rerun=rerun)}"


def similarity_print(similarity: Any, *, rerun: bool = False) -> str:
    """Return the text that stands for a similarity in the keys of units, as `method_print` does for a method."""
    if _is_ours_and_plain(similarity):
        return repr(similarity)
    return f"{similarity.name} {_print_or_new(similarity, rerun=rerun)}"


def draw_print(draw: Any, *, rerun: bool = False) -> str:
    """Return what stands for an initialiser: its name, and a print where it is not salsanity's own and plain."""
    if _is_ours_and_plain(draw):
        return str(draw.name)
    return f"{draw.name} {_print_or_new(draw, rerun=rerun)}"


def code_print(network: nn.Module) -> str:
    """Return the print of the code of the user's that a network runs: its own classes, and what they import.

    Weights and structure have a fingerprint of their own; classes of libraries are told apart by it and by the versions
    in spec.json.
    """
    kinds = {called(type(part)): type(part) for part in network.modules()}
    own = [kind for _, kind in sorted(kinds.items()) if module_of_class(kind).home is Home.USER]
    return print_of(*own)


def key_of(name: str, facts: str | Sequence[str]) -> str:
    """Return `name#digest`, as a method or a similarity stands in the keys of units."""
    return f"{name}#{digest(facts)[:12]}"


def changed_since(before: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    """Return the names that stand in both lists of keys, but with other digests."""
    known = {key.partition("#")[0] for key in before}
    return tuple(
        key.partition("#")[0]
        for key in now
        if key not in set(before) and key.partition("#")[0] in known
    )


def _print_or_new(*values: object, rerun: bool) -> str:
    if rerun and not can_be_identified(*values):
        return uuid.uuid4().hex
    return print_of(*values)


def _fields_of(value: object) -> dict[str, object]:
    """The fields of one of salsanity's own dataclasses; {} for anything else."""
    kind = type(value)
    if not is_dataclass(kind) or module_of_class(kind).home is not Home.OWN:
        return {}
    held = attributes_of(value)
    return {field.name: held.get(field.name) for field in fields(kind)}


def _is_ours_and_plain(value: object) -> bool:
    """Whether `repr` tells all: a dataclass of salsanity's with numbers, texts, classes of libraries and the like inside."""
    try:
        return _is_plain(value)
    except RecursionError:
        return False


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if plain(value) is not None:
        return True
    if kind in (tuple, list):
        return all(map(_is_plain, value))
    if kind in (dict, MappingProxyType):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    if issubclass(kind, type):
        return module_of_class(value).home is not Home.USER
    if issubclass(kind, Enum):
        return module_of_class(kind).home is Home.OWN
    held = _fields_of(value)
    return bool(is_dataclass(kind) and module_of_class(kind).home is Home.OWN) and all(
        map(_is_plain, held.values())
    )


Digests = dict[int, tuple[object, str]]
"""Digests of what was finished, by address; the objects are kept alive, so that no address is used again."""


@final
@dataclass(frozen=True, eq=False)
class _Level:
    """A value whose parts are being asked for."""

    part: Part
    facts: Facts
    finished: Digests


@final
@dataclass(frozen=True, eq=False)
class _Walk:
    """Goes through values without recursion of Python's, and collects the modules whose code counts."""

    waiting: list[Module] = field(default_factory=list)
    strict: Digests = field(default_factory=dict)
    lenient: Digests = field(default_factory=dict)

    def digest_of(self, part: Part) -> str:
        """Digest a value; `UsageError` with the path from its `step` where it cannot be identified."""
        levels, places = [self._level(part, None)], {id(part.value): 0}
        answer: str | None = None
        while levels:
            facts = levels[-1].facts
            try:
                asked = next(facts) if answer is None else facts.send(answer)
                answer = self._known(asked, levels, places)
                if answer is None:
                    places[id(asked.value)] = len(levels)
                    levels.append(self._level(asked, levels[-1]))
                continue
            except StopIteration as end:
                answer = digest(end.value)
            except Exception as error:
                if not levels[-1].part.lenient:
                    raise _refusal(levels, error) from error
                answer = f"live {called(type(levels[-1].part.value))}"
            done = levels.pop()
            del places[id(done.part.value)]
            done.finished[id(done.part.value)] = (done.part.value, answer)
        return str(answer)

    def _level(self, part: Part, above: _Level | None) -> _Level:
        if above is not None and above.part.lenient:
            part = replace(part, lenient=True)
        if part.apart:
            return _Level(part, facts_of(part.value), {})
        if part.lenient and (above is None or not above.part.lenient):
            return _Level(part, facts_of(part.value), self.lenient)
        finished = self.strict if above is None else above.finished
        return _Level(part, facts_of(part.value), finished)

    def _known(self, part: Part, levels: Sequence[_Level], places: Mapping[int, int]) -> str | None:
        """Answer at once for what is plain, for a module, for what lies around the part, and for what was finished."""
        value = part.value
        text = plain(value)
        if text is not None:
            return text
        if type(value) is Code:
            self.waiting.append(value.module)
            return value.module.label
        if id(value) in places:
            return f"around {len(levels) - places[id(value)]}"
        if len(levels) > _DEEPEST:
            raise Unidentified("something without an end")
        return self._finished(part, levels[-1])

    def _finished(self, part: Part, above: _Level) -> str | None:
        if part.apart:
            return None
        is_first = part.lenient and not above.part.lenient
        found = (self.lenient if is_first else above.finished).get(id(part.value))
        return found[1] if found else None

    def sources(self) -> list[str]:
        """Digest the modules of the user's that were met, and those that they import; releases of libraries."""
        done: set[tuple[str, int]] = set()
        found: set[str] = set()
        while self.waiting:
            module = self.waiting.pop()
            key = (module.file or module.name, id(module.namespace))
            if key in done:
                continue
            done.add(key)
            if module.home is Home.USER:
                found.add(json.dumps(self._source(module)))
                self.waiting.extend(_next_to(module))
            elif module.home is Home.LIBRARY:
                found.add(str(release(module.top)))
        return sorted(found)

    def _source(self, module: Module) -> list[Any]:
        content = module.content()
        text = None if content is None else hashlib.sha256(content).hexdigest()
        others = [
            [name, self.digest_of(Part(name, value, lenient=True))]
            for name, value in differing(module)
        ]
        return [module.label, text, sorted(others)]


def _next_to(module: Module) -> Iterator[Module]:
    said = module.said()
    yield from around(module)
    yield from held_by(module)
    yield from imported_by(module, said.imports if said else ())


def _refusal(levels: Sequence[_Level], error: Exception) -> UsageError:
    what = str(error)
    if not isinstance(error, Unidentified):
        kind = called(type(levels[-1].part.value))
        what = f"a {kind} that raises {type(error).__name__} ({error})"
    steps = "".join(level.part.step for level in levels)
    path = steps if len(steps) <= 300 else f"{steps[:200]} ... {steps[-80:]}"
    return UsageError(
        f"expected {levels[0].part.step} to hold what another process can recognise, got {what} at {path}; keep plain values "
        f"there, give the object that holds it a method {HOOK}() that returns a JSON value, or run with rerun"
    )
