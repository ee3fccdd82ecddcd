"""Verdicts of any check, from its record and its scores alone (docs/science.md)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import pandas as pd

from salsanity.records import CONTROLS, CheckRecord, Kept, Line, Outcome, Verdict
from salsanity.rows import Rows
from salsanity.verdicts.answers import Answer, Cell, Decision
from salsanity.verdicts.gates import Gate
from salsanity.verdicts.headline import NO_SCORES, dominated_cells, headline
from salsanity.verdicts.intervals import ALPHA
from salsanity.verdicts.procedures import Procedure, procedure
from salsanity.verdicts.table import Place, Scores, read_scores


@final
@dataclass(frozen=True)
class Writer:
    """Writes decisions down as verdicts, with intervals at the level that decided."""

    record: CheckRecord
    alpha: float

    def verdicts(self, method: str, decisions: Sequence[Decision]) -> list[Verdict]:
        """Return the headline of a method, then its cells."""
        top, record = headline(decisions, self.record), self.record
        if top is None:
            silent = Outcome.UNINFORMATIVE
            return [Verdict(record.name, method, None, None, silent, NO_SCORES, init=record.init)]
        first = replace(self.verdict(top), view=None, similarity=None)
        return [first, *map(self.verdict, decisions)]

    def verdict(self, decision: Decision) -> Verdict:
        """Write one cell down."""
        cell = decision.cell
        first, answers = cell.answers[0].retained, [answer.retained for answer in cell.answers]
        return Verdict(
            check=self.record.name,
            method=cell.method,
            view=cell.view,
            similarity=cell.similarity,
            outcome=decision.outcome,
            reason=decision.reason,
            kept=tuple(map(self._kept, cell.answers)),
            ceiling=first.top,
            n_images=min(r.n_images for r in answers),
            n_draws=min(r.n_draws for r in answers),
            n_used=first.n_used,
            n_undefined=sum(r.n_undefined for r in answers),
            blank_reference=1 - first.alive,
            blank_changed=first.blank,
            init=self.record.init,
            p=decision.p,
        )

    def _kept(self, answer: Answer) -> Kept:
        line, bounds = answer.line, answer.interval.bounds(self.alpha)
        return Kept(
            line.name, line.stage, line.threshold, answer.retained.R, bounds, must=line.must
        )


def judge(
    scores: pd.DataFrame | Rows,
    record: CheckRecord,
    *,
    methods: Sequence[str],
    controls: Sequence[str] = CONTROLS,
    gates: Iterable[Gate] = (),
    multiplied: Collection[str] = frozenset(),
    alpha: float = ALPHA,
) -> list[Verdict]:
    """Judge each method and control: its headline, then its cells.

    `scores` has the columns of a run folder. PASS is at one-sided `alpha` per cell; FAIL holds the rate of any false FAIL of a
    method at `alpha` by Holm's method over all tests of its cells. `gates` cover methods, never controls, and so does what the
    record says of a PASS. `multiplied`: methods with a multiplier that can be left out.

    Raises:
        StoreError: columns are absent, or two different scores stand for one map.
    """
    decided = decisions_of(
        scores,
        record,
        methods=methods,
        controls=controls,
        gates=gates,
        multiplied=multiplied,
        alpha=alpha,
    )
    writer = Writer(record, alpha)
    return [v for name, decisions in decided.items() for v in writer.verdicts(name, decisions)]


def decisions_of(
    scores: pd.DataFrame | Rows,
    record: CheckRecord,
    *,
    methods: Sequence[str],
    controls: Sequence[str],
    gates: Iterable[Gate] = (),
    multiplied: Collection[str] = frozenset(),
    alpha: float = ALPHA,
) -> dict[str, list[Decision]]:
    """Decide all cells of each method and control, as `judge` does."""
    names = list(dict.fromkeys([*methods, *controls]))
    test, gates = procedure(record.test), tuple(gates)
    index = read_scores(scores, check=record.name, stages=stages_of(record))
    asked = _Asked(index, record, test, gates)
    decided = {name: asked.decide(name, name in controls, alpha) for name in names}
    noise_x_input = decided.get("noise_x_input", [])
    return {
        name: found
        if name in controls
        else dominated_cells(found, noise_x_input, has_multiplier=name in multiplied)
        for name, found in decided.items()
    }


def stages_of(record: CheckRecord) -> list[str]:
    """Return the stages whose scores decide, without repetition."""
    named = [stage for line in record.lines for stage in (line.stage, line.against)]
    return list(dict.fromkeys(stage for stage in named if stage is not None))


@final
@dataclass(frozen=True)
class _Asked:
    """Scores of a check, what it demands and how that is tested."""

    index: Scores
    record: CheckRecord
    test: Procedure
    gates: tuple[Gate, ...]

    def decide(self, method: str, is_control: bool, alpha: float) -> list[Decision]:
        """Decide all cells of one method or control."""
        pairs = self.index.cells(method)
        cells = [self._cell((method, *pair), is_control=is_control) for pair in pairs]
        return self.test.decide([cell for cell in cells if cell.answers], alpha=alpha)

    def _cell(self, place: Place, *, is_control: bool) -> Cell:
        lines = map(_for_control, self.record.lines) if is_control else self.record.lines
        answers = tuple(self._answer(place, line, is_control=is_control) for line in lines)
        exchange = self.test.exchange
        found = exchange(self.index, place, self.record.lines[0]) if exchange else None
        return Cell(*place, answers, found)

    def _answer(self, place: Place, line: Line, *, is_control: bool) -> Answer:
        covering = () if is_control else self.gates
        failed = [gate for gate in covering if gate.covers(place[0], line.stage)]
        verdict, passes = (
            next((gate.reason for gate in failed if gate.forbids == what), None)
            for what in ("verdict", "pass")
        )
        never = "" if is_control else self.record.never_pass
        caveats = (line.caveat, passes, never)
        return Answer(
            line,
            self.test.measure(self.index, place, line),
            gate=verdict,
            caveat="; ".join(caveat for caveat in caveats if caveat),
            draw=self.record.words.draw,
            says=self.test.says,
            is_fixed=self.record.is_fixed,
        )


def _for_control(line: Line) -> Line:
    """Set a control against the ceiling: what honest networks agree on means nothing to it."""
    return replace(line, against=None, of=Line.of, caveat="")
