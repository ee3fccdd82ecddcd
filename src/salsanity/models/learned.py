"""What training found: which of the tensors that a network reads are learned, and which are constants of its architecture.

Parameters are learned. A buffer is, too, if the forward pass multiplies or adds it like a weight, unless there is
evidence against it: it is a running statistic, is not saved with the network, acts on the raw input alone, is a mask of
pruning, is mapped by a parameter first, or has the regular values of a filter, mask or table of numbers. Values that repeat
are regular where whole rows do, as in banks of filters; weights of a few levels, as quantisation leaves them, are not.
Indices that pick weights from a codebook are learned as well as the codebook, and so are signs in booleans.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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

CLEAR: Final = 0.25
"""A sine is clearly not zero in a larger share of its rows."""

SPARSE: Final = 0.9
"""With more zeros than this share, a tensor is a mask or a bank of filters."""

SMALL: Final = 100
"""Of fewer numbers filters are made; a layer's weights are more."""

MOSTLY_ZERO: Final = 0.75
RUNS: Final = 2
"""In banks of filters what is not zero stands together: in a row of them it begins so often, at most."""

STEPS: Final = 16
"""Filters such as Sobel's hold whole multiples, at most this large, of their smallest value."""


def kinds_of(slots: tuple[Slot, ...], uses: Mapping[Key, Use]) -> dict[Key, Kind]:
    """Return what every slot is."""
    pruned = {slot.key for slot in slots if slot.name.endswith("_orig")}
    return {
        slot.key: "constant" if _is_mask(slot, pruned) else _kind(slot, uses.get(slot.key))
        for slot in slots
    }


def _is_mask(slot: Slot, pruned: Collection[Key]) -> bool:
    """Whether it is a mask of torch's pruning, whatever its values."""
    stem = slot.name.removesuffix("_mask")
    return stem != slot.name and (slot.layer, f"{stem}_orig") in pruned


def _kind(slot: Slot, use: Use | None) -> Kind:
    is_number = slot.tensor.is_floating_point() or slot.tensor.is_complex()
    if slot.kind == "parameter" and is_number:
        return "unused" if use is None else "learned"
    named = slot.name in STATISTICS and not (use is not None and use.is_matrix)
    if named or (use is not None and "statistics" in use.roles):
        return "statistics"
    if not is_number:
        return "learned" if use is not None and _are_learned(slot.tensor, use) else "whole numbers"
    if use is None:
        return "unused"
    return "learned" if _is_learned(slot, use) else "constant"


def _are_learned(whole: Tensor, use: Use) -> bool:
    """Whether whole numbers are learned: indices of a codebook, or the signs of weights; both are permuted."""
    is_signs = whole.dtype is torch.bool and use.is_matrix and whole.numel() > SMALL
    is_index = use.picks and whole.dtype is not torch.bool
    return (is_signs or is_index) and not are_in_order(whole)


def _is_learned(slot: Slot, use: Use) -> bool:
    is_weight = use.is_matrix or "arithmetic" in use.roles
    if not is_weight:
        return False
    if use.with_weights:  # coordinates and ranges; or factors, banks and frozen weights
        is_table = slot.tensor.numel() > max(slot.tensor.shape, default=1)
        return is_table and use.is_matrix and not is_regular(slot.tensor)
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
    if different < 2 or _is_mostly_zero(tensor, values):
        return True
    if different <= FEW * min(len(values), many) and _are_of_a_pattern(tensor, values, different):
        return True
    if _are_waves(tensor, values):
        return True
    steps = values.diff()
    even = float((steps - steps.mean()).abs().max()) < 1e-4 * float(steps.abs().max())
    if even and len(values) > 3:
        return True
    return _are_multiples(values) and _are_of_a_pattern(tensor, values, STEPS)


def are_in_order(index: Tensor) -> bool:
    """Whether indices are evenly spaced, or the same in most rows or columns, as an architecture lays them out."""
    values = _values(index)
    if len(torch.unique(values)) < 2 or len(torch.unique(values.diff())) < 2:
        return True
    tables = _tables(index, values)
    return any(len(torch.unique(table, dim=0)) <= FEW * len(table) for table in tables)


def _are_of_a_pattern(tensor: Tensor, values: Tensor, different: int) -> bool:
    """Whether a few values make a mask, a small filter, or rows or columns that repeat: quantised weights do none of it."""
    if len(values) <= SMALL or (different == 2 and bool((values == 0).any())):
        return True
    tables = _tables(tensor, values)
    return _are_bands(tables, values) or any(
        len(table) > 1 and len(torch.unique(table, dim=0)) <= FEW * len(table) for table in tables
    )


def _are_bands(tables: tuple[Tensor, ...], values: Tensor) -> bool:
    """Whether what is not zero, which is little, stands together in rows or columns, as in banks of filters."""
    if float((values == 0).double().mean()) <= MOSTLY_ZERO:
        return False
    return not tables or any(
        float(((table != 0).double().diff(dim=1) > 0).sum(1).double().mean()) <= RUNS
        for table in tables
    )


def _tables(tensor: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    """The rows, the columns and the kernels of a tensor; none of a vector, or where its rows are too long."""
    if tensor.ndim < 2 or not tensor.shape[0]:
        return ()
    width = tensor.numel() // tensor.shape[0] * (2 if tensor.is_complex() else 1)
    if not width or len(values) // width < 2:
        return ()
    table = values[: len(values) // width * width].view(-1, width)
    size = int(torch.Size(tensor.shape[2:]).numel())
    kernels = (table.reshape(-1, size),) if size > 1 and width % size == 0 else ()
    return (table, table.t(), *kernels)


def _is_mostly_zero(tensor: Tensor, values: Tensor) -> bool:
    """Whether nearly all is zero as in masks and banks of filters; in pruned weights what is left is scattered."""
    is_sparse = float((values == 0).double().mean()) > SPARSE
    return is_sparse and (len(values) <= SMALL or _are_bands(_tables(tensor, values), values))


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
    fits = missed < 1e-3 * here.abs().amax(0).clamp(min=1e-12)
    return bool((fits & (is_clear.double().mean(0) > CLEAR)).all())


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
