"""Plug-ins: what other distributions add by entry points; a broken one is an error that names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, final

from salsanity.errors import SalsanityError, UsageError

METHODS: Final = "salsanity.methods"
SIMILARITIES: Final = "salsanity.similarities"
DRAWS: Final = "salsanity.draws"
CHECKS: Final = "salsanity.checks"
EXECUTORS: Final = "salsanity.executors"
LIBRARIES: Final = "salsanity.libraries"


@final
@dataclass(frozen=True)
class Plugin:
    """What an entry point loads, and where it came from in words."""

    value: Any
    words: str

    def broken(self, reason: str) -> UsageError:
        """Return the error that names this plug-in."""
        return _broken(self.words, reason)

    def made(self, **arguments: Any) -> Any:
        """Return the value itself; a class, or anything that is given arguments, is called first."""
        if not isinstance(self.value, type) and not arguments:
            return self.value
        try:
            return self.value(**arguments)
        except SalsanityError:
            raise
        except Exception as error:
            raise self.broken(f"{type(error).__name__}: {error}") from error


def plugin(group: str, name: str) -> Plugin | None:
    """Load the plug-in `name` of `group`; None where there is none.

    Raises `UsageError` with the distribution, the entry point and the reason where it cannot be loaded, and where two
    distributions claim the name.
    """
    found = {_words(entry): entry for entry in entry_points(group=group, name=name)}
    if len(found) > 1:
        raise UsageError(
            f"expected one plug-in named {name!r}, got {len(found)}: {'; '.join(sorted(found))}; uninstall all but one"
        )
    return next((_loaded(entry, words) for words, entry in found.items()), None)


def plugin_names(group: str) -> Sequence[str]:
    """List the names that installed plug-ins add to `group`."""
    return sorted({entry.name for entry in entry_points(group=group)})


def _loaded(entry: EntryPoint, words: str) -> Plugin:
    try:
        return Plugin(entry.load(), words)
    except SalsanityError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(words, f"{type(error).__name__}: {error}") from error


def _words(entry: EntryPoint) -> str:
    where = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed distribution"
    return f"plug-in {entry.name!r} of {where} ({entry.group}: {entry.value})"


def _broken(words: str, reason: str) -> UsageError:
    return UsageError(
        f"{words} cannot be used: {' '.join(reason.split())}; repair or uninstall its distribution"
    )
