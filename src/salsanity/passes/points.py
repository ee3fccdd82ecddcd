"""Where a pass evaluates: the tensors behind symbolic `Points`, made slice by slice.

Noise belongs to (stream, image, sample) alone, never to a batch, so that results do not depend on the order of
the work; it is drawn on the CPU, so that it is the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from salsanity.passes.request import Baseline, Points
from salsanity.seeds import seed_for

DrawBaseline = Callable[[Baseline, Tensor, Sequence[str], int, int], Tensor]
"""`(baseline, x (B, ...), image ids, draw, stream) -> starting points (B, ...)`."""


def gaussian(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw standard normal noise of `shape` on the CPU from its own generator."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator).to(dtype)


def value_range(x: Tensor) -> Tensor:
    """Return max - min of each image of (B, ...), shaped to broadcast against it."""
    flat = x.flatten(1)
    spread = flat.amax(1) - flat.amin(1)
    return spread.view(-1, *[1] * (x.dim() - 1))


@dataclass(frozen=True)
class Slice:
    """Evaluated positions: `x` (P, B, ...) and, for paths, the displacement end - baseline (P, B, ...)."""

    x: Tensor
    displacement: Tensor | None = None


@dataclass(frozen=True)
class PointSource:
    """The points of a batch of B images, addressed by their index 0 .. points.count - 1.

    The order is copy, then draw of the baseline, then step, so that the points of fewer samples are a prefix of
    those of more.
    """

    points: Points
    x: Tensor
    ids: tuple[str, ...]
    seed: int
    stream: int
    draw_baseline: DrawBaseline
    _kept: dict[tuple[str, int], Tensor] = field(default_factory=dict, compare=False)

    def positions(self, start: int, stop: int) -> Slice:
        """Return the points `start` to `stop` (exclusive) of every image."""
        pieces = [self._position(index) for index in range(start, stop)]
        x = torch.stack([position for position, _ in pieces])
        if self.points.path is None:
            return Slice(x)
        return Slice(x, torch.stack([shift for _, shift in pieces if shift is not None]))

    def _position(self, index: int) -> tuple[Tensor, Tensor | None]:
        path = self.points.path
        if path is None:
            return self._copy(index), None
        copy, rest = divmod(index, path.steps * path.baseline.draws)
        draw, step = divmod(rest, path.steps)
        end, start = self._copy(copy), self._baseline(path.baseline, draw)
        shift = end - start
        return start + _share(step, path.steps, path.spacing) * shift, shift

    def _copy(self, sample: int) -> Tensor:
        noisy = self.points.noisy
        if noisy is None:
            return self.x
        return self._keep("copy", sample, lambda: self.x + self._noise(sample) * noisy.sd)

    def _noise(self, sample: int) -> Tensor:
        shape, dtype = self.x.shape[1:], self.x.dtype
        seeds = [seed_for(self.seed, "noise", self.stream, image, sample) for image in self.ids]
        noise = torch.stack([gaussian(shape, seed, dtype) for seed in seeds])
        return noise.to(self.x.device) * value_range(self.x)

    def _baseline(self, baseline: Baseline, draw: int) -> Tensor:
        return self._keep(
            "baseline",
            draw,
            lambda: self.draw_baseline(baseline, self.x, self.ids, draw, self.stream),
        )

    def _keep(self, kind: str, index: int, make: Callable[[], Tensor]) -> Tensor:
        """Keep the newest value of a kind only: neighbouring points share it, and memory stays flat."""
        if (kind, index) not in self._kept:
            value = make()
            for old in [key for key in self._kept if key[0] == kind]:
                del self._kept[old]
            self._kept[kind, index] = value
        return self._kept[kind, index]


def _share(step: int, steps: int, spacing: str) -> float:
    if spacing == "midpoint":
        return (step + 0.5) / steps
    return step / (steps - 1) if steps > 1 else 1.0
