"""Explainers that are not ours are tried in every kind of state before the long part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import Tensor

from salsanity.checks.frame import Ground, Settled
from salsanity.errors import MethodError
from salsanity.models.hooks import Forwards
from salsanity.passes.derivative import differentiate
from salsanity.passes.request import Rule
from salsanity.records import digest
from salsanity.store.directory import DirectoryStore
from salsanity.store.folder import append_log
from salsanity.suite.prepared import SKETCHES, Asked
from salsanity.units.admit import Admitted, is_foreign
from salsanity.units.identity import Prints
from salsanity.units.images import ChunkReader
from salsanity.units.tools import Instruments
from salsanity.units.trial import Tried, tried
from salsanity.units.work import Worker

CHANGED: Final = 0.01
"""A gradient or a coarse map that was computed again differs by less of its largest value, on a GPU too."""


@final
@dataclass(frozen=True, eq=False)
class Bench:
    """What is tried before the long part, and on what: the run's images `ids`, of which `some` are at hand.

    `pool`: how many of the first images baselines and checks draw from.
    """

    tools: Instruments
    ground: Ground
    reader: ChunkReader
    pool: int
    ids: tuple[str, ...]
    some: Tensor
    targets: Tensor
    count: int
    """How many images the run has at most."""

    @property
    def few(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """The images at hand, their classes and ids."""
        return self.some, self.targets, self.ids[: len(self.some)]

    @property
    def one(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """The first of them."""
        return self.some[:1], self.targets[:1], self.ids[:1]


def tried_all(
    asked: Asked, bench: Bench, allowed: Admitted, checks: Sequence[Settled]
) -> tuple[Tried, ...]:
    """Try explainers that are not ours in every kind of state, and refuse those of which no verdict could come."""
    tools = replace(bench.tools, methods=allowed.methods)
    foreign = [m for m in allowed.methods if is_foreign(m, tools, *bench.one)]
    worker = Worker(tools, {c.check.name: c.check for c in checks}, bench.ground, bench.reader)
    batched = asked.recorded("batched", {})  # what the run in the folder found
    found: list[Tried] = []
    before = _own_gradient(bench) if foreign else None
    forwards = Forwards.of(tools.network.module)
    for method in foreign:
        one = tried(worker, method, bench.ids, batched=batched.get(method.name))
        if one.why_not is not None:
            raise MethodError(one.why_not)
        _check_as_recorded(asked, bench, one)
        if before is not None:
            _check_left_alone(before, _own_gradient(bench), method.name, forwards)
        found.append(one)
    return tuple(found)


def sketches(prints: Prints, ids: Sequence[str], tries: Sequence[Tried]) -> dict[str, list[float]]:
    """Return the coarse map of each explainer that gives the same one twice, under the digest of what it is a map of."""
    return {
        digest([prints.methods[one.name], prints.network, ids[0]]): list(one.sketch)
        for one in tries
        if one.sketch
    }


def _check_as_recorded(asked: Asked, bench: Bench, one: Tried) -> None:
    """Raise MethodError where the same code gave another map when it was first run in the folder."""
    recorded = asked.recorded(SKETCHES, {})
    for key, found in sketches(asked.prints, bench.ids, [one]).items():
        now = torch.tensor(found)
        was = torch.tensor(recorded.get(key, found))
        if float((now - was).abs().max()) > CHANGED * float(was.abs().max()):
            raise MethodError(
                f"expected {one.name} to give the map of the first image that it gave when the run in {asked.store.folder} "
                "began, got another one from the same code: something that it reads when it is called (a file, the "
                "environment) has changed; put that back, or give another folder (out, --out)"
            )


def _own_gradient(bench: Bench) -> Tensor:
    """The gradient at the first image, by a pass of ours."""
    x, targets, _ = bench.one
    found = differentiate(bench.tools.network, x[None], targets, rule=Rule.PLAIN, taps=(None,))
    return found.at[None][1]


def _check_left_alone(before: Tensor, after: Tensor, name: str, forwards: Forwards) -> None:
    """Raise MethodError where an explainer changed classes or torch itself, and put these back: all that follows would differ."""
    if float((after - before).abs().max()) > CHANGED * float(before.abs().max()):
        patched = ", ".join(forwards.put_back()) or "what it is was not found"
        raise MethodError(
            f"expected {name} to leave torch and your classes as it found them, but after it ran the network has other gradients "
            f"for every method ({patched}); let it put back what it patches (unittest.mock.patch.object)"
        )


def printed(store: DirectoryStore, tries: Sequence[Tried]) -> tuple[str, ...]:
    """Log what explainers printed, which would flood the terminal, and say that they did."""
    loud = [one for one in tries if one.said]
    for one in loud:
        append_log(store.folder, f"{one.name} printed, when it was tried:\n{one.said}")
    return tuple(
        f"{one.name} prints or warns ({len(one.said.splitlines())} line(s) when it was tried): kept from here, in errors.log of "
        "the run folder."
        for one in loud
    )
