"""Taps: the outputs of layers, kept during a forward pass so that gradients can be taken at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from salsanity.errors import MethodError


@contextmanager
def tapped(
    module: nn.Module, layers: Iterable[str | None], seen: dict[str | None, Tensor]
) -> Iterator[None]:
    """Keep the outputs of `layers` in `seen` during the block; None, the input, is left to the caller.

    The network goes on with a copy of each, since a following in-place ReLU would overwrite the kept one.
    """
    with ExitStack() as stack:
        for layer in layers:
            if layer is not None:
                hook = _keeping(layer, seen)
                stack.callback(module.get_submodule(layer).register_forward_hook(hook).remove)
        yield


def _keeping(layer: str, seen: dict[str | None, Tensor]) -> Callable[..., Tensor]:
    def keep(_: nn.Module, __: object, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise MethodError(
                f"expected a layer that returns one tensor, but {layer!r} returns {type(output).__name__}; "
                "name another layer"
            )
        seen[layer] = output
        return output.clone()

    return keep
