"""Running explainers that are not ours, beside ours, without trusting them.

An explainer may use global random numbers, leave hooks or a changed mode behind, write into its inputs, print, raise, or
never look at the network. Here each runs on copies, under its own random state; `swapped` takes off what it leaves.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from salsanity.models.hooks import process_as_before
from salsanity.models.network import Network
from salsanity.models.random_state import random_state
from salsanity.models.swap import swapped
from salsanity.passes.overheard import Aside, Listener
from salsanity.passes.request import Foreign, PassResult
from salsanity.seeds import seed_for
from salsanity.symbols import neighbours_of

_OURS: Final = str(Path(__file__).parents[1])
_PYTHONS: Final = sysconfig.get_path("stdlib")
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class ForeignFailure:
    """Why an explainer gave no map for the images where `reasons` is not None."""

    reasons: tuple[str | None, ...]
    maps: Tensor | None = None
    """(B, ...) with NaN rows for the failed images; None where no image has a map."""
    enlarged_from: tuple[int, ...] | None = None
    aside: Aside | None = None


def place_of(error: BaseException) -> str:
    """Say in which line of the user's own files an error was raised, innermost; "" where none of these is known."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if not ({*file.parts} & _INSTALLED or frame.filename.startswith((_OURS, _PYTHONS, "<"))):
            found = f" (line {frame.lineno} of {file.name})"
    return found


class UnfitMaps(ValueError):
    """What an explainer returned is no map of each input; the message says what came and what should."""


@dataclass(frozen=True)
class _Task:
    """An explainer, the network, the seed and stream of its random numbers, and who listens."""

    request: Foreign
    network: Network
    seed: int
    stream: int
    listener: Listener

    def maps(self, x: Tensor, targets: Tensor, ids: Sequence[str]) -> PassResult:
        """Run the explainer once; whatever it raises comes through."""
        state = seed_for(self.seed, "foreign", self.request.name, self.stream, *ids)
        module = self.network.module
        with ExitStack() as stack:
            # What a failed call left on the network must not meet the next image.
            stack.enter_context(swapped(self.network, {}, exact=False))
            stack.enter_context(process_as_before())
            stack.enter_context(random_state(state))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(self.listener.listening(module))
            stack.enter_context(neighbours_of(self.request.explainer))
            maps = self.request.explainer(module, x.detach().clone(), targets.clone())
        return as_maps(maps, x, self.request.name)

    def reason(self, error: BaseException) -> str:
        """Say why there is no map."""
        words = " ".join(str(error).split())[:300]
        if isinstance(error, UnfitMaps):
            return words
        return f"{self.request.name} raised {type(error).__name__}: {words[:200]}{place_of(error)}"


def explained_by(
    request: Foreign,
    network: Network,
    x: Tensor,
    targets: Tensor,
    *,
    ids: Sequence[str],
    seed: int,
    stream: int,
    together: int = 1,
) -> PassResult | ForeignFailure:
    """Run the explainer on each image alone, or on `together` at once; where it raises on several, on each of them alone.

    The result's `aside` says whether it ran the network, and what it printed.
    """
    task = _Task(request, network, seed, stream, Listener())
    most = min(together, network.largest_batch or together)
    rows: list[_Row] = []
    for start in range(0, len(x), most):
        part = slice(start, start + most)
        rows += _rows(task, x[part], targets[part], ids[part])
    apart = any(row.apart for row in rows)
    return replace(_joined(rows), aside=replace(task.listener.aside(), apart=apart))


@dataclass(frozen=True)
class _Row:
    """The map of one image, with the size at which it came, or why there is none.

    `apart`: the explainer raised on this image and others, and was then given it alone.
    """

    maps: Tensor | None
    enlarged_from: tuple[int, ...] | None = None
    reason: str | None = None
    apart: bool = False


def _rows(task: _Task, x: Tensor, targets: Tensor, ids: Sequence[str]) -> list[_Row]:
    try:
        found = task.maps(x, targets, ids)
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise
        if len(x) == 1:
            return [_Row(None, reason=task.reason(error))]
    else:
        return [_Row(one, found.enlarged_from) for one in torch.split(found.gradient, 1)]
    alone = (slice(i, i + 1) for i in range(len(x)))
    each = [row for one in alone for row in _rows(task, x[one], targets[one], ids[one])]
    return [replace(row, apart=True) for row in each]


