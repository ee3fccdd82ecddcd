"""A check as a guard in somebody's test suite: run once per network and question, remembered, told in words."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from salsanity import registry
from salsanity.checks.images import index_images
from salsanity.checks.spec import CheckSpec
from salsanity.errors import UsageError
from salsanity.records import Outcome
from salsanity.report import read_run
from salsanity.report.tables import plain_table
from salsanity.report.terms import printable
from salsanity.store.folder import held
from salsanity.suite import model_randomization_test
from salsanity.suite.opening import source_of
from salsanity.suite.prints import print_of
from salsanity.suite.result import Result
from salsanity.suite.subject import device_of, versions

_COMFORT: Final = frozenset({"executor", "progress", "unit_timeout"})
"""Arguments that change no score, so that what is remembered does not depend on them."""

_LAST: Final = "report.html"
"""What a run writes last: where it lies, everything does."""

ALLOWED: Final = (Outcome.PASS,)


@final
@dataclass(frozen=True)
class Question:
    """What a test asks: `explainers` on `images` of `model`, with keyword arguments of `model_randomization_test`."""

    model: Any
    images: Any
    explainers: Sequence[Any]
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse what the fixture decides itself."""
        for name in sorted({"out", "methods"} & set(self.options)):
            raise UsageError(
                f"salsanity_check expected no argument {name!r}: explainers come third, and runs go to salsanity_out"
            )

    @property
    def digest(self) -> str:
        """Digest everything that the answer depends on: weights, pixels, labels, explainers, options, code and versions."""
        fields = CheckSpec.__dataclass_fields__
        spec = CheckSpec.from_mapping({k: v for k, v in self.options.items() if k in fields})
        source = source_of(self.images)
        names = getattr(source, "names", None)
        chosen = index_images(source, seed=spec.seed, limit=spec.max_images, names=names)
        shown = [[e.id, e.name, e.label, e.index] for e in chosen.entries]
        asked = {k: v for k, v in sorted(self.options.items()) if k not in _COMFORT}
        explainers = [registry.method(explainer) for explainer in self.explainers]
        return print_of(
            self.model, shown, explainers, asked, device_of(spec.device).type, versions()
        )


def answered(question: Question, *, where: Path, title: str, fresh: bool = False) -> Result:
    """Return the answer that `where` remembers, or run the check there; one process at a time, others wait for it.

    The run's folder is `<title>-<digest>`; an interrupted run is continued. `fresh`: forget what is remembered.
    """
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", title)[:60].strip("-.") or "check"
    folder = where / f"{readable}-{question.digest[:12]}"
    with _alone(folder):
        if fresh and folder.exists():
            shutil.rmtree(folder)
        remembered = Result(folder)
        if (folder / _LAST).exists() and not remembered.gates.get("failed_units"):
            return remembered
        return model_randomization_test(
            question.model,
            question.images,
            methods=list(question.explainers),
            out=folder,
            **question.options,
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
    found = {str(row.method): Outcome(str(row.outcome)) for row in result.headlines.itertuples()}
    bad = {name: outcome for name, outcome in found.items() if outcome not in let_through}
    if result.trusted and not bad:
        return None
    lines = (
        [] if result.trusted else ["salsanity: this run cannot be trusted, so nothing was shown"]
    )
    lines += [f"salsanity: {printable(method)} {_SAYS[outcome]}" for method, outcome in bad.items()]
    report = (result.folder / "report.html").resolve()
    lines = [textwrap.fill(line, 80) for line in lines]
    return "\n".join([*lines, "", plain_table(read_run(result.folder)), "", f"Report: {report}"])


_SAYS: Final = {
    Outcome.FAIL: "FAILed: its maps hardly depend on what the network learned",
    Outcome.INCONCLUSIVE: "is INCONCLUSIVE, so nothing was shown: raise draws or max_images, or allow it",
    Outcome.UNINFORMATIVE: "is UNINFORMATIVE, so nothing was shown: ask with other images, or allow it",
}


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
