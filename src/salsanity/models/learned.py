"""What training found: which of the tensors that a network reads are learned, and which are constants of its architecture.

Parameters are learned. A buffer is, too, if the forward pass multiplies or adds it like a weight, unless there is
evidence against it: it is a running statistic, is not saved with the network, acts on the raw input alone, is combined with
a parameter first (a mask of pruning), or has the regular values of a filter, mask or table of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import torch
from torch import Tensor

from salsanity.models.reading import Use
from salsanity.models.slots import Key, Slot

Kind = Literal["learned", "statistics", "constant", "unused", "whole numbers"]

STATISTICS: Final = frozenset({"running_mean", "running_var"})

_LIKE_PARAMETERS: Final = frozenset({"weight", "bias"})
"""Frozen norms and converted layers keep what was learned in buffers of these names."""

MOST_SEEN: Final = 50_000
"""Of larger tensors, so many values are looked at."""

FEW: Final = 0.34
"""With fewer different values than this share, a tensor repeats itself as filters and masks do (3 of 9 in a binomial filter)."""

MANY_DIFFERENT: Final = 2_000
"""So many different values are enough, however large a tensor is: half precision has no more than some thousands."""

MANY_WHOLE: Final = 150
"""The same of whole numbers: eight bits hold 256."""

FEWEST_ROWS: Final = 8
"""In shorter tables a sine is not told from other values."""

SPARSE: Final = 0.9
"""With more zeros than this share, a tensor is a mask or a bank of filters."""

STEPS: Final = 16
"""Filters such as Sobel's hold whole multiples, at most this large, of their smallest value."""


def kinds_of(slots: tuple[Slot, ...], uses: Mapping[Key, Use]) -> dict[Key, Kind]:
    """Return what every slot is."""
    return {slot.key: _kind(slot, uses.get(slot.key)) for slot in slots}


def _kind(slot: Slot, use: Use | None) -> Kind:
    is_number = slot.tensor.is_floating_point() or slot.tensor.is_complex()
    if slot.kind == "parameter" and is_number:
        return "unused" if use is None else "learned"
    if slot.name in STATISTICS or (use is not None and "statistics" in use.roles):
        return "statistics"
    if not is_number:
        return "whole numbers"
    if use is None:
        return "unused"
    return "learned" if _is_learned(slot, use) else "constant"


def _is_learned(slot: Slot, use: Use) -> bool:
    is_weight = use.is_matrix or "arithmetic" in use.roles
    if not is_weight or use.with_weights:
        return False
    if slot.name in _LIKE_PARAMETERS:
        return True
    return (slot.persistent or use.is_matrix) and not is_regular(slot.tensor)


def is_regular(tensor: Tensor) -> bool:
    """Whether values repeat or follow each other as only those of a constant do: masks, filters, evenly spaced numbers."""
    values = _values(tensor)
    size = float(values.abs().max())
    if len(values) < 2 or size == 0 or not bool(values.isfinite().all()):
        return True
    different = len(torch.unique((values / size * 1e5).round()))
    many = MANY_DIFFERENT if tensor.is_floating_point() or tensor.is_complex() else MANY_WHOLE
    is_sparse = float((values == 0).double().mean()) > SPARSE
    if is_sparse or different < 2 or different <= FEW * min(len(values), many):
        return True
    if _are_waves(tensor, values):
        return True
    steps = values.diff()
    even = float((steps - steps.mean()).abs().max()) < 1e-4 * float(steps.abs().max())
    return (even and len(values) > 3) or _are_multiples(values)


def _are_waves(tensor: Tensor, values: Tensor) -> bool:
    """Whether the columns of a table are sines of the row, as tables of positions are: s(n+1) + s(n-1) = r s(n).

    Places where a sine starts anew (a table of rows and columns of an image) are passed over by taking medians.
    """
    if tensor.is_complex() or tensor.ndim < 2 or len(values) < tensor.numel():
        return False
    table = values.view(-1, tensor.shape[-1])
    return any(len(t) >= FEWEST_ROWS and _are_sines(t) for t in (table, table.t()))


def _are_sines(table: Tensor) -> bool:
    around, here = table[2:] + table[:-2], table[1:-1]
    is_clear = here.abs() > 0.1 * here.abs().amax(0)
    ratio = torch.where(is_clear, around / here, torch.nan).nanmedian(0).values
    missed = (around - ratio * here).abs().nanmedian(0).values
    return bool((missed < 1e-3 * here.abs().amax(0).clamp(min=1e-12)).all())


def _are_multiples(values: Tensor) -> bool:
    unit = values[values != 0].abs().min()
    multiples = values / unit
    return bool(((multiples - multiples.round()).abs() < 1e-4).all()) and (
        float(multiples.abs().max()) <= STEPS
    )


def _values(tensor: Tensor) -> Tensor:
    """Return the numbers of a tensor in float64, some of them where it is large."""
    plain = tensor.detach().dequantize() if tensor.is_quantized else tensor.detach()
    plain = plain.to_dense() if plain.layout is not torch.strided else plain
    flat = (torch.view_as_real(plain.resolve_conj()) if plain.is_complex() else plain).flatten()
    if len(flat) > MOST_SEEN:
        start = (len(flat) - MOST_SEEN) // 2  # neighbours, so that a filter's repetition is seen
        flat = flat[start : start + MOST_SEEN]
    return flat.double().cpu()
