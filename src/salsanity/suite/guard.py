"""A check as a guard in somebody's test suite: run once per network and question, remembered, told in words."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, Final, final

from salsanity import registry
from salsanity.checks.named import DEFAULT, lacked_by_all
from salsanity.errors import UsageError
from salsanity.executors.workers import Workers
from salsanity.options import options_of
from salsanity.records import CheckRecord, Outcome
from salsanity.report.tables import plain_table
from salsanity.report.terms import printable
from salsanity.store.folder import held
from salsanity.suite import run
from salsanity.suite.asking import asked
from salsanity.suite.opening import divided, source_of
from salsanity.suite.result import Result
from salsanity.suite.subject import device_of, versions
from salsanity.units.identity import print_of
from salsanity.units.images import index_images
from salsanity.units.spec import RunSpec

_COMFORT: Final = frozenset({"executor", "progress", "unit_timeout"}) | options_of(Workers).keys()
"""Arguments that change no score, so that what is remembered does not depend on them."""

_NAMED: Final = (frozenset(signature(run).parameters) - {"options"}) | options_of(Workers).keys()
"""Arguments of `run` beside the options of runs and checks."""

_LAST: Final = "report.html"
"""What a run writes last: where it lies, everything does."""

ALLOWED: Final = (Outcome.PASS,)


@final
@dataclass(frozen=True)
class Question:
    """What a test asks: `explainers` on `images` of `model` by `checks`, with keyword arguments of `salsanity.run`.

    `usual`: options of runs that give way to `options`, and are left out where no check has them.
    """

    model: Any
    images: Any
    explainers: Sequence[Any]
    options: Mapping[str, Any]
    checks: Sequence[Any] = (DEFAULT,)
    usual: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the fixture decides itself."""
        for name in sorted({"out", "methods", "check"} & set(self.options)):
            raise UsageError(
                f"salsanity_check expected no argument {name!r}: explainers come third, checks are named by "
                "checks=[...], and runs go to salsanity_out"
            )

    @cached_property
    def asked(self) -> tuple[tuple[Any, ...], RunSpec]:
        """The checks and the run's options."""
        _, options = divided(self.options)
        own = {k: v for k, v in options.items() if k not in _NAMED}
        return asked(self.checks, own, usual=self.usual)

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `salsanity.run`."""
        lacked = lacked_by_all(self.asked[0])
        return {**{k: v for k, v in self.usual.items() if k not in lacked}, **self.options}

    @property
    def digest(self) -> str:
        """Digest all that the answer depends on: weights, pixels, labels, explainers, checks, options, code and versions."""
        checks, spec = self.asked
        options = {k: v for k, v in asdict(spec).items() if k not in _COMFORT}
        others = {k: v for k, v in self.options.items() if k in _NAMED - _COMFORT}
        explainers = [registry.method(explainer) for explainer in self.explainers]
        about = (self._shown(spec), explainers, checks, options, others)
        return print_of(self.model, *about, device_of(spec.device).type, versions())

    def _shown(self, spec: RunSpec) -> list[list[Any]]:
        preprocessing, _ = divided(self.options)
        source, _ = source_of(self.images, preprocessing=preprocessing)
        names = getattr(source, "names", None)
        chosen = index_images(source, seed=spec.seed, limit=spec.max_images, names=names)
        return [[e.id, e.name, e.label, e.index] for e in chosen.entries]


def answered(question: Question, *, where: Path, title: str, fresh: bool = False) -> Result:
    """Return the answer that `where` remembers, or run the check there; one process at a time, others wait for it.

    The run's folder is `<title>-<digest>`; an interrupted run is continued. `fresh`: forget what is remembered.
    """
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", title)[:60].strip("-.") or "check"
    folder = where / f"{readable}-{question.digest[:12]}"
    with _alone(folder):
        if fresh and folder.exists():
            shutil.rmtree(folder)
        remembered = Result(folder) if (folder / _LAST).exists() else None
        if remembered is not None and not remembered.gates.get("failed_units"):
            return remembered
        return run(
            list(question.checks),
            question.model,
            question.images,
            methods=list(question.explainers),
            out=folder,
            **question.arguments,
        )


def allowed(names: Collection[str]) -> frozenset[Outcome]:
    """Return PASS and the outcomes named, which a test lets through; `UsageError` for FAIL and for unknown ones."""
    names = [names] if isinstance(names, str) else list(names)
    known = {Outcome.INCONCLUSIVE.value, Outcome.UNINFORMATIVE.value, Outcome.PASS.value}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise UsageError(
            f"expected allow with some of {', '.join(sorted(known))}, got {wrong[0]!r}; a known FAIL is marked with "
            "pytest.mark.xfail"
        )
    return frozenset({*ALLOWED, *map(Outcome, names)})


def complaint(result: Result, *, let_through: Collection[Outcome] = ALLOWED) -> str | None:
    """Return why a test must fail: the verdict table, 80 columns wide, and the report's path; None where it passes."""
    run = result.run
    bad = [
        f"salsanity: {printable(method)} {_said(headline.outcome, part.record, len(run.parts) > 1)}"
        for part in run.parts
        if part.record.gives_verdicts
        for method, headline in part.headlines.items()
        if method in part.methods and headline.outcome not in let_through
    ]
    if result.trusted and not bad:
        return None
    lines = (
        [] if result.trusted else ["salsanity: this run cannot be trusted, so nothing was shown"]
    )
    report = (result.folder / "report.html").resolve()
    lines = [textwrap.fill(line, 80) for line in [*lines, *bad]]
    return "\n".join([*lines, "", plain_table(run), "", f"Report: {report}"])


_UNDECIDED: Final = {
    Outcome.INCONCLUSIVE: "raise draws or max_images, or allow it",
    Outcome.UNINFORMATIVE: "ask with other images, or allow it",
}


def _said(outcome: Outcome, record: CheckRecord, is_one_of_several: bool) -> str:
    """Say what a headline means to a test, in the words of its check."""
    if outcome is Outcome.FAIL:
        return f"FAILed: {printable(record.words.caught)}"
    where = f" in {printable(record.name)}" if is_one_of_several else ""
    return f"is {outcome}{where}, so nothing was shown: {_UNDECIDED[outcome]}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process asks the same; the operating system ends the lock with the process."""
    if not folder.parent.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    lock = held(folder.parent / f".{folder.name}.lock")
    try:
        yield
    finally:
        lock.release()
