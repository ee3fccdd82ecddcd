"""One HTML file for a run: opens offline, asks the network for nothing, trusts no string."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from salsanity.errors import UsageError
from salsanity.records import CheckRecord
from salsanity.report import charts, provenance, tiles
from salsanity.report.card import Card, card_of
from salsanity.report.compare import Comparison, compare_runs
from salsanity.report.figures.card import card_figure
from salsanity.report.figures.style import save
from salsanity.report.folder import Part, Run, read_run
from salsanity.report.rows import ControlRow, MethodRow, control_rows, method_rows
from salsanity.report.summary import changed, distrust, looks, short_answer, tally
from salsanity.report.terms import (
    NO_MAPS,
    Measured,
    glossary,
    line_term,
    measured,
    printable,
    similarity_name,
    stage_words,
    state_name,
)
from salsanity.report.worst import worst_part


@dataclass(frozen=True)
class Section:
    """One check on the page."""

    id: str
    part: Part
    title: str
    measured: Measured
    question: str
    answer: str
    looks: str
    changed: str
    example: tiles.Example | None
    tally: list[tuple[Any, int]]
    broken: int
    """Methods that raised on every image."""

    rows: list[MethodRow]
    controls: list[ControlRow]
    health: list[dict[str, str]]
    album: tiles.Album | None
    start: int
    """The state that is shown first beside the reference."""

    readings: tiles.Readings
    curves: list[charts.CurveGroup]
    few: bool
    bars: list[charts.BarGroup]
    legend: list[tuple[int, str]]
    facts: list[provenance.Fact]
    line_terms: dict[str, str]


def write_report(
    folder: Run | Path | str, out: Path | str | None = None, *others: Run | Path | str | None
) -> Path:
    """Write a run's `report.html` and return its path; needs neither the network nor torch.

    `folder`: a run folder, or a run that has been read. `out` defaults to `report.html` in it. With `others`, what they and the
    first hold is compared check by check, and the checks that only they hold join the page.

    Raises:
        StoreError: a folder is not a run, or is damaged.
    """
    given = [folder, *(other for other in others if other is not None)]
    runs = [one if isinstance(one, Run) else read_run(one) for one in given]
    target = Path(out) if out is not None else runs[0].folder / "report.html"
    _replace(target, render(*runs))
    return target


def render(run: Run, *others: Run) -> str:
    """Return the page as text."""
    parts = list(run.parts)
    for part in (part for other in others for part in other.parts):
        if part.record.name not in {known.record.name for known in parts}:
            parts.append(part)
    records = [part.record for part in parts]
    sections = [
        _section(f"part{k + 1}", part, records, tiles.BUDGET // len(parts))
        for k, part in enumerate(parts)
    ]
    joined = {id(part) for part in parts}
    shown = [run, *(o for o in others if any(id(part) in joined for part in o.parts))]
    return _page(run, shown, sections, compare_runs(run, *others), others=others)


def _section(name: str, part: Part, records: list[CheckRecord], budget: int) -> Section:
    album = tiles.album(part, budget=budget)
    return Section(
        id=name,
        part=part,
        title=printable(part.record.words.title),
        measured=measured(part.record),
        question=printable(part.record.words.question),
        answer=short_answer(part),
        looks=looks(part),
        changed=changed(part),
        example=tiles.example(part),
        tally=tally(part),
        broken=len(part.broken),
        rows=method_rows(part),
        controls=control_rows(part),
        health=provenance.health(part),
        album=album,
        start=_start(part, album),
        readings=tiles.readings(part, album) if album else {},
        curves=charts.curve_groups(part),
        few=charts.has_few(part),
        bars=charts.bar_groups(part),
        legend=charts.bar_legend(part) if not part.record.is_course else [],
        facts=provenance.facts(part),
        line_terms={line.name: line_term(line, part.record, records) for line in part.record.lines},
    )


def _start(part: Part, album: tiles.Album | None) -> int:
    """Return the state of the last line, or the last state."""
    states = album.states if album else []
    decisive = part.record.lines[-1].stage if part.record.lines else None
    return states.index(decisive) if decisive in states else max(0, len(states) - 1)


def _page(
    run: Run,
    runs: list[Run],
    sections: list[Section],
    comparisons: list[Comparison],
    *,
    others: Sequence[Run],
) -> str:
    style, script = _own("report.css"), _own("report.js")
    worst = worst_part(run)
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            run=run,
            head=next(s for s in sections if s.part is worst),
            sections=sections,
            card=card_of(*runs) if len(sections) > 1 else None,
            distrust=[reason for one in runs for reason in distrust(one)],
            warnings=provenance.warnings(one.parts[0] for one in (run, *others)),
            notes=[*dict.fromkeys(n for one in runs for n in provenance.notes(one.parts[0]))],
            comparisons=comparisons,
            runs_count=COUNTS.get(1 + len(others), str(1 + len(others))),
            networks=provenance.networks(run.parts[0]),
            settings=provenance.method_settings(run.parts[0]),
            coverage=provenance.coverage(run.parts[0]),
            spec=provenance.spec_text(run.parts[0]),
            terms=glossary([s.part.record for s in sections]),
            sources=sorted({printable(s.part.record.words.source) for s in sections} - {""}),
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


def card_page(card: Card) -> str:
    """Return the card as a page of its own."""
    style, script = _own("report.css"), _own("report.js")
    return (
        _templates()
        .get_template("card_page.html.j2")
        .render(
            card=card,
            terms=glossary([]),
            style=Markup(style),  # our own file  # noqa: S704  # nosec B704
            script=Markup(script),  # our own file  # noqa: S704  # nosec B704
            policy=_policy(style, script),
        )
    )


def write_card(folders: Sequence[Run | Path | str], out: Path | str) -> Path:
    """Write the card of one or several runs to `out` and return its path; the ending says the form.

    Forms: html, csv, md, tex, png, pdf and svg.

    Raises:
        StoreError: a folder is not a run, or is damaged.
        UsageError: `out` has another ending.
    """
    target = check_card_form(out)
    card = card_of(*(one if isinstance(one, Run) else read_run(one) for one in folders))
    if target.suffix in PICTURES:
        target.parent.mkdir(parents=True, exist_ok=True)
        return save(card_figure(card), target)
    _replace(target, CARD_TEXTS[target.suffix](card))
    return target


def check_card_form(out: Path | str) -> Path:
    """Return the path of a card; raise `UsageError` where its ending is none of `write_card`'s."""
    target, known = Path(out), (*CARD_TEXTS, *PICTURES)
    if target.suffix not in known:
        raise UsageError(
            f"expected a file that ends with {', '.join(known)}, got {target.name}; name one"
        )
    return target


COUNTS: Final = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}
PICTURES: Final = (".png", ".pdf", ".svg")
CARD_TEXTS: Final[Mapping[str, Callable[[Card], str]]] = {
    ".html": card_page,
    ".csv": Card.to_csv,
    ".md": Card.to_markdown,
    ".tex": Card.to_latex,
}


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


def breakable(text: str) -> Markup:
    """Let a name such as `library:Class(option=1)` break at its joints, not within a word."""
    jointed = re.sub(r"(?<=[:_,=])|(?=\()|(?<=[a-z])(?=[A-Z])", "<wbr>", str(escape(text)))
    return Markup(jointed)  # noqa: S704  # nosec B704 - escaped


FILTERS: Final = {
    "similarity_name": similarity_name,
    "printable": printable,
    "state_name": state_name,
    "breakable": breakable,
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
    found.globals.update(alt=tiles.alt, stage_words=stage_words, no_maps=NO_MAPS)
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
