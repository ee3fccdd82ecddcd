"""Gates: conditions without which a run says nothing of a method, or nothing good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from scipy.special import bdtrc

LEVEL: Final = 0.05
"""Level of the test that a network predicts better than chance."""


@final
@dataclass(frozen=True)
class Gate:
    """A condition that failed: the cells that it covers are INCONCLUSIVE with this reason, or cannot PASS."""

    reason: str
    stages: tuple[str, ...] | None = None
    """Stages whose scores say nothing; None: all."""
    methods: tuple[str, ...] | None = None
    """Methods that it covers; None: all. Controls are never covered: they test the pipeline."""
    forbids: Literal["verdict", "pass"] = "verdict"
    """What it stands in the way of: any verdict, or a PASS alone."""

    def covers(self, method: str, stage: str) -> bool:
        """Say whether scores of `method` at `stage` say nothing."""
        return (self.methods is None or method in self.methods) and (
            self.stages is None or stage in self.stages
        )


def collapse_gates(
    health: Iterable[Mapping[str, Any]], *, init: str | None = None
) -> tuple[Gate, ...]:
    """Return a gate for each stage whose signal collapsed in some draw.

    `health` holds the entries of gates.json: `stage`, `draw`, `collapsed`, and `finite`.
    """
    draws: dict[str, set[int]] = {}
    for state in health:
        if state["collapsed"] or not state.get("finite", True):
            draws.setdefault(state["stage"], set()).add(state["draw"])
    return tuple(_collapse(stage, sorted(lost), init) for stage, lost in draws.items())


def accuracy_gate(accuracy: Mapping[str, Any] | None) -> tuple[Gate, ...]:
    """Return a gate unless the trained network is better than chance on the labelled images, by an exact binomial test.

    One-sided at 5 %. `accuracy` is the entry of gates.json: `trained`, `chance`, `n`; None, or n 0, where no labels are known.
    """
    if accuracy is None or not accuracy["n"]:
        return ()
    n, chance, share = int(accuracy["n"]), float(accuracy["chance"]), float(accuracy["trained"])
    correct = round(share * n)
    p = float(bdtrc(correct - 1, n, chance)) if correct > 0 else 1.0
    if p < LEVEL:
        return ()
    why = (
        "it learned nothing that randomising could destroy (check weights, preprocessing and labels)"
        if share <= chance
        else "give more labelled images, or check weights, preprocessing and labels"
    )
    found = f"the trained network's accuracy on {n} labelled images is {share:.2f}, chance is {chance:.2f}"
    return (Gate(f"{found}: not better than chance (exact binomial p = {p:.2f}); {why}"),)


def _collapse(stage: str, draws: list[int], init: str | None) -> Gate:
    which = f"draw{'s' if len(draws) > 1 else ''} {', '.join(map(str, draws))}"
    advice = "matched" if init == "he" else "he"
    reason = (
        f"the signal collapsed at stage {stage} in {which}: the randomised network's logits hardly "
        f"differ between images or are not finite (try --init {advice})"
    )
    return Gate(reason, stages=(stage,))
