"""One HTML file for a run: opens offline, asks the network for nothing, trusts no string."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from salsanity.report import charts, provenance, tiles
from salsanity.report.compare import Comparison, compare_runs
from salsanity.report.folder import Run, read_run
from salsanity.report.rows import ControlRow, MethodRow, control_rows, method_rows
from salsanity.report.summary import distrust, summary_sentences, tally
from salsanity.report.terms import (
    CHECK_NAMES,
    TERMS,
    method_name,
    similarity_name,
    state_name,
)


@dataclass(frozen=True)
class Part:
    """One run on the page."""

    id: str
    run: Run
    check: str
    question: str
    answer: str
    tally: list[tuple[Any, int]]
    distrust: list[str]
    rows: list[MethodRow]
    controls: list[ControlRow]
    health: list[dict[str, str]]
    album: tiles.Album | None
    readings: tiles.Readings
    curves: list[charts.CurveGroup]
    bars: list[charts.LabelGroup]
    facts: list[provenance.Fact]
    networks: list[dict[str, str]]
    settings: list[tuple[str, str]]
    coverage: provenance.Coverage | None
    spec: str


def write_report(
    folder: Run | Path | str, out: Path | str | None = None, other: Path | str | None = None
) -> Path:
    """Write a run's `report.html` and return its path; needs neither the network nor torch.

    `folder`: a run folder, or a run that has been read. `out` defaults to `report.html` in it. With `other`, a run of the
    same check is compared with this one, and a run of the other check joins it on the page.

    Raises:
        StoreError: a folder is not a run, or is damaged.
    """
    run = folder if isinstance(folder, Run) else read_run(folder)
    runs = [run, *([read_run(other)] if other is not None else [])]
    target = Path(out) if out is not None else run.folder / "report.html"
    _replace(target, render(*runs))
    return target


def render(run: Run, other: Run | None = None) -> str:
    """Return the page as text."""
    same = other is not None and other.spec["check"] == run.spec["check"]
    runs = [run] if other is None or same else sorted([run, other], key=lambda r: r.is_labels)
    budget = tiles.BUDGET // len(runs)
    parts = [_part(f"part{k + 1}", r, budget) for k, r in enumerate(runs)]
    comparison = compare_runs(run, other) if other is not None and same else None
    return _page(parts, comparison)


def _part(name: str, run: Run, budget: int) -> Part:
    question, answer = summary_sentences(run)
    album = tiles.album(run, budget=budget)
    return Part(
        id=name,
        run=run,
        check=CHECK_NAMES.get(run.spec["check"], str(run.spec["check"])),
        question=question,
        answer=answer,
        tally=tally(run),
        distrust=distrust(run),
        rows=method_rows(run),
        controls=control_rows(run),
        health=provenance.health(run),
        album=album,
        readings=tiles.readings(run, album) if album and not run.is_labels else {},
        curves=[] if run.is_labels else charts.curve_groups(run),
        bars=charts.label_groups(run) if run.is_labels else [],
        facts=provenance.facts(run),
        networks=provenance.networks(run),
        settings=provenance.method_settings(run),
        coverage=provenance.coverage(run),
        spec=provenance.spec_text(run),
    )


def _page(parts: list[Part], comparison: Comparison | None) -> str:
    style, script = _own("report.css"), _own("report.js")
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            parts=parts,
            comparison=comparison,
            terms=TERMS,
            style=Markup(style),  # our own file  # noqa: S704  # nosec B704
            script=Markup(script),  # our own file  # noqa: S704  # nosec B704
            policy=_policy(style, script),
            bar_width=charts.BAR_WIDTH,
            bar_zero=charts.bar_x(0),
            bar_one=charts.bar_x(1),
            panel_size=(charts.PANEL_WIDTH, charts.PANEL_HEIGHT),
            margins=charts.MARGINS,
        )
    )


def _policy(style: str, script: str) -> str:
    """Return the content security policy: pictures in the page, our style and script, no more."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    return (
        "default-src 'none'; img-src data:; "
        f"style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _own(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


FILTERS: Final = {
    "method_name": method_name,
    "similarity_name": similarity_name,
    "state_name": state_name,
    "slug": lambda text: text.replace(" ", "-").lower(),
}


@cache
def _templates() -> Environment:
    """Return the templates: every value is escaped, a missing one is an error."""
    found = Environment(
        loader=PackageLoader("salsanity.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(FILTERS)
    found.globals["alt"] = tiles.alt
    return found


def _replace(target: Path, text: str) -> None:
    """Write under a temporary name beside the target, then put it in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".report-", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        part.chmod(0o644)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
