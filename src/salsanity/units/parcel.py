"""A job on its way into another process: pickled part by part, so that what cannot travel is named."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import is_parametrized

from salsanity.errors import UsageError
from salsanity.units.files import Files, load_files

Parts = tuple[tuple[str, bytes], ...]
"""Fields of a job with their values, pickled: so tensors travel by value, also where a pickler would share their memory."""

STAYS: Final = "here"

NAMES: Final[Mapping[str, str]] = {
    "model": "network",
    "make_model": "builder of networks (make_model)",
    "source": "images",
    "checks": "check",
    "methods": "method",
    "similarities": "similarity",
}


Dump = Callable[[Any], bytes]


def packed(job: Any, dump: Dump | None = None) -> Parts:
    """Return every field of a job but `here`, pickled by `dump`; raise `UsageError` that names the part which cannot be."""
    names = [field.name for field in fields(job) if field.name != STAYS]
    return tuple((name, _pickled(name, getattr(job, name), dump or _dumped)) for name in names)


def unpacked(kind: type, files: Files, parts: Parts) -> Any:
    """Return a job of this `kind`; the files come first, since what follows is found in them by name.

    Raises `UsageError` where a file is missing or changed, or code cannot be found.
    """
    load_files(files)
    return kind(**{name: _read(name, part) for name, part in parts})


class _Pickler(pickle.Pickler):
    """Takes parametrised layers (weight norm) too, which torch itself refuses to pickle: their class is made on the fly."""

    def reducer_override(self, value: Any) -> Any:
        """Rebuild such a layer from the class that it was before, and its state."""
        return reduced(value)


def reduced(value: Any) -> Any:
    """Return how a parametrised layer is made again, as pickling asks for it; `NotImplemented` for all else."""
    if isinstance(value, nn.Module) and is_parametrized(value):
        # weight_norm's hook, a local function, matters to load_state_dict alone
        state = {**vars(value), "_load_state_dict_pre_hooks": OrderedDict()}
        return _blank, (type(value).__bases__[0],), state, None, None, _parametrise
    return NotImplemented


def _blank(kind: type[nn.Module]) -> nn.Module:
    return kind.__new__(kind)


def _parametrise(module: nn.Module, state: Mapping[str, Any]) -> None:
    vars(module).update(state)
    parametrize._inject_new_class(module)
    for name in module.parametrizations:  # type: ignore[union-attr]
        parametrize._inject_property(module, name)


def _dumped(value: Any) -> bytes:
    found = io.BytesIO()
    _Pickler(found, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return found.getvalue()


def _pickled(name: str, value: Any, dump: Dump) -> bytes:
    try:
        return dump(value)
    except Exception as error:  # the user's objects may raise anything
        culprit, reason = next(_culprits(value, dump), ("", error))
        what = f"the {NAMES.get(name, name)} {culprit}".rstrip()
        raise UsageError(
            f"expected a run that another process can open, but {what} cannot be pickled ({_line(reason)}); define it at the "
            "top of a file or module, without lambdas and open files, or use the executor serial"
        ) from error


def _culprits(value: Any, dump: Dump) -> Iterator[tuple[str, Exception]]:
    """Name the elements that cannot be pickled."""
    elements = value.values() if isinstance(value, Mapping) else value
    for element in elements if isinstance(elements, tuple | type({}.values())) else ():
        try:
            dump(element)
        except Exception as error:  # noqa: BLE001 - see above
            yield str(getattr(element, "name", type(element).__name__)), error


def _read(name: str, part: bytes) -> Any:
    try:
        return pickle.loads(part)  # noqa: S301 - a job is handed over by whoever runs it, never read from a file
    except Exception as error:
        raise UsageError(
            f"expected to find here what the {NAMES.get(name, name)} of the run is made of, but: {_line(error)}; define it in "
            "a file or an installed module that every process can import"
        ) from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
