"""`train`: from a factory, images and labels to a network, the same one for the same seed.

Images lie as one tensor on the device, so that no Python runs per image. An epoch's order comes
from `seed_for(seed, "epoch", number)`, so a training that continues from a checkpoint ends bit for
bit where an uninterrupted one ends (on one machine, with one number of threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from salsanity.errors import ModelError, SpecError, TrainingError
from salsanity.models.network import logits_in
from salsanity.records import digest
from salsanity.seeds import seed_for
from salsanity.training.checkpoint import Epoch, load_checkpoint, restore, save_checkpoint
from salsanity.training.evaluate import (
    LabelledImages,
    accuracy,
    batch_sizes,
    built,
    check_outputs,
    count_correct,
)
from salsanity.training.pace import Pace, as_built, pace_for
from salsanity.training.settings import TrainingSettings

NEAR: Final = 0.05
"""All images are evaluated only after epochs whose running accuracy came this near to `stop_at`."""

REPORT_EVERY: Final = 0.25
"""Seconds between two reports: reading the loss makes a GPU wait."""


@final
@dataclass(frozen=True)
class Progress:
    """Where a training stands. `accuracy`: running, in this epoch. `seconds_left`: at most."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    seconds_left: float


Report = Callable[[Progress], None]


@final
@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network in eval mode; `train_accuracy` is over all its training images."""

    model: nn.Module
    seed: int
    train_accuracy: float
    epochs: tuple[Epoch, ...]
    seconds: float


@final
@dataclass(frozen=True, eq=False)
class _Run:
    model: nn.Module
    optimiser: Adam
    data: LabelledImages
    settings: TrainingSettings
    seed: int
    device: torch.device
    clock: _Clock
    pace: Pace


def train(
    make_model: Callable[[], nn.Module],
    data: LabelledImages,
    *,
    settings: TrainingSettings,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    report: Report | None = None,
) -> Trained:
    """Build a network and train it on `data`; the global random state stays as it was.

    With `checkpoint`, the state is written there after every epoch, and a training found there is
    continued (also one that only lacked epochs). Raises `TrainingError` if the wanted train
    accuracy is not exceeded or the loss is not finite, `SpecError` if the checkpoint is of another
    training.
    """
    started = time.perf_counter()
    run = _start(make_model, data, settings, seed, torch.device(device), report)
    identity = _identity(run)
    epochs = _continued(run, checkpoint, identity)
    run.clock.begin(len(epochs))
    while not _finished(epochs, run):
        epochs = (*epochs, _epoch(run, len(epochs)))
        if checkpoint is not None:
            save_checkpoint(
                checkpoint,
                identity=identity,
                epochs=epochs,
                model=run.model,
                optimiser=run.optimiser,
            )
    measured = epochs[-1].accuracy
    reached = accuracy(run.model, run.data) if measured is None else measured
    _check_reached(reached, run, len(epochs))
    as_built(run.model)
    run.model.eval()
    return Trained(run.model, seed, reached, epochs, time.perf_counter() - started)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside, for initialisers and dropout; restore them after."""
    cuda = device.type == "cuda"
    flags = torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    with torch.random.fork_rng([device] if cuda else []):
        torch.manual_seed(seed)
        if cuda:
            flags.deterministic, flags.benchmark = True, False
        try:
            yield
        finally:
            if cuda:
                flags.deterministic, flags.benchmark = before


@final
class _Clock:
    """Turns steps into reports: when the next is due, and how long the rest will take at most."""

    def __init__(self, report: Report | None, epochs: int, steps: int) -> None:
        self.report, self.epochs, self.steps = report, epochs, steps

    def begin(self, epochs_done: int) -> None:
        self.done_before = epochs_done * self.steps
        self.started = self.reported = time.perf_counter()

    def due(self, step: int) -> bool:
        late = time.perf_counter() - self.reported >= REPORT_EVERY
        return self.report is not None and (late or step == self.steps)

    def tell(self, epoch: int, step: int, loss: float, correct: float) -> None:
        if self.report is None:
            return
        self.reported = time.perf_counter()
        done = epoch * self.steps + step
        pace = (self.reported - self.started) / (done - self.done_before)
        left = pace * (self.epochs * self.steps - done)
        self.report(Progress(epoch + 1, self.epochs, step, self.steps, loss, correct, left))


def _start(
    make_model: Callable[[], nn.Module],
    data: LabelledImages,
    settings: TrainingSettings,
    seed: int,
    device: torch.device,
    report: Report | None,
) -> _Run:
    with seeded(seed_for(seed, "init"), device):
        model = built(make_model, device)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    placed = data.to(device)
    check_outputs(model, placed)
    with seeded(seed_for(seed, "pace"), device):
        pace = pace_for(model, placed.images, mixed=settings.mixed_precision)
    steps = len(batch_sizes(len(data), settings.batch_size))
    clock = _Clock(report, settings.epochs, steps)
    optimiser = _optimiser(model, settings, device)
    return _Run(model, optimiser, placed, settings, seed, device, clock, pace)


