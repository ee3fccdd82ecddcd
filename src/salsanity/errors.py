"""What can go wrong, as one tree; every message says what was expected, what came, and what to do.

::

    SalsanityError
    ├── UsageError              wrong use or bad input: exit code 2
    │   ├── ModelError          a network cannot be loaded, traced or randomised
    │   ├── DataError           images or labels cannot be read or do not fit
    │   ├── MethodError         a saliency method is unknown or undefined for this network
    │   ├── SimilarityError     a similarity is unknown or undefined for these maps
    │   └── SpecError           a specification is invalid, or does not extend the run in its folder
    ├── StoreError              a run folder is damaged or of an unknown format
    ├── TrainingError           a network did not reach the accuracy that a test needs
    ├── UnitError               one unit of work failed; the others are kept
    └── FailuresFound           `Result.raise_for_failures`: at least one method FAILed
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final


class SalsanityError(Exception):
    """Base of every error that this library raises on purpose."""


class UsageError(SalsanityError):
    """Wrong use or bad input; the command line exits with 2."""


class ModelError(UsageError):
    """A network cannot be loaded, traced or randomised."""


class DataError(UsageError):
    """Images or labels cannot be read or do not fit."""


class MethodError(UsageError):
    """A saliency method is unknown, or undefined for this network."""


class SimilarityError(UsageError):
    """A similarity is unknown, or undefined for maps of this shape."""


class SpecError(UsageError):
    """A specification is invalid, or differs from the run in its folder by more than an extension."""


class StoreError(SalsanityError):
    """A run folder is damaged or of a format that this version does not read."""


class TrainingError(SalsanityError):
    """A network did not reach the accuracy that a test needs."""


class UnitError(SalsanityError):
    """One unit of work failed; finished units are kept."""


class FailuresFound(SalsanityError):
    """At least one saliency method FAILed its sanity check."""


MIXED: Final = "torchvision::nms"
"""What an import of torchvision misses beside a torch that it was not built for."""

ONE_INDEX: Final = "--index-url https://download.pytorch.org/whl/cpu"
"""Where both are built for machines without a GPU."""


def mixed_builds(error: BaseException) -> str | None:
    """Say what to do where an import failed since torch and torchvision are of two builds; None for other errors."""
    if not any(MIXED in str(one) for one in _chain(error)):
        return None
    torch = _release("torch")
    found = f"torch {torch} and torchvision {_release('torchvision')}"
    return (
        f"{found} are builds that do not belong together (operator {MIXED} does not exist); take both from one index, by two "
        f"commands: pip uninstall --yes torch torchvision; pip install torch=={torch.partition('+')[0]} torchvision {ONE_INDEX} "
        "(on a machine with a GPU without --index-url)"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    known: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in known:
        known.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _release(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(unknown)"
