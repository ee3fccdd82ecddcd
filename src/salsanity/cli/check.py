"""`salsanity check`: sanity checks of a trained network's saliency methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from salsanity.cli.opening import Fitting, Pictures, Shelf, Trained, opened, untrained
from salsanity.cli.parameters import Command, Given, Group
from salsanity.cli.showing import check_junit, show
from salsanity.cli.wishes import (
    PAPER,
    PAPER_OWN_NETWORKS,
    PAPER_SIMILARITIES,
    QUICK,
    Choice,
    Preset,
    Quick,
    Reading,
    Wanted,
    shared_groups,
    wanted,
)
from salsanity.errors import UsageError

if TYPE_CHECKING:
    from salsanity.suite.running import Request


def check(given: Given) -> int:
    """Run sanity checks on a trained network and say which saliency methods fail them."""
    asked = wanted(given, preset=_choices(given))
    check_junit(asked.wishes.junit)
    _refuse_trainers(asked.checks)
    from salsanity.suite.running import run_checks
    from salsanity.suite.terminal import TerminalNarrator, terminal

    narrator = TerminalNarrator(terminal())
    request = _request(given, asked)
    result = run_checks(request, narrator=narrator, executor=asked.executor)
    return show(result, as_json=given.of(Reading).json, junit=asked.wishes.junit)


def groups() -> tuple[Group, ...]:
    """Return every option: those of all checks that take the network as it is are shown."""
    from salsanity.checks.frame import BringsNetwork
    from salsanity.checks.named import BUILT_IN

    own = [name for name, kind in BUILT_IN.items() if not issubclass(kind, BringsNetwork)]
    return (
        Group("What is checked", Trained),
        Group("What is checked", Pictures),
        Group("What is checked", Shelf),
        Group("What is checked", Fitting),
        Group("How", Choice, in_file=True),
        Group("How", Quick),
        Group("How", Preset),
        Group("How", Reading),
        *shared_groups(own=own),
    )


COMMAND = Command(check, groups)


def _choices(given: Given) -> Mapping[str, Any]:
    """Return what `--preset` and `--quick` stand for on this network."""
    preset = given.of(Preset).preset
    is_own = given.of(Trained).model.startswith("reference:")
    paper = {**PAPER, **(PAPER_OWN_NETWORKS if is_own else {})} if preset else {}
    return {**paper, **(QUICK if given.of(Quick).quick else {})}


def _request(given: Given, asked: Wanted) -> Request:
    from salsanity.registry import BUILT_IN_METHODS, DEFAULT_SIMILARITIES
    from salsanity.suite.running import Request

    preset, trained = given.of(Preset).preset, given.of(Trained)
    found = opened(trained, given.of(Pictures), given.of(Shelf), given.of(Fitting), preset=preset)
    warning = untrained(found.subject) if trained.weights is None else None
    usual = PAPER_SIMILARITIES if preset else DEFAULT_SIMILARITIES
    return Request(
        asked.checks,
        found.subject,
        found.source,
        asked.spec,
        methods=asked.wishes.method or (list(BUILT_IN_METHODS) if preset else None),
        similarities=asked.wishes.similarity or usual,
        out=asked.wishes.out,
        optional=asked.optional,
        odd=(*found.odd, *([] if warning is None else [warning])),
    )


def _refuse_trainers(checks: Iterable[Any]) -> None:
    from salsanity.checks.frame import BringsNetwork

    for one in checks:
        name = one.name
        if isinstance(one, BringsNetwork):
            raise UsageError(
                f"expected checks of one trained network, got {name}, which brings networks of its own; run it by a command "
                "of its own (see `salsanity --help`) or by salsanity.run"
            )
