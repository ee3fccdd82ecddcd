"""How many samples it would take until a method agrees with itself (Spearman 1910, Brown 1910)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from salsanity.records import CheckRecord, Outcome, Verdict

MOST = 1_000_000
"""More samples than these are no advice."""


def samples_wanted(samples: int, retained: float, threshold: float) -> int | None:
    """Return the samples at which a mean map would retain `threshold`, from what one of `samples` samples retains.

    With rho the agreement of single samples, a mean of n retains R(n) = n rho / (1 + (n - 1) rho), so that R / (1 - R) grows as
    n. None where nothing is retained, or more than `MOST` would be wanted.
    """
    if not 0 < retained < 1:
        return None
    wanted = math.ceil(samples * threshold / (1 - threshold) * (1 - retained) / retained)
    return wanted if wanted <= MOST else None


def with_samples(
    verdicts: Iterable[Verdict], record: CheckRecord, samples: Mapping[str, int]
) -> list[Verdict]:
    """Say of methods that draw samples, by name, how many more would hold the lines at which samples count."""
    lines = {line.name for line in record.lines if line.by_samples}
    return [_told(v, lines, samples[v.method]) if v.method in samples else v for v in verdicts]


def _told(verdict: Verdict, lines: set[str], samples: int) -> Verdict:
    kept = next((kept for kept in verdict.kept if kept.line in lines), None)
    is_open = verdict.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE)
    if kept is None or not is_open or math.isnan(kept.retained) or kept.threshold >= 1:
        return verdict
    wanted = samples_wanted(samples, kept.retained, kept.threshold)
    if wanted is None:
        told = f"with {samples} samples nothing is left of one run in the next"
    elif wanted > samples:
        told = f"with about {wanted} samples (now {samples}) it would agree with itself"
    else:
        return verdict
    return replace(verdict, reason=f"{verdict.reason}; {told}")
