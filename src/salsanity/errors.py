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
