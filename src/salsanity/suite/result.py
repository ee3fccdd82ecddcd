"""`Result`: what a run found, as tables, figures and a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, final

import pandas as pd

from salsanity.errors import FailuresFound, MethodError
from salsanity.records import CONTROLS, CheckRecord, Outcome
from salsanity.store.directory import DirectoryStore, all_scores
from salsanity.store.gallery import marks_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from salsanity.report import Run
    from salsanity.report.figures import FigureOptions


class ExitCode(IntEnum):
    """What a run says to the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNDECIDED = 3
    UNTRUSTED = 4
    INTERRUPTED = 130


@final
@dataclass(frozen=True)
class Result:
    """A finished run in `folder`, as it was when this value was made: a later run there changes nothing in it.

    Everything is read from the folder, so it can be made again from the path alone.
    """

    folder: Path
    documents: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    """What the JSON files of the folder said, by name, in today's format."""
    marks: Mapping[str, Mapping[str, int]] = field(init=False, repr=False, compare=False)
    """Checksums of the pictures: where a later run has replaced them, they are refused rather than shown as this one's."""

    def __post_init__(self) -> None:
        """Read the small files; raise `StoreError` where one is damaged."""
        object.__setattr__(self, "documents", self._store.read_documents())
        object.__setattr__(self, "marks", marks_of(self.folder / "gallery"))

    @property
    def _store(self) -> DirectoryStore:
        return DirectoryStore(self.folder)

    @property
    def spec(self) -> dict[str, Any]:
        """What was run, as in spec.json."""
        return dict(self.documents.get("spec.json") or {})

    @property
    def gates(self) -> dict[str, Any]:
        """Controls, signal health, accuracies and times, as in gates.json."""
        return dict(self.documents.get("gates.json") or {})

    @property
    def notes(self) -> tuple[str, ...]:
        """What the run told of the network, the images, the methods and the machine."""
        return tuple(self.spec.get("settings", {}).get("notes", ()))

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per check and cell (method, view, similarity), and one per check and method with view None: its headline.

        `retained` is what was kept at the check's first line, in every check, with its 90 % interval `retained_low` and
        `retained_high`; of checks with several lines, `retained_<line>` likewise.
        """
        return pd.DataFrame(map(_in_columns, self.documents.get("verdicts.json") or []))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Every similarity of every image, draw and stage of this run, as in the scores folder."""
        return all_scores(self._store.records_of(self.spec))

    @property
    def headlines(self) -> pd.DataFrame:
        """One row per check and method, controls left out."""
        table = self.verdicts
        return table[table["view"].isna() & ~table["method"].isin(CONTROLS)].reset_index(drop=True)

    @property
    def trusted(self) -> bool:
        """Whether the controls came out as they must and every unit was finished."""
        return bool(self.gates.get("trusted", False))

    def outcome(self, method: str, check: str | None = None) -> Outcome:
        """Return a method's headline, the worst of all checks or that of one; `MethodError` where it was not run.

        A check that only measures gives no verdict, so it counts only where it is named.
        """
        table = self.verdicts
        rows = table[table["view"].isna() & (table["method"] == method)]
        if rows.empty:
            known = ", ".join(table["method"].unique())
            raise MethodError(f"expected a method of this run ({known}), got {method!r}")
        if check is not None:
            found = rows[rows["check"] == check]
            if found.empty:
                known = ", ".join(rows["check"].unique())
                raise MethodError(f"expected a check of this run ({known}), got {check!r}")
            return Outcome(found["outcome"].iloc[0])
        judged = rows[rows["check"].isin(self._judged)]
        return _worst(judged["outcome"] if len(judged) else rows["outcome"])

    def passed(self, method: str, check: str | None = None) -> bool:
        """Whether the method's headline is PASS, in every check or in one."""
        return self.outcome(method, check) is Outcome.PASS

    def __str__(self) -> str:
        """Say each method's outcome, check by check, and where the run lies."""
        lines = [f"{row.check}: {row.method}: {row.outcome}" for row in self.headlines.itertuples()]
        doubt = (
            []
            if self.trusted
            else ["This run cannot be trusted: " + "; ".join(self.gates.get("reasons", ()))]
        )
        return "\n".join([*lines, *doubt, f"in {self.folder}"])

    def raise_for_failures(self) -> None:
        """Raise `FailuresFound` with each failed method and its reason, if there is one."""
        table = self._decisive
        failed = table[table["outcome"] == Outcome.FAIL.value]
        if not failed.empty:
            lines = [f"{row.method}: {row.reason}" for row in failed.itertuples()]
            many = failed["method"].nunique()
            raise FailuresFound("\n".join([f"{many} saliency method(s) FAILed", *lines]))

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command line: 4 comes before 1, 1 before 3."""
        outcomes = set(self._decisive["outcome"])
        if not self.trusted:
            return ExitCode.UNTRUSTED
        if Outcome.FAIL.value in outcomes:
            return ExitCode.FAILED
        if outcomes - {Outcome.PASS.value}:
            return ExitCode.UNDECIDED
        return ExitCode.OK

    @property
    def run(self) -> Run:
        """The run as reports and figures take it."""
        from salsanity.report import read_run

        return read_run(self.folder, documents=self.documents, marks=self.marks, late=True)

    def card(self, *others: Result) -> pd.DataFrame:
        """Return methods by checks, worst first, of this run and of others beside it; a notebook shows it as a card.

        For each check: outcome, retained, low, high, line and trusted, under names such as "class outcome". What a method
        was not put to is missing, not passed. `salsanity card` writes the same as a page, picture, CSV, LaTeX or Markdown.
        """
        from salsanity.report import card_html, card_of

        card = card_of(self.run, *(other.run for other in others))
        table, page = card.to_frame(), card_html(card)
        table.__dict__["_repr_html_"] = lambda: (
            page
        )  # of this table alone: what is cut out of it looks as pandas has it
        return table

    def curves(self, check: str | None = None) -> pd.DataFrame:
        """Return similarity by stage with its interval, chance and ceiling, of all checks or of one: what figures draw."""
        from salsanity.report import curve_table

        table = curve_table(self.run)
        return table if check is None else table[table["check"] == check].reset_index(drop=True)

    def to_markdown(self) -> str:
        """Return a block for a model card or a README."""
        from salsanity.report import to_markdown

        return to_markdown(self.run)

    def to_latex(self) -> str:
        """Return tables in the style of booktabs."""
        from salsanity.report import to_latex

        return to_latex(self.run)

    def to_csv(self) -> str:
        """Return every number of the page as CSV."""
        from salsanity.report import to_csv

        return to_csv(self.run)

    def figure(self, kind: str | None = None, **options: Unpack[FigureOptions]) -> Figure:
        """Return one of the figures of `salsanity.report.figure`; without a kind, the grid of maps by state.

        Among the options: `methods`, `controls`, `names`, `cmap`, `colors`, `title`, `width`, `ax` and `path`.
        """
        from salsanity.report import figure

        return figure(self.run, kind, **options)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report as one HTML file, by default into the run folder, and return its path."""
        from salsanity.report import write_report

        return write_report(self.run, None if path is None else Path(path))

    def _repr_html_(self) -> str:
        from salsanity.report import notebook_html

        return notebook_html(self.run)

    @property
    def _judged(self) -> set[str]:
        """Names of the checks that give verdicts; others only measure."""
        records = map(CheckRecord.from_json, self.spec.get("checks", ()))
        return {record.name for record in records if record.gives_verdicts}

    @property
    def _decisive(self) -> pd.DataFrame:
        """The headlines that count."""
        table = self.headlines
        return table[table["check"].isin(self._judged)]


def _in_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Put the two ends of each interval under names of their own."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key.startswith("retained") and key.endswith("_ci"):
            low, high = (math.nan if end is None else float(end) for end in value)
            found |= {f"{key.removesuffix('ci')}low": low, f"{key.removesuffix('ci')}high": high}
        else:
            found[key] = value
    return found


def _worst(outcomes: Iterable[str]) -> Outcome:
    return max(map(Outcome, outcomes), key=list(Outcome).index)
