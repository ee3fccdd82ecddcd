"""A small real job, and what its units must come to: for the contract of executors."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor, nn

from salsanity.checks.cascade import Cascade
from salsanity.checks.frame import Check, Chunk, Ground, State
from salsanity.checks.named import settled
from salsanity.data.examples import image_id
from salsanity.data.tensors import TensorSource
from salsanity.executors.serial import Failure, SerialExecutor
from salsanity.methods import CallableMethod, Gradient, Method, Noise, SmoothGrad
from salsanity.models.network import prepare
from salsanity.records import Line, Outcome, UnitKey, UnitResult, Words
from salsanity.seeds import seed_for
from salsanity.similarity import Spearman
from salsanity.testing.elsewhere import elsewhere
from salsanity.testing.networks import small_network, some_images
from salsanity.units.images import ImageEntry
from salsanity.units.job import Job, Lot, ground_of, lots_of
from salsanity.units.spec import RunSpec
from salsanity.units.speed import Speed

IMAGES: Final = 12
PER_UNIT: Final = 4
PAUSE: Final = 0.02
"""Seconds for which the explainer lets others run: units that share a network then meet."""

FAILS_AT: Final = 1
EXITS_AT: Final = 2
INTERRUPTED_AT: Final = 3


@final
@dataclass(frozen=True)
class NoisyWeights:
    """A check whose draws 1, 2 and 3 raise an error, `SystemExit` and `KeyboardInterrupt`, as the user's code may."""

    name: ClassVar[str] = "noisy"
    words: ClassVar[Words] = Words("Noise on the weights", "Is it noticed?", "missed", "noticed")
    lines: ClassVar[tuple[Line, ...]] = (Line("noisy", "noisy", 0.9, "with noise on the weights"),)
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.FAIL}

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        """Add noise to every tensor, or raise."""
        if draw == FAILS_AT:
            raise ValueError(f"draw {draw} does not work")
        if draw == EXITS_AT:
            sys.exit("the explainer left")
        if draw == INTERRUPTED_AT:
            raise KeyboardInterrupt
        seed = seed_for(ground.seed, self.name, draw)
        generator = torch.Generator().manual_seed(seed)
        trained = ground.network.trained
        return [State("noisy", {layer: _noisy(t, generator) for layer, t in trained.items()})]


def _noisy(tensors: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    wide = {n: v for n, v in tensors.items() if v.is_floating_point()}
    return {
        n: v + 0.1 * torch.randn(v.shape, generator=generator, dtype=v.dtype)
        for n, v in wide.items()
    }


def drawing_gradient(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Explain as the user's code may: slowly, and with the global random state."""
    noise = torch.randn_like(x)
    time.sleep(PAUSE)
    x = (x + 0.1 * noise + 0.01 * torch.randn_like(x)).requires_grad_()
    time.sleep(PAUSE)
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


METHODS: Final[tuple[Method, ...]] = (
    Gradient(),
    SmoothGrad(2),
    Noise(),
    CallableMethod(drawing_gradient, "drawing_gradient"),
)


def small_job(*, draws: int = 2) -> Job:
    """Return a job on a small network, with the cascade and a check that may fail; no process has opened it."""
    source = TensorSource(some_images(IMAGES), name="contract", prefix="contract")
    spec = RunSpec(draws=draws, max_images=IMAGES, batch_size=PER_UNIT, gallery=1, device="cpu")
    model = small_network()
    pool = source.pixels
    network = prepare(model, pool[:1], name="small")
    ground = ground_of(network, spec, pool, small_network)
    asked: tuple[Any, ...] = (Cascade(init="module"), NoisyWeights())
    checks: dict[str, Check] = {c.name: settled(c, ground).check for c in asked}
    targets = network.logits(pool).argmax(1).tolist()
    entries = tuple(
        ImageEntry(image_id(x), f"contract/{i}", None, i, target)
        for i, (x, target) in enumerate(zip(pool, targets, strict=True))
    )
    return Job(
        model,
        network.name,
        network.fingerprint,
        small_network,
        source,
        spec,
        checks,
        METHODS,
        (Spearman(),),
        entries,
        Speed(PER_UNIT, 0.0),
        IMAGES,
        "cpu",
        frozenset({entries[0].id}),
    )


def prepared_here(job: Job) -> Job:
    """Return the job with the network that this thread has opened, as a run hands it to its executor."""
    return replace(job, here=job.open())


def lots_for(job: Job, check: str, *, draws: Sequence[int] = (0, 1)) -> list[Lot]:
    """Return units of these draws of a check, one lot per chunk of images."""
    ids = [entry.id for entry in job.entries]
    chunks = [tuple(ids[i : i + PER_UNIT]) for i in range(0, len(ids), PER_UNIT)]
    return lots_of(unit_of(job, check, draw, chunk) for chunk in chunks for draw in draws)


def unit_of(job: Job, check: str, draw: int, images: tuple[str, ...]) -> UnitKey:
    """Return one unit."""
    shown = not job.shown.isdisjoint(images)
    stages = job.checks[check].asked_stages(draw, is_shown=shown)
    methods = tuple(method.name for method in job.methods)
    similarities = tuple(similarity.name for similarity in job.similarities)
    return UnitKey(check, draw, images, stages, methods, similarities, "contract")


@cache
def right_results() -> Mapping[UnitKey, UnitResult]:
    """Return what the units of the cascade come to, one after another in this process."""
    return results_in_turn(small_job())


@cache
def results_elsewhere() -> Mapping[UnitKey, UnitResult]:
    """Return what the same units come to in a new process that opened the same job."""
    found: Mapping[UnitKey, UnitResult] = elsewhere(results_in_turn, small_job())
    return found


def results_in_turn(job: Job) -> dict[UnitKey, UnitResult]:
    """Do the units of the cascade one after another; raise where one fails."""
    found: dict[UnitKey, UnitResult] = {}
    for unit, result in SerialExecutor().run(job, lots_for(job, Cascade.name)):
        if isinstance(result, Failure):
            raise result.error
        found[unit] = result
    return found


def difference(result: Any, right: UnitResult) -> str | None:
    """Say in what a unit's result differs from the right one, bit for bit; None where it does not."""
    if isinstance(result, Failure):
        return f"it failed: {result.words}"
    if not isinstance(result, UnitResult):
        return f"it has {result!r}"
    if result.key != right.key:
        return "it has another unit's result"
    for name, column in right.columns.items():
        if [repr(v) for v in result.columns.get(name, ())] != [repr(v) for v in column]:
            return f"column {name} has other values"
    if _pictures(result) != _pictures(right):
        return "it has other pictures"
    kept = ("health", "batch_size", "memory_format")
    if [result.notes.get(n) for n in kept] != [right.notes.get(n) for n in kept]:
        return "it has other notes"
    return None


def _pictures(result: UnitResult) -> dict[str, dict[str, bytes]]:
    return {
        image: {name: array.tobytes() for name, array in arrays.items()}
        for image, arrays in result.pictures.items()
    }