def _optimiser(model: nn.Module, settings: TrainingSettings, device: torch.device) -> Adam:
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ModelError("expected a network with parameters to train, got none")
    spared = tuple(f"{name}." for name in settings.l2_spares)
    decays = {name: p.ndim > 1 and not name.startswith(spared) for name, p in parameters.items()}
    groups = [
        {
            "params": [p for name, p in parameters.items() if decays[name]],
            "weight_decay": settings.l2,
        },
        {"params": [p for name, p in parameters.items() if not decays[name]], "weight_decay": 0.0},
    ]
    fused = device.type in ("cpu", "cuda")
    return Adam([g for g in groups if g["params"]], lr=settings.learning_rate, fused=fused)


def _epoch(run: _Run, number: int) -> Epoch:
    with seeded(seed_for(run.seed, "epoch", number), run.device):
        loss, running = _steps(run, number)
    if not math.isfinite(loss):
        raise TrainingError(
            f"expected a finite loss, got {loss} in epoch {number + 1}; "
            f"lower the learning rate (now {run.settings.learning_rate:g})"
        )
    last = number + 1 >= run.settings.epochs
    stop_at = run.settings.stop_at
    near = stop_at is not None and running > stop_at - NEAR and _has_seen_enough(run, number + 1)
    return Epoch(loss, running, accuracy(run.model, run.data) if last or near else None)


def _has_seen_enough(run: _Run, epochs: int) -> bool:
    return epochs * run.clock.steps >= run.settings.least_steps


def _steps(run: _Run, number: int) -> tuple[float, float]:
    """Run one epoch; return the mean loss and the accuracy while training."""
    run.model.train()
    order = torch.randperm(len(run.data)).to(run.device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=run.device)
    correct = torch.zeros((), dtype=torch.int64, device=run.device)
    seen = 0
    sizes = batch_sizes(len(run.data), run.settings.batch_size)
    for step, rows in enumerate(torch.split(order, sizes), start=1):
        _warm_up(run, number * run.clock.steps + step)
        loss, right = _step(run, run.data.images[rows], run.data.labels[rows])
        loss_sum += loss * len(rows)
        correct += right
        seen += len(rows)
        if run.clock.due(step):
            run.clock.tell(number, step, float(loss_sum) / seen, int(correct) / seen)
    return float(loss_sum) / seen, int(correct) / seen


def _warm_up(run: _Run, batch: int) -> None:
    """Set the learning rate of batch number `batch`, from 1 on."""
    share = min(1.0, batch / run.settings.warm_up) if run.settings.warm_up else 1.0
    for group in run.optimiser.param_groups:
        group["lr"] = run.settings.learning_rate * share


def _step(run: _Run, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    run.optimiser.zero_grad(set_to_none=True)
    logits = _logits(run, images)
    loss = cross_entropy(logits.float() if logits.dtype != torch.float64 else logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if run.settings.clip:
        clip_grad_norm_(run.model.parameters(), run.settings.clip)
    run.optimiser.step()
    return loss.detach(), count_correct(logits.detach(), labels)


def _logits(run: _Run, images: Tensor) -> Tensor:
    try:
        with run.pace.precision():
            return logits_in(run.model(run.pace.laid(images)))
    except ValueError as error:  # of a batch norm, most often
        raise ModelError(
            f"the network cannot train on a batch of {len(images)} images: {error}; give more images, or another batch size"
        ) from error


def _finished(epochs: tuple[Epoch, ...], run: _Run) -> bool:
    if len(epochs) >= run.settings.epochs:
        return True
    reached, stop_at = epochs[-1].accuracy if epochs else None, run.settings.stop_at
    enough = _has_seen_enough(run, len(epochs))
    return enough and stop_at is not None and reached is not None and reached > stop_at


def _continued(run: _Run, path: Path | None, identity: str) -> tuple[Epoch, ...]:
    found = None if path is None else load_checkpoint(path, device=run.device)
    if found is None:
        return ()
    if found.identity != identity:
        raise SpecError(
            f"the checkpoint {path} is of another training (other images, labels, network, seed or "
            "settings); remove it, or give another place for checkpoints"
        )
    if len(found.epochs) > run.settings.epochs:
        raise SpecError(
            f"the checkpoint {path} has {len(found.epochs)} epochs already, {run.settings.epochs} "
            "were asked for; ask for at least as many, or remove it"
        )
    restore(found, run.model, run.optimiser)
    return found.epochs


def _identity(run: _Run) -> str:
    """Digest of all that decides the course of a training; how long it may run does not."""
    tensors = {k: [str(v.dtype), *v.shape] for k, v in run.model.state_dict().items()}
    return digest(
        {
            "data": run.data.fingerprint(),
            "settings": run.settings.course(),
            "seed": run.seed,
            "tensors": tensors,
        }
    )


def _check_reached(reached: float, run: _Run, epochs: int) -> None:
    wanted, s = run.settings.wanted, run.settings
    if wanted is None or reached > wanted:
        return
    raise TrainingError(
        f"expected a train accuracy above {wanted:g}, got {reached:.3f} after {epochs} epochs "
        f"(seed {run.seed}); give more epochs (now {s.epochs}), a higher learning rate "
        f"(now {s.learning_rate:g}), less L2 (now {s.l2:g}) or fewer training images "
        f"(now {len(run.data)})"
    )
