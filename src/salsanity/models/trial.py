"""Trying a copy: it must run on an example, and what earlier work left on it must not decide what it computes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import Tensor, nn

from salsanity.errors import ModelError
from salsanity.models.copying import copied, settled
from salsanity.models.hidden import is_weight
from salsanity.models.hooks import Hook, Hooks, hooks_of, in_words, take_off
from salsanity.models.outputs import (
    Choice,
    ask_which,
    check_scores,
    logits_in,
    look_like_probabilities,
    note_on,
)
from salsanity.models.saved import saved_modules
from salsanity.models.tracing import Trace, trace


@final
@dataclass(frozen=True)
class Passed:
    """What a forward pass of the copy gave: its trace, the logits, and what is to say of them."""

    trace: Trace
    scores: Tensor
    notes: tuple[str | None, ...]


@final
@dataclass(frozen=True)
class Trial:
    """A copy and what it is tried on."""

    module: nn.Module
    example: Tensor
    output: Choice | None

    def run(self) -> Passed:
        """Trace the copy; ModelError, with what to do, where it does not run or returns no logits."""
        try:
            return self._traced(self.example)
        except ModelError:
            self._check_alone()
            raise
        except Exception as error:
            if _EXPORTED not in str(error).lower():
                self._check_alone()
            raise ModelError(
                f"The network {type(self.module).__name__} does not run, forward and backward, on an example of shape "
                f"{tuple(self.example.shape)}: {type(error).__name__}: {error}. {self._advice(error)}"
            ) from error

    def _traced(self, example: Tensor) -> Passed:
        seen: list[tuple[object, Tensor]] = []

        def keep(output: object) -> Tensor:
            if self.output is None:
                ask_which(output)
            seen.append((output, logits_in(output, self.output)))
            return seen[-1][1]

        devices = [example.device] if example.device.type == "cuda" else []
        before = saved_modules(self.module)
        try:
            with torch.random.fork_rng(devices=devices):
                found = trace(self.module, example, logits=keep)
        finally:
            for module in before:
                module.restore()
        output, scores = seen[-1][0], seen[-1][1].detach()
        check_scores(scores, len(example))
        odd = look_like_probabilities(scores, found.last_operation)
        return Passed(found, scores, (note_on(output, self.output), odd))

    def _check_alone(self) -> None:
        """Say so where the copy runs on two images but not on one."""
        if len(self.example) != 1:
            return
        try:
            self._traced(torch.cat([self.example, self.example]))
        except Exception:  # noqa: BLE001 - then it is not for one image alone that it fails
            return
        raise ModelError(
            f"The network {type(self.module).__name__} runs on two images but not on one: squeeze() in its forward pass, or "
            "statistics of the batch. Let it keep the first axis (flatten(1), squeeze(-1)), and use running statistics"
        )

    def _advice(self, error: Exception) -> str:
        kinds = {str(p.dtype) for p in self.module.parameters() if p.is_floating_point()}
        others = sorted(kinds - {str(self.example.dtype)})
        if others:
            return f"Its weights are {others[0]} and the images {self.example.dtype}: convert one of them"
        return next(
            (say for words, say in _ADVICE if re.search(words, str(error).lower())), _OTHERWISE
        )


_EXPORTED: Final = "guard failed"
_ADVICE: Final = (
    ("use_reentrant", "Switch gradient checkpointing off (use_reentrant=False at least)"),
    (_EXPORTED, "It was exported for one batch size: export it with a dynamic first dimension"),
    ("same device", "A part of it stays on another device: layers in a list, or tensors that are no buffers"),
    ("inference tensor", "Take torch.inference_mode off its forward pass: most maps need gradients"),
    ("no module named", "Install it, or import what lies beside the network's file at the top of that file"),
    (r"missing \d+ required", "It needs more than images: wrap it in a module that fills in the rest"),
    ("shape|size|channel|dimension", "Check the input's size and channels (--size; grey: --channels 1)"),
)  # fmt: skip
_OTHERWISE: Final = "Run it by itself on one image, with gradients, to see where it fails"


def without_left_hooks(trial: Trial, hooks: Hooks) -> Passed:
    """Trace a copy with its left-over hooks taken off, unless the network computes something else without them."""
    found = hooks_of(trial.module)
    if not found or hooks == "keep":
        passed = trial.run()
        kept = f"Kept on the copy, as asked: {in_words(found)}." if found else None
        return replace(passed, notes=(*passed.notes, kept))
    forward = [hook for hook in found if hook.kind.startswith("forward")]
    if not forward or not _belong_to_it(trial, forward):
        take_off(trial.module, found)
        passed = trial.run()
        left = f"Left off the copy, since they may change gradients: {in_words(found)} (hooks=keep keeps them)."
        return replace(passed, notes=(*passed.notes, left))
    backward = [hook for hook in found if hook not in forward]
    take_off(trial.module, backward)
    passed = trial.run()
    part = f"Kept, since without them the network computes something else: {in_words(forward)}."
    gone = f"Left off the copy: {in_words(backward)} (hooks=keep keeps them)." if backward else None
    return replace(passed, notes=(*passed.notes, part, gone))


def _belong_to_it(trial: Trial, hooks: list[Hook]) -> bool:
    """Whether a network computes other logits without some forward hooks, or then reads what they made from elsewhere."""
    without = replace(trial, module=settled(copied(trial.module), trial.example.device))
    take_off(without.module, hooks)
    try:
        kept = trial.run()
    except ModelError:
        return False
    try:
        dropped = without.run()
    except ModelError:
        return True
    hidden = [f for f in dropped.trace.outside if is_weight(f) or f.use.is_matrix]
    is_new = len(hidden) > sum(is_weight(f) or f.use.is_matrix for f in kept.trace.outside)
    return is_new or not torch.allclose(kept.scores, dropped.scores, rtol=1e-5, atol=1e-6)
