"""What is wanted of a run: from a preset, a file and the command line; the more explicit has the last word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from salsanity.cli.parameters import Given, Group, split_lists
from salsanity.cli.values import configuration
from salsanity.errors import SpecError
from salsanity.executors.workers import Workers
from salsanity.options import checked, from_mapping, option, options_of
from salsanity.training.settings import PAPER_IMAGES

if TYPE_CHECKING:
    from salsanity.executors.serial import Executor
    from salsanity.units.spec import RunSpec

QUICK: Final[Mapping[str, Any]] = {"max_images": 8, "draws": 5, "samples": 5, "steps": 5}

PAPER_EFFORT: Final[Mapping[str, Any]] = {"samples": 50, "steps": 50, "endpoints": True}

PAPER: Final[Mapping[str, Any]] = {
    **PAPER_EFFORT,
    "stages": "all",
    "init": "he",
    "target": "own",
    "max_images": 200,
}
"""The choices of the paper and its code, as far as a run and its checks have them."""

PAPER_LABELS: Final[Mapping[str, Any]] = {
    **PAPER_EFFORT,
    "max_images": 200,
    "train_images": PAPER_IMAGES,
}
"""The same of the data randomisation test."""

PAPER_OWN_NETWORKS: Final[Mapping[str, Any]] = {"init": "fresh"}
"""How the authors' code draws fresh weights for the paper's CNN and MLP: as they begin (`models/reference.py`)."""

PAPER_SIMILARITIES: Final = (
    "spearman",
    "ssim(window=5, weights='uniform', scaling='maximum')",
    "hog(correlation='spearman')",
)


@final
@dataclass(frozen=True)
class Choice:
    """Which checks."""

    check: tuple[str, ...] = option(
        (),
        "What to check: names, all-cheap or file.py:Check; repeat it or use commas. "
        "Unset: the first that `salsanity checks` lists.",
    )

    def __post_init__(self) -> None:
        """Refuse values of other types."""
        checked(self)


@final
@dataclass(frozen=True)
class Wishes:
    """By what maps are made and compared, where the run goes, and what computes it."""

    method: tuple[str, ...] = option(
        (), "A saliency method; repeat it or use commas. See `salsanity methods`."
    )
    similarity: tuple[str, ...] = option(
        (), "A similarity of two maps; repeat it or use commas. See `salsanity similarities`."
    )
    executor: str | None = option(
        None, "serial (default), ray (processes here or on a cluster), or the name of a plug-in."
    )
    out: Path | None = option(None, "The run folder.")
    junit: Path | None = option(None, "Write the verdicts as JUnit XML to this file, for CI.")

    def __post_init__(self) -> None:
        """Refuse values of other types."""
        checked(self)


@final
@dataclass(frozen=True)
class Preset:
    """Choices by one name."""

    preset: str | None = option(
        None, "The choices of the paper and its code; for a GPU.", choices=("paper",)
    )

    def __post_init__(self) -> None:
        """Refuse other names."""
        checked(self)


@final
@dataclass(frozen=True)
class Quick:
    """A run of a minute."""

    quick: bool = option(
        False,
        f"{QUICK['max_images']} images, {QUICK['draws']} draws, {QUICK['samples']} samples and steps.",
    )


@final
@dataclass(frozen=True)
class Reading:
    """Where more options are read, and how the answer is told."""

    config: Path | None = option(
        None, "A TOML file of options; what is to be checked is said here."
    )
    json: bool = option(False, "Print the verdicts as JSON on stdout, nothing else.")


@final
@dataclass(frozen=True, eq=False)
class Wanted:
    """What is wanted of a run, checked."""

    checks: tuple[Any, ...]
    spec: RunSpec
    wishes: Wishes
    optional: frozenset[str]
    """Checks that are left out where the network does not admit them."""
    workers: Workers = Workers()

    @property
    def executor(self) -> Executor:
        """What computes the run."""
        from salsanity.executors.named import executor

        return executor(self.wishes.executor, self.workers)


def shared_groups(*, own: Sequence[str]) -> tuple[Group, ...]:
    """Return what every run and the checks named `own` have; other options are read, so as to be refused."""
    from salsanity.checks.named import BUILT_IN, lacked_by_all
    from salsanity.units.spec import RunSpec

    lacked = lacked_by_all(BUILT_IN[check] for check in own)
    runs = tuple(name for name in options_of(RunSpec) if name not in lacked)
    kinds = {f"The check {name}": (kind, name not in own) for name, kind in BUILT_IN.items()}
    return (
        Group("Methods, similarities and results", Wishes, in_file=True),
        Group("Where units run", Workers, in_file=True),
        Group("Every run", RunSpec, runs, in_file=True),
        *(Group(title, k, in_file=True, is_hidden=hides) for title, (k, hides) in kinds.items()),
        Group("Every run", RunSpec, in_file=True, is_hidden=True),
    )


def wanted(
    given: Given, *, checks: Sequence[str] = (), preset: Mapping[str, Any] | None = None
) -> Wanted:
    """Lay what was said over the file over the preset. `checks`: those of a command that is called after one.

    Of a preset, what neither the run nor its checks have is left out. Raises `UsageError` for what does not fit.
    """
    from salsanity.checks.named import DEFAULT, optional_of
    from salsanity.suite.asking import asked

    said = split_lists({**_from_file(given), **given.shared}, given.groups)
    names = checks or from_mapping(Choice, _taken(said, Choice)).check or (DEFAULT,)
    wishes = from_mapping(Wishes, _taken(said, Wishes))
    workers = from_mapping(Workers, _taken(said, Workers))
    found, spec = asked(names, said, usual=preset)
    return Wanted(found, spec, wishes, optional_of(names), workers)


def _taken(said: dict[str, Any], kind: type) -> dict[str, Any]:
    """Take the options of `kind` out of what was said."""
    return {name: said.pop(name) for name in options_of(kind) if name in said}


def _from_file(given: Given) -> dict[str, Any]:
    """Read the file of options; what belongs on the command line is refused."""
    found = configuration(given.of(Reading).config)
    names = {known.name: group.in_file for group in given.groups for known in group.options}
    elsewhere = {name for name, in_file in names.items() if not in_file}
    for name in sorted(elsewhere & found.keys()):
        raise SpecError(
            f"expected --{name.replace('_', '-')} on the command line, not in the file of options"
        )
    return found
