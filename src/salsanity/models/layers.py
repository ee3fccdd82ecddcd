"""The layer that GradCAM looks at: the last one whose output still has places in the image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, final

from torch import Tensor

from salsanity.errors import MethodError
from salsanity.models.atoms import owner_of
from salsanity.models.blocks import Block, blocks_of
from salsanity.models.tracing import Output, Trace, trace

__all__ = [
    "Block",
    "SpatialLayer",
    "Trace",
    "blocks_of",
    "last_spatial_layer",
    "owner_of",
    "spatial_layer",
    "trace",
]

MOST_PREFIX_TOKENS: Final = 8
"""Class, distillation and register tokens come before the grid; more are not taken for such."""


_PASS_THROUGH: Final = frozenset(
    {"Identity", "Dropout", "Dropout2d", "StochasticDepth", "DropPath"}
)
"""In eval mode these return what they get: the layer before has the name that people know."""


@final
@dataclass(frozen=True)
class SpatialLayer:
    """A layer whose output has places in the image, and how to lay them out.

    `kind`: "nchw" as convolutions give it, "nhwc" (Swin), or "tokens", (N, prefix + h * w, C) in
    row-major order. `grid`: (h, w); for 1-D and 3-D networks the other spatial sizes.
    """

    name: str
    kind: Literal["nchw", "nhwc", "tokens"]
    grid: tuple[int, ...]
    prefix_tokens: int = 0

    def laid_out(self, tapped: Tensor) -> Tensor:
        """Return the layer's output or a gradient there as (N, C, h, w)."""
        if self.kind == "nhwc":
            return tapped.permute(0, 3, 1, 2)
        if self.kind == "tokens":
            places = tapped[:, self.prefix_tokens :]
            return places.transpose(1, 2).reshape(len(tapped), -1, *self.grid)
        return tapped


def last_spatial_layer(trace: Trace) -> str:
    """Return the name of the layer that `spatial_layer` finds; MethodError if there is none."""
    return spatial_layer(trace).name


def spatial_layer(trace: Trace, name: str | None = None) -> SpatialLayer:
    """Find the layer for GradCAM, or read how a named layer's output is laid out.

    The rule: take the last convolution by execution (with more than one place); among the module
    outputs from there on take the last one, (N, C, h, w), of the same h and w. So: a CNN's last
    ReLU before pooling, ResNet's layer4, Inception's Mixed_7c. Where tokens follow (ViT, Swin),
    take instead the last norm or block whose tokens form a grid and at which the predicted logit
    has a gradient: in a ViT that reads its class token alone, the last block's first norm.

    Raises MethodError where there is no such layer, or where the named one is not of this kind.
    """
    if name is not None:
        return _named(trace, name)
    convolved = _after_convolution(trace)
    token = _last_tokens(trace, convolved)
    if token is not None:
        return token
    if convolved is not None:
        output = trace.outputs[convolved]
        return SpatialLayer(output.module, "nchw", output.shape[2:])
    raise MethodError(
        "GradCAM needs a layer with places in the image, and this network has none: no "
        "convolution with "
        "more than one place feeds a module, and no tokens form a grid. Leave GradCAM out, or "
        "name a layer"
    )


def _after_convolution(trace: Trace) -> int | None:
    """Index of the last module output with the spatial size of the last convolution."""
    for number in range(len(trace.convolutions), 0, -1):
        grid = trace.convolutions[number - 1].shape[2:]
        if _places(grid) < 2:
            continue
        for i in range(len(trace.outputs) - 1, -1, -1):
            o = trace.outputs[i]
            wide = len(o.shape) == len(grid) + 2 and o.shape[2:] == grid
            named = o.module and o.kind not in _PASS_THROUGH
            if wide and named and o.bare and o.convolved >= number:
                return i
    return None


def _places(grid: Iterable[int]) -> int:
    count = 1
    for size in grid:
        count *= size
    return count


def _last_tokens(trace: Trace, after: int | None) -> SpatialLayer | None:
    """The last live norm with a grid of tokens that ran after the last convolution's own layers."""
    for output in reversed(trace.outputs[after + 1 :] if after is not None else ()):
        if output.normalises_last and output.live and output.bare:
            found = _as_tokens(trace, output)
            if found is not None:
                return found
    return None


def _as_tokens(trace: Trace, output: Output) -> SpatialLayer | None:
    if len(output.shape) == 4 and _places(output.shape[1:3]) > 1:
        return SpatialLayer(output.module, "nhwc", output.shape[1:3])
    if len(output.shape) != 3:
        return None
    for grid in _grids(trace):
        prefix = output.shape[1] - _places(grid)
        if 0 <= prefix <= MOST_PREFIX_TOKENS:
            return SpatialLayer(output.module, "tokens", grid, prefix)
    return None


def _grids(trace: Trace) -> Iterable[tuple[int, ...]]:
    """Grids that tokens may form: that of a convolution, or halved by merging as in Swin."""
    for convolution in reversed(trace.convolutions):
        grid = convolution.shape[2:]
        while _places(grid) > 1:
            yield grid
            grid = tuple((size + 1) // 2 for size in grid)


def _named(trace: Trace, name: str) -> SpatialLayer:
    calls = [o for o in trace.outputs if o.module == name]
    if not calls:
        raise MethodError(
            f"Expected the name of a module that the forward pass runs, got {name!r}. The last "
            "ones are "
            f"{', '.join(dict.fromkeys(o.module for o in trace.outputs[-8:] if o.module))}"
        )
    output = calls[-1]
    if len(output.shape) == 4 and _channels_last(trace, output):
        return SpatialLayer(name, "nhwc", output.shape[1:3])
    if (
        len(output.shape) == len(trace.input_shape)
        and _places(output.shape[2:]) > 1
        and output.bare
    ):
        tokens = _as_tokens(trace, output) if len(output.shape) == 3 and _is_image(trace) else None
        return tokens or SpatialLayer(name, "nchw", output.shape[2:])
    found = _as_tokens(trace, output) if len(output.shape) == 3 and output.bare else None
    if found is None:
        raise MethodError(
            f"GradCAM needs places in the image; layer {name!r} returns {output.shape}. Name a "
            "layer that "
            "returns (N, C, h, w), (N, h, w, C) or (N, tokens, C)"
        )
    return found


def _is_image(trace: Trace) -> bool:
    return len(trace.input_shape) == 4


def _channels_last(trace: Trace, output: Output) -> bool:
    """Whether some norm over the last axis returned the same shape."""
    return any(o.normalises_last and o.shape == output.shape for o in trace.outputs)
