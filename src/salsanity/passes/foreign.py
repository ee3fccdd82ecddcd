"""Running explainers that are not ours, beside ours, without trusting them.

An explainer may use global random numbers, leave hooks or a changed mode behind, write into its inputs, or raise.
Here each runs on copies, under its own random state; `swapped` takes off what it leaves on the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from salsanity.models.network import Network
from salsanity.models.random_state import random_state
from salsanity.models.swap import swapped
from salsanity.passes.request import Foreign, PassResult
from salsanity.seeds import seed_for


@dataclass(frozen=True)
class ForeignFailure:
    """Why an explainer gave no map for the images where `reasons` is not None."""

    reasons: tuple[str | None, ...]
    maps: Tensor | None = None
    """(B, ...) with NaN rows for the failed images; None where no image has a map."""
    enlarged_from: tuple[int, ...] | None = None


def explained_by(
    request: Foreign,
    network: Network,
    x: Tensor,
    targets: Tensor,
    *,
    ids: Sequence[str],
    seed: int,
    stream: int,
) -> PassResult | ForeignFailure:
    """Run the explainer on the batch; when it raises, on each image alone, so that it spoils only its own rows."""
    if request.alone:
        return _one_by_one(request, network, x, targets, ids, seed, stream)
    try:
        return _maps(request, network, x, targets, ids, seed, stream)
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise
        if len(x) == 1:
            return ForeignFailure((_reason(request, error),))
    return _one_by_one(request, network, x, targets, ids, seed, stream)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` says that memory ran out, on a GPU or in the CPU allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in str(error) or "out of memory" in str(error).lower())
    )


def _one_by_one(
    request: Foreign,
    network: Network,
    x: Tensor,
    targets: Tensor,
    ids: Sequence[str],
    seed: int,
    stream: int,
) -> PassResult | ForeignFailure:
    rows: list[PassResult | None] = []
    reasons: list[str | None] = []
    for i in range(len(x)):
        one = slice(i, i + 1)
        try:
            rows.append(_maps(request, network, x[one], targets[one], ids[one], seed, stream))
            reasons.append(None)
        except (Exception, SystemExit) as error:
            if out_of_memory(error):
                raise
            rows.append(None)
            reasons.append(_reason(request, error))
    good = [row for row in rows if row is not None]
    if not good:
        return ForeignFailure(tuple(reasons))
    blank = torch.full_like(good[0].gradient, torch.nan)
    maps = torch.cat([blank if row is None else row.gradient for row in rows])
    size = good[0].enlarged_from
    if len(good) == len(rows):
        return PassResult(maps, enlarged_from=size)
    return ForeignFailure(tuple(reasons), maps, size)


def _reason(request: Foreign, error: BaseException) -> str:
    words = " ".join(str(error).split())[:200]
    return f"{request.name} raised {type(error).__name__}: {words}"


def _maps(
    request: Foreign,
    network: Network,
    x: Tensor,
    targets: Tensor,
    ids: Sequence[str],
    seed: int,
    stream: int,
) -> PassResult:
    state = seed_for(seed, "foreign", request.name, stream, *ids)
    with ExitStack() as stack:
        # What a failed call left on the network must not meet the next image.
        stack.enter_context(swapped(network, {}, exact=False))
        stack.enter_context(random_state(state))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        maps = request.explainer(network.module, x.detach().clone(), targets.clone())
    return as_maps(maps, x, request.name)


def as_maps(maps: object, x: Tensor, name: str) -> PassResult:
    """Bring what an explainer returned to maps of the inputs' height and width, on their device.

    Accepts tensors and arrays of shape (B, C, *spatial), (B, 1, *spatial) or (B, *spatial), at input size or smaller
    (then enlarged bilinearly, and the result says from which size). Raises `ValueError` for other shapes.
    """
    if isinstance(maps, tuple) and len(maps) == 1:
        maps = maps[0]
    tensor = maps.detach() if isinstance(maps, Tensor) else torch.from_numpy(np.asarray(maps))
    if tensor.is_complex():
        raise ValueError(f"expected maps of real numbers, got {tensor.dtype} from {name}")
    tensor = tensor.to(device=x.device, dtype=x.dtype)
    if tensor.dim() == x.dim() - 1 and x.dim() > 2:
        tensor = tensor.unsqueeze(1)
    fits = (
        tensor.dim() == x.dim()
        and len(tensor) == len(x)
        and (x.dim() == 2 or tensor.shape[1] in (1, x.shape[1]))
    )
    if not fits or tensor.numel() == 0:
        raise ValueError(
            f"expected maps of shape {tuple(x.shape)} or with one channel, got {tuple(tensor.shape)} from {name}"
        )
    if tensor.shape[2:] == x.shape[2:]:
        return PassResult(tensor)
    larger = any(a > b for a, b in zip(tensor.shape[2:], x.shape[2:], strict=True))
    if x.dim() != 4 or larger:
        raise ValueError(
            f"expected maps of shape {tuple(x.shape)}, got {tuple(tensor.shape)} from {name}"
        )
    enlarged = F.interpolate(tensor, size=x.shape[2:], mode="bilinear", align_corners=False)
    return PassResult(enlarged, enlarged_from=tuple(tensor.shape[2:]))