def _joined(rows: Sequence[_Row]) -> PassResult | ForeignFailure:
    reasons = tuple(row.reason for row in rows)
    good = [row.maps for row in rows if row.maps is not None]
    if not good:
        return ForeignFailure(reasons)
    blank = torch.full_like(good[0], torch.nan)
    maps = torch.cat([blank if row.maps is None else row.maps for row in rows])
    size = next((row.enlarged_from for row in rows if row.enlarged_from), None)
    if len(good) == len(rows):
        return PassResult(maps, enlarged_from=size)
    return ForeignFailure(reasons, maps, size)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` says that memory ran out, on a GPU or in the CPU allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in str(error) or "out of memory" in str(error).lower())
    )


_ENLARGING: Final[Mapping[int, str]] = {3: "linear", 4: "bilinear", 5: "trilinear"}
"""By the number of dimensions of a batch."""


def _accepted(x: Tensor) -> str:
    """Say which shapes maps of inputs `x` may have."""
    whole, one = tuple(x.shape), (len(x), 1, *x.shape[2:])
    shapes = dict.fromkeys([whole, one, (len(x), *x.shape[2:])] if x.dim() > 2 else [whole])
    return " or ".join(map(str, shapes))


def as_maps(maps: object, x: Tensor, name: str) -> PassResult:
    """Bring what an explainer returned to maps of the inputs' height and width, on their device.

    Accepts tensors and arrays, or lists of one for each image, of shape (B, C, *spatial), (B, 1, *spatial) or (B, *spatial),
    at input size or smaller (then enlarged linearly in each direction, and the result says from which size). Raises
    `UnfitMaps`, a `ValueError`, for all else.
    """
    tensor = _as_tensor(maps, x, name)
    if tensor.is_complex():
        raise UnfitMaps(f"expected maps of real numbers, got {tensor.dtype} from {name}")
    tensor = tensor.to(device=x.device, dtype=x.dtype)
    if tensor.dim() == x.dim() - 1 and x.dim() > 2:
        tensor = tensor.unsqueeze(1)
    fits = (
        tensor.dim() == x.dim()
        and len(tensor) == len(x)
        and (x.dim() == 2 or tensor.shape[1] in (1, x.shape[1]))
    )
    if not fits or tensor.numel() == 0:
        raise UnfitMaps(
            f"expected maps of shape {_accepted(x)} or smaller in height and width, got {tuple(tensor.shape)} from {name}"
        )
    if tensor.shape[2:] == x.shape[2:]:
        return PassResult(tensor)
    larger = any(a > b for a, b in zip(tensor.shape[2:], x.shape[2:], strict=True))
    if x.dim() not in _ENLARGING or larger:
        raise UnfitMaps(
            f"expected maps of shape {_accepted(x)}, got {tuple(tensor.shape)} from {name}: only smaller maps are enlarged"
        )
    return PassResult(enlarged(tensor, x), enlarged_from=tuple(tensor.shape[2:]))


def enlarged(maps: Tensor, x: Tensor) -> Tensor:
    """Enlarge maps (B, C, *spatial) to the size of the inputs `x`, linearly in each direction."""
    mode = _ENLARGING[x.dim()]
    return F.interpolate(maps, size=x.shape[2:], mode=mode, align_corners=False)


def _as_tensor(maps: object, x: Tensor, name: str) -> Tensor:
    """Turn what an explainer returned into one tensor; say what it is where that cannot be."""
    if isinstance(maps, tuple) and len(maps) == 1:
        maps = maps[0]
    if isinstance(maps, Tensor):
        return maps.detach().clone()  # the explainer may write into it again
    if maps is None or isinstance(maps, Mapping | str | bytes):
        keys = f" with {', '.join(map(str, maps))}" if isinstance(maps, Mapping) else ""
        raise UnfitMaps(
            f"{name} returned {'nothing' if maps is None else type(maps).__name__ + keys}; let it return the maps as one tensor "
            f"or array of shape {tuple(x.shape)}"
        )
    try:
        return torch.from_numpy(np.array(_arrays(maps)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnfitMaps(
            f"{name} returned {_kind(maps)}, which is no array of numbers ({' '.join(str(error).split())[:100]}); let it return "
            f"the maps as one tensor or array of shape {tuple(x.shape)}"
        ) from error


def _arrays(maps: object) -> Any:
    """Lists with their tensors as arrays, which torch refuses for those that want gradients."""
    if isinstance(maps, Tensor):
        return maps.detach().cpu().numpy()
    return [_arrays(m) for m in maps] if isinstance(maps, list | tuple) else maps


def _kind(maps: object) -> str:
    many = f" of {len(maps)}" if isinstance(maps, list | tuple) else ""
    return f"a {type(maps).__name__}{many}"
