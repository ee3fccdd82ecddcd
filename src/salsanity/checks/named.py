"""Checks by name: what is built in, what plug-ins add, and `file.py:Check`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from salsanity.checks.cascade import Cascade
from salsanity.checks.class_ import ClassChange
from salsanity.checks.entropy import EntropyChange
from salsanity.checks.exchange import Exchange
from salsanity.checks.frame import Check, Ground, OnNetwork, Settled, completed
from salsanity.checks.labels import LabelTest
from salsanity.checks.reparametrise import Reparametrisation
from salsanity.checks.repeat import Repetition
from salsanity.checks.shift import InputShift
from salsanity.checks.shortcut import Shortcut
from salsanity.checks.smooth_cascade import SmoothCascade
from salsanity.errors import SpecError, UsageError
from salsanity.options import from_mapping, options_of
from salsanity.plugins import CHECKS, Plugin, plugin, plugin_names
from salsanity.records import REFERENCE_STAGE
from salsanity.symbols import load_symbol, parse_call

BUILT_IN: Final[Mapping[str, Any]] = {
    kind.name: kind
    for kind in (
        Cascade,
        LabelTest,
        ClassChange,
        Repetition,
        InputShift,
        Reparametrisation,
        SmoothCascade,
        EntropyChange,
        Exchange,
        Shortcut,
    )
}
"""By name, in the order in which they are listed."""

CHEAP: Final = ("cascade", "class", "repeat", "shift", "reparametrise")
"""`all-cheap`: what needs one network and no training."""

ALL_CHEAP: Final = "all-cheap"
DEFAULT: Final = "cascade"

NEEDED: Final = ("name", "words", "lines", "controls")


def checks_named(
    names: Sequence[Any], options: Mapping[str, Any], *, known: Iterable[str] = ()
) -> tuple[Any, ...]:
    """Return the checks that `names` name or are, with the options that are theirs; `known`: options of others, for a hint.

    Raises `SpecError` for an option that none of them has, and `UsageError` for an unknown check, or one that is named twice.
    """
    wanted = _spread(names)
    taken = {option for kind in kinds_named(names).values() for option in options_of(kind)}
    unknown = sorted(set(options) - taken)
    if unknown:
        raise SpecError(_no_such_option(unknown[0], wanted, {*taken, *known}))
    made = tuple(check_named(name, options) for name in wanted)
    called = [check.name for check in made]
    twice = sorted({name for name in called if called.count(name) > 1})
    if twice:
        raise UsageError(f"expected each check once, got {twice[0]!r} twice; name it once")
    if not made:
        raise UsageError("expected at least one check, got none; see `salsanity checks`")
    return made


def kinds_named(names: Sequence[Any]) -> dict[str, type]:
    """Return the built-in checks among `names`, by name: those whose options are known before they are made."""
    named = [name for name in _spread(names) if isinstance(name, str)]
    targets = [parse_call(name).target for name in named]
    return {target: BUILT_IN[target] for target in targets if target in BUILT_IN}


def lacking(check: Any) -> frozenset[str]:
    """Name the options of every run that a check, or a class of checks, does not have."""
    has_draws = bool(getattr(check, "has_draws", True))
    lacks = {
        "draws": not has_draws or isinstance(getattr(check, "draws", None), int),
        "until_decided": not has_draws,
        "target": getattr(check, "target", None) is not None,
    }
    return frozenset(name for name, is_lacking in lacks.items() if is_lacking)


def lacked_by_all(checks: Iterable[Any]) -> frozenset[str]:
    """Name the options of every run that none of the checks, or classes of checks, has."""
    return frozenset.intersection(*map(lacking, checks))


def optional_of(names: Any) -> frozenset[str]:
    """Return the checks that only `all-cheap` asked for: they are left out where a network does not admit them."""
    asked = names if isinstance(names, list | tuple) else [names]
    return (
        frozenset(CHEAP) - {n for n in asked if isinstance(n, str)}
        if ALL_CHEAP in asked
        else frozenset()
    )


def check_named(spec: Any, options: Mapping[str, Any] | None = None) -> Any:
    """Return the check that `spec` names or is; `options`: of any check, of which it takes its own.

    Raises `UsageError` for an unknown name, for arguments that it does not take, and for a class of the user's that is no check.
    """
    if not isinstance(spec, str):
        return _as_check(spec, f"check {type(spec).__name__}")
    call = parse_call(spec)
    kind = BUILT_IN.get(call.target)
    if kind is not None:
        own = {k: v for k, v in (options or {}).items() if k in options_of(kind)}
        return from_mapping(kind, {**own, **call.arguments})
    added = plugin(CHECKS, call.target)
    if added is None and ":" not in call.target:
        known = ", ".join((*BUILT_IN, *plugin_names(CHECKS), ALL_CHEAP))
        raise UsageError(
            f"expected a check ({known}) or file.py:Check, got {call.target!r}; name one of them"
        )
    if added is None:
        added = Plugin(load_symbol(call.target), f"check {spec!r}")
    return _as_check(added.made(**call.arguments), added.words)


def settled(check: Any, ground: Ground) -> Settled:
    """Return the check on its network, completed by what a simple one leaves out.

    Raises `UsageError` where the check is not defined for the network, and where its lines and stages do not fit.
    """
    found = check.on(ground) if isinstance(check, OnNetwork) else _fitted(check, ground)
    _check_lines(found.check)
    return found


def _fitted(check: Any, ground: Ground) -> Settled:
    fits = getattr(check, "fits", None)
    if fits is not None:
        fits(ground)
    return completed(check, ground)


def _check_lines(check: Check) -> None:
    """Refuse what would be found out only after everything was computed."""
    stages = [str(stage["name"]) for stage in check.stages]
    names = [line.name for line in check.lines]
    wanted = [stage for line in check.lines for stage in (line.stage, line.against) if stage]
    reason = ""
    if not names:
        reason = "expected at least one line, got none"
    elif len(set(names)) < len(names):
        reason = f"expected lines of different names, got {', '.join(names)}"
    elif not set(wanted) <= set(stages):
        reason = f"expected lines at its stages ({', '.join(stages)}), got {', '.join(dict.fromkeys(wanted))}"
    elif REFERENCE_STAGE in stages:
        reason = (
            f"expected stages of other names than {REFERENCE_STAGE}, which is that of the ceiling"
        )
    if reason:
        raise UsageError(
            f"the check {check.name} cannot be judged: {reason}; test it with salsanity.testing.CheckContract"
        )


def _spread(names: Sequence[Any]) -> list[Any]:
    return [part for name in names for part in (CHEAP if name == ALL_CHEAP else (name,))]


def _as_check(value: Any, words: str) -> Any:
    missing = [name for name in NEEDED if not hasattr(value, name)]
    has_states = hasattr(value, "changed") or hasattr(value, "on")
    if isinstance(value, OnNetwork) or (not missing and has_states):
        return value
    lacks = ", ".join([*missing, *(() if has_states else ("changed",))])
    raise UsageError(
        f"{words} is no check: expected a class with name, words, lines, controls and changed(ground, chunk, draw), "
        f"got {type(value).__name__} without {lacks}; see docs/plugins.md"
    )


def _no_such_option(option: str, wanted: Sequence[Any], known: Iterable[str]) -> str:
    owners = [name for name, kind in BUILT_IN.items() if option in options_of(kind)]
    names = ", ".join(str(getattr(name, "name", name)) for name in wanted)
    if not owners:
        close = get_close_matches(option, known, 1)
        hint = (
            f"; did you mean {close[0]!r}?"
            if close
            else "; `salsanity check --help` lists those that there are"
        )
        return f"unknown option {option!r}{hint}"
    return f"{option!r} is an option of the check {owners[0]}, which is not asked for (asked: {names}); leave it out"


__all__ = [
    "BUILT_IN",
    "CHEAP",
    "Check",
    "check_named",
    "checks_named",
    "kinds_named",
    "lacked_by_all",
    "lacking",
    "optional_of",
    "settled",
]
