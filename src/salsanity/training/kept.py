"""A network that is trained once and kept: read where it was trained before, continued where that was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from salsanity.models.weights import load_weights
from salsanity.narrator import Narrator, duration
from salsanity.training.checkpoint import are_whole, save_weights
from salsanity.training.evaluate import LabelledImages
from salsanity.training.loop import Progress, Trained, seeded, train
from salsanity.training.own import OwnTraining, Teaching


@final
@dataclass(frozen=True, eq=False)
class Kept:
    """A trained network in eval mode; `told` says how its training went, and is empty where it was read."""

    model: nn.Module
    train_accuracy: float
    told: str


@final
@dataclass(frozen=True, eq=False)
class School:
    """How networks are trained and where they are kept: builder, settings, device, folder, and who is told."""

    make_model: Callable[[], nn.Module]
    settings: Teaching
    device: torch.device
    folder: Path
    narrator: Narrator

    def network(self, name: str, data: LabelledImages, *, seed: int, identity: str) -> Kept:
        """Train the network of a name such as `true:0` on `data`, or read it where its file has this `identity`.

        `identity`: of all that decides the course of the training; how long it may run does not. Raises `TrainingError` below
        the wanted train accuracy.
        """
        path = self.folder / f"{name.replace(':', '-')}.safetensors"
        known = read_facts(path, identity, self.settings)
        if known is None:
            return self._trained(path, name, data, seed, identity)
        with seeded(seed, self.device):
            model = self.make_model()
        load_weights(model, path)
        return Kept(model.eval(), float(known["train_accuracy"]), "")

    def _trained(
        self, path: Path, name: str, data: LabelledImages, seed: int, identity: str
    ) -> Kept:
        self.narrator.begin(f"Training {name}", self.settings.epochs)
        try:
            result = self._taught(path.with_suffix(".checkpoint"), data, seed)
        finally:
            self.narrator.end()
        epochs, reached = len(result.epochs) or 1, result.train_accuracy
        facts = {"identity": identity, "train_accuracy": str(reached), "epochs": str(epochs)}
        save_weights(path, result.model, metadata=facts)
        path.with_suffix(".checkpoint").unlink(missing_ok=True)
        how = f"{epochs} epochs" if result.epochs else "trained by your function"
        told = f"{how} in {duration(result.seconds)}, train accuracy {reached:.3f}"
        return Kept(result.model, reached, told)

    def _taught(self, checkpoint: Path, data: LabelledImages, seed: int) -> Trained:
        if isinstance(self.settings, OwnTraining):
            return self.settings.train(self.make_model, data, seed=seed, device=self.device)
        return train(
            self.make_model,
            data,
            settings=self.settings,
            seed=seed,
            device=self.device,
            checkpoint=checkpoint,
            report=_Teller(self.narrator).tell,
        )


def read_facts(path: Path, identity: str, settings: Teaching) -> dict[str, str] | None:
    """Return what a file says of the network that this training would give, or None where it holds no such network."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    try:
        epochs, reached = int(facts["epochs"]), float(facts["train_accuracy"])
    except (KeyError, ValueError):
        return None
    is_this = facts.get("identity") == identity and would_end_at(settings, epochs, reached)
    return facts if is_this and are_whole(tensors, facts) else None


def would_end_at(settings: Teaching, epochs: int, train_accuracy: float) -> bool:
    """Say whether a training that ended after so many epochs ends there with these settings too."""
    wanted, limit = settings.stop_at, settings.epochs
    is_good = settings.wanted is None or train_accuracy > settings.wanted
    stops = wanted is not None and train_accuracy > wanted
    return is_good and (epochs == limit or (epochs < limit and stops))


class _Teller:
    """Turns training progress into steps of the bar."""

    def __init__(self, narrator: Narrator) -> None:
        self.narrator = narrator
        self.done = 0.0

    def tell(self, progress: Progress) -> None:
        """Move the bar to where the training stands."""
        now = progress.epoch - 1 + progress.step / max(1, progress.steps)
        self.narrator.note(
            f"loss {progress.loss:.3f}, train accuracy {progress.accuracy:.3f}, at most "
            f"{duration(progress.seconds_left)} left"
        )
        self.narrator.advance(max(0.0, now - self.done))
        self.done = max(self.done, now)
