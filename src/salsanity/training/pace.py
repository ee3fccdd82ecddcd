"""What makes an epoch shorter and leaves what is learned alone: bfloat16 and the order of channels in memory.

What that saves, `benchmarks/training_pace.py` measures.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn

from salsanity.models.network import logits_in
from salsanity.training.evaluate import evaluating

log = logging.getLogger(__name__)

BFLOAT16: Final = ("avx512_bf16", "amx_bf16")
"""The instructions of a processor that multiply bfloat16 faster than float32."""

FAILURES: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
)


@final
@dataclass(frozen=True)
class Pace:
    """How batches are run: in which layout, and whether matrix products are in bfloat16 (the weights stay as they are)."""

    device: torch.device
    layout: torch.memory_format = torch.contiguous_format
    mixed: bool = False

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which the network runs."""
        if not self.mixed:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def laid(self, images: Tensor) -> Tensor:
        """Return a batch (B, ...) in the layout."""
        return images.contiguous(memory_format=self.layout)


def pace_for(model: nn.Module, images: Tensor, *, mixed: bool) -> Pace:
    """Return the fastest way in which the network runs on two of the images; its weights are laid out for it.

    Without `mixed`, or where there is no bfloat16, all stays in float32 in the usual layout: such a training is the same, bit for
    bit, as it ever was. What a network cannot do (a `view` that needs the usual layout, a layer without bfloat16) is left out.
    """
    device = images.device
    if mixed and has_bfloat16(device):
        for layout in (_layout(model, images), torch.contiguous_format):
            pace = Pace(device, layout, mixed=True)
            if _runs(model, images[:2], pace):
                return pace
    _lay(model, torch.contiguous_format)
    return Pace(device)


def as_built(model: nn.Module) -> None:
    """Give the weights the usual layout back."""
    _lay(model, torch.contiguous_format)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    told = getattr(torch.cpu, "get_capabilities", None)
    return device.type == "cpu" and told is not None and any(bool(told().get(k)) for k in BFLOAT16)


def _layout(model: nn.Module, images: Tensor) -> torch.memory_format:
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    plain = images.ndim == 4 and images.device.type == "cpu" and convolves
    return torch.channels_last if plain else torch.contiguous_format


def _runs(model: nn.Module, images: Tensor, pace: Pace) -> bool:
    _lay(model, pace.layout)
    try:
        with evaluating(model), torch.enable_grad(), pace.precision():
            total = logits_in(model(pace.laid(images))).float().sum()
            learned = [p for p in model.parameters() if p.requires_grad]
            torch.autograd.grad(total, learned, allow_unused=True)
    except FAILURES as error:
        log.info("the network does not train in %s: %s", pace, error)
        return False
    return True


def _lay(model: nn.Module, layout: torch.memory_format) -> None:
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
