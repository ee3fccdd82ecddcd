"""What people take away from a run: a block for a model card, tables for a paper, one CSV with every number of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from salsanity.errors import UsageError
from salsanity.records import Kept, Verdict
from salsanity.report.card import HEADING, card_of
from salsanity.report.figures import write_figures
from salsanity.report.folder import Part, Run
from salsanity.report.html import write_report
from salsanity.report.markup import latex, markdown, one_line, piped, tabular
from salsanity.report.provenance import facts, health, networks
from salsanity.report.rows import MethodRow, method_rows
from salsanity.report.summary import answer, distrust, passes_too
from salsanity.report.terms import NO_MAPS, limit, measured, printable
from salsanity.store.directory import replacing

CURVES: Final = {
    "S": "value",
    "S_low": "value_low",
    "S_high": "value_high",
    "C": "chance",
    "A": "ceiling",
    "R": "retained",
    "low": "retained_low",
    "high": "retained_high",
}
"""Names of the columns of curves, as scores and verdicts have them."""

ORDER: Final = ("method", "view", "similarity", "stage", "stage_index", *CURVES.values())


def curve_table(run: Run | Part) -> pd.DataFrame:
    """Return one row per check, method, view, similarity and stage.

    `value`: the mean similarity there, with its 90 % interval; `chance`, `ceiling`; `retained` with its interval; counts of
    images, draws and undefined scores. NaN where nothing is defined, such as the interval of one draw.
    """
    tables = []
    for part in run.parts if isinstance(run, Run) else (run,):
        table = part.curves.rename(columns=CURVES)
        rest = [name for name in table.columns if name not in ORDER]
        table = table[[*ORDER, *rest]]
        table.insert(0, "check", part.record.name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def number_table(run: Run) -> pd.DataFrame:
    """Return every number of the page, one row each: `kind` says what it is.

    `headline` and `cell`: what was retained at each line; `stage`: the curves; `signal`: of the changed networks; `accuracy`: of
    trained ones; `fact`: how it was run, as text.
    """
    rows = [row for part in run.parts for row in _numbers(part)]
    stages = curve_table(run).assign(kind="stage").to_dict("records")
    table = pd.DataFrame([*rows, *stages])
    first = [name for name in ("kind", "check", "method", "control") if name in table.columns]
    return table[[*first, *(name for name in table.columns if name not in first)]]


def _numbers(part: Part) -> Iterator[dict[str, Any]]:
    check = part.record.name
    for verdict in part.verdicts:
        for kept in verdict.kept or (None,):
            yield _verdict(part, verdict, kept)
    for row in health(part):
        yield {"kind": "signal", "check": check, **row}
    for network in networks(part):
        yield {"kind": "accuracy", "check": check, **network}
    accuracy = part.gates.get("accuracy")
    if accuracy:
        yield {"kind": "accuracy", "check": check, "name": "trained", **accuracy}
    for fact in facts(part):
        yield {"kind": "fact", "check": check, "name": fact.name, "text": fact.value}


def _verdict(part: Part, verdict: Verdict, kept: Kept | None) -> dict[str, Any]:
    low, high = kept.retained_ci if kept else (math.nan, math.nan)
    counts = ("n_images", "n_draws", "n_used", "n_undefined", "blank_reference", "blank_changed")
    return {
        "kind": "headline" if verdict.view is None else "cell",
        "check": verdict.check,
        "method": printable(verdict.method),
        "control": verdict.method in part.controls,
        "view": verdict.view,
        "similarity": verdict.similarity,
        "outcome": NO_MAPS if verdict.method in part.broken else str(verdict.outcome),
        "line": printable(kept.line) if kept else None,
        "stage": printable(kept.stage) if kept else None,
        "threshold": kept.threshold if kept else math.nan,
        "must": kept.must if kept else None,
        "retained": kept.retained if kept else math.nan,
        "retained_low": low,
        "retained_high": high,
        "ceiling": verdict.ceiling,
        "p": verdict.p,
        **{name: getattr(verdict, name) for name in counts},
        "text": printable(verdict.reason),
    }


def to_csv(run: Run) -> str:
    """Return `number_table` as CSV."""
    return str(number_table(run).to_csv(index=False, lineterminator="\n"))


def to_markdown(run: Run) -> str:
    """Return a block for a model card or a README: the card of several checks, or the verdicts of one."""
    alarm = [f"**This run cannot be trusted:** {markdown(r)}\n" for r in distrust(run)]
    if len(run.parts) > 1:
        heading, _, rest = card_of(run).to_markdown().partition("\n")
        return "\n".join([heading, "", *alarm, rest.lstrip("\n")])
    (part,) = run.parts
    head = ("Method", "Verdict", f"{measured(part.record).name} (90 % interval)", "Why")
    lines = [f"## {HEADING}", "", *alarm]
    lines += [f"{markdown(printable(part.record.words.question))} {markdown(answer(part))}", ""]
    lines += [piped(head), piped(["---"] * len(head))]
    lines += [piped(map(markdown, _cells(row))) for row in method_rows(part)]
    return "\n".join([*lines, "", *(f"- {markdown(said)}" for said in foot(part)), ""])


def to_latex(run: Run) -> str:
    """Return tables in the style of booktabs: the card of several checks, then the verdicts of each."""
    lines = [f"% {one_line(f'This run cannot be trusted: {said}')}" for said in distrust(run)]
    if len(run.parts) > 1:
        lines += [card_of(run).to_latex()]
    for part in run.parts:
        head = ("Method", "Verdict", measured(part.record).name, "90\\,\\% interval", "Cell")
        rows = [[latex(text) for text in _columns(row)] for row in method_rows(part)]
        lines += [f"% {one_line(said)}" for said in (answer(part), *foot(part))]
        lines += [*tabular("llrll", head, rows), ""]
    return "\n".join(lines)


def foot(part: Part) -> tuple[str, ...]:
    """Return what must stand below verdicts wherever they stand."""
    said = "; ".join(f"{limit(line)} {printable(line.words)}" for line in part.record.lines)
    one, several = part.record.words.draw
    draws = f" and {part.record.draws} {one if part.record.draws == 1 else several}"
    noise = passes_too(part)
    version = (part.spec.get("versions") or {}).get("salsanity", "")
    return (
        f"{measured(part.record).name}: {measured(part.record).says}; in the cell that decides.",
        *([f"Demanded: {said}."] if said and measured(part.record).is_judged else []),
        *([f"PASS says only that a method was not caught: {noise}."] if noise else []),
        f"{part.model_name}, {len(part.spec['images'])} images{draws if part.record.draws else ''}, salsanity {version}.",
    )


def _cells(row: MethodRow) -> tuple[str, str, str, str]:
    name, verdict, value, interval, _ = _columns(row)
    why = f"{row.beside}: {row.reason}" if row.beside else row.reason
    return name, verdict, f"{value} ({interval})" if interval else value, why


def _columns(row: MethodRow) -> tuple[str, str, str, str, str]:
    """Return method, verdict, what is kept, its interval, and the cell that decides, as text."""
    verdict = NO_MAPS if row.is_broken else str(row.outcome)
    if row.decides is None:
        return row.name, verdict, "–", "", ""
    lane = row.decides.lane
    interval = "" if lane.interval == "no interval" else lane.interval
    return row.name, verdict, lane.value, interval, row.decides.words


TEXTS: Final[Mapping[str, tuple[str, Callable[[Run], str]]]] = {
    "md": ("report.md", to_markdown),
    "csv": ("report.csv", to_csv),
    "latex": ("report.tex", to_latex),
}
PICTURES: Final = ("pdf", "png", "svg")
FORMATS: Final = ("html", *PICTURES, *TEXTS)


def write_takeaways(
    run: Run, formats: Sequence[str], *, width: float | str | None = None
) -> list[Path]:
    """Write a run in each of the formats into its folder and return the files: page, figures at a journal's width, texts.

    `width`: of figures, as in `Look`. Raises `UsageError` for an unknown format, before anything is written.
    """
    for form in formats:
        if form not in FORMATS:
            raise UsageError(f"expected a format among {', '.join(FORMATS)}, got {form!r}")
    pictures = [form for form in formats if form in PICTURES]
    written = write_figures(run, formats=pictures, width=width) if pictures else []
    for form in formats:
        if form == "html":
            written.append(write_report(run))
        elif form in TEXTS:
            name, text = TEXTS[form]
            with replacing(run.folder / name) as temporary:
                temporary.write_text(text(run), encoding="utf-8", newline="\n")
            written.append(run.folder / name)
    return written
