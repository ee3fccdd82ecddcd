"""`Result`: what a run found, as tables, figures and a page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pandas as pd

from salsanity.errors import FailuresFound, MethodError
from salsanity.records import CONTROLS, Outcome
from salsanity.store.directory import DirectoryStore, all_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    """A finished run in `folder`; everything is read from there, so it can be made again from the path alone."""

    folder: Path

    @property
    def _store(self) -> DirectoryStore:
        return DirectoryStore(self.folder)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What was run, as in spec.json."""
        return dict(self._store.read_json("spec.json") or {})

    @cached_property
    def gates(self) -> dict[str, Any]:
        """Controls, signal health, accuracies and times, as in gates.json."""
        return dict(self._store.read_json("gates.json") or {})

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per cell (method, view, similarity), and one per method with view None: its headline."""
        return pd.DataFrame(self._store.read_json("verdicts.json") or [])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Every similarity of every image, draw and stage of this run, as in the scores folder."""
        return all_scores(self._store.records_of(self.spec))

    @property
    def headlines(self) -> pd.DataFrame:
        """One row per method, controls left out."""
        table = self.verdicts
        return table[table["view"].isna() & ~table["method"].isin(CONTROLS)].reset_index(drop=True)

    @property
    def trusted(self) -> bool:
        """Whether the controls came out as they must and every unit was finished."""
        return bool(self.gates.get("trusted", False))

    def outcome(self, method: str) -> Outcome:
        """Return a method's headline; raise `MethodError` where it was not run."""
        table = self.verdicts
        rows = table[table["view"].isna() & (table["method"] == method)]
        if rows.empty:
            known = ", ".join(table["method"].unique())
            raise MethodError(f"expected a method of this run ({known}), got {method!r}")
        return Outcome(rows.iloc[0]["outcome"])

    def passed(self, method: str) -> bool:
        """Whether the method's headline is PASS."""
        return self.outcome(method) is Outcome.PASS

    def raise_for_failures(self) -> None:
        """Raise `FailuresFound` with each failed method and its reason, if there is one."""
        table = self.headlines
        failed = table[table["outcome"] == Outcome.FAIL.value]
        if not failed.empty:
            lines = [f"{row.method}: {row.reason}" for row in failed.itertuples()]
            raise FailuresFound("\n".join([f"{len(lines)} saliency method(s) FAILed", *lines]))

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command line: 4 comes before 1, 1 before 3."""
        outcomes = set(self.headlines["outcome"])
        if not self.trusted:
            return ExitCode.UNTRUSTED
        if Outcome.FAIL.value in outcomes:
            return ExitCode.FAILED
        if outcomes - {Outcome.PASS.value}:
            return ExitCode.UNDECIDED
        return ExitCode.OK

    def figure(self, kind: str = "cascade", **options: Any) -> Figure:
        """Return a figure of the paper: methods, cascade, independent, curves or labels."""
        from salsanity.report import figure, read_run

        return figure(read_run(self.folder), kind=kind, **options)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report as one HTML file, by default into the run folder, and return its path."""
        from salsanity.report import write_report

        return write_report(self.folder, None if path is None else Path(path))

    def _repr_html_(self) -> str:
        from salsanity.report import notebook_html, read_run

        return notebook_html(read_run(self.folder))
