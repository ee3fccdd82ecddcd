"""Reasons, in words that a person who did not read the paper can follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from salsanity.verdicts.retained import LEAST_SHARE

if TYPE_CHECKING:
    from salsanity.verdicts.cells import Answer
    from salsanity.verdicts.settle import More

NAMES: Final = {"spearman": "Spearman", "ssim": "SSIM", "hog": "HOG", "pearson": "Pearson"}
NOTHING: Final = "nothing changed: "


def cell_name(view: str, similarity: str) -> str:
    """Return a cell's name, as "absolute Spearman"."""
    return f"{view} {NAMES.get(similarity, similarity)}"


def after_full() -> str:
    """Say what was done at the stage where everything is randomised."""
    return "after all layers are randomised"


def after_half(stage: str) -> str:
    """Say what was done at the stage where the top half is randomised."""
    return f"after the top half of the network, down to {stage}, is randomised"


def retains(name: str, answer: Answer) -> str:
    """Say how much stays."""
    question = answer.question
    verb = "retains at least" if question.caveat else "retains"
    return f"{name} {verb} {answer.retained.R:.2f} of {question.of} {question.after}"


def nothing_changed(name: str, answer: Answer) -> str:
    """Say that the maps stayed what they were."""
    return (
        f"{NOTHING}{name} is still {answer.retained.S:.2f} {answer.question.after}, where "
        f"{answer.retained.A:.2f} is no change at all"
    )


def uninformative(name: str, answer: Answer) -> str:
    """Say why a similarity cannot tell: too many undefined scores, or no room between C and A."""
    r = answer.retained
    if r.planned[0] * r.planned[1] == 0:
        return f"there are no scores at stage {answer.question.stage}"
    if r.share < LEAST_SHARE:
        why = "; ".join(f"{n} x {_undefined(reason)}" for reason, n in r.undefined.items())
        stage = answer.question.stage
        return f"{name} keeps only {r.share:.0%} of the scores at stage {stage} ({why})"
    return (
        f"{name} cannot tell {answer.question.after}: chance gives {r.floor:.2f} and no change "
        f"{r.top:.2f}, less than 0.1 apart"
    )


def _undefined(reason: str) -> str:
    """Say of what map the score was undefined: an image's own, or the other that chance needs."""
    _, of_chance, what = reason.partition("chance: ")
    return f"{what} of another image, which chance needs" if of_chance else reason


def too_few_images(n: int, least: int) -> str:
    """Say that there are too few images."""
    return f"{n} image{'s' * (n != 1)}: a verdict needs at least {least} (50 are recommended)"


def too_few_draws(n: int, least: int, draw: tuple[str, str]) -> str:
    """Say that there are too few draws, or pairs of networks."""
    advice = " (5 are recommended)" if draw[0] == "draw" else ""
    return f"{n} {draw[n != 1]}: a verdict needs at least {least}{advice}"


def undecided(name: str, answer: Answer, more: More, alpha: float) -> str:
    """Say which side of the threshold is open, and what would probably settle it."""
    low, high = answer.interval.bounds(alpha)
    question = answer.question
    reason = f"{retains(name, answer)} ({low:.2f} to {high:.2f}, threshold {question.threshold:g})"
    if question.caveat and question.threshold >= answer.retained.R:
        return f"{reason}: {question.caveat}"
    if low > question.threshold:
        reason += ", above the threshold alone but not after Holm's correction for all cells"
    return f"{reason}: {wanted(more, question.draw)}"


def wanted(more: More, draw: tuple[str, str] = ("draw", "draws")) -> str:
    """Say what would probably settle a question."""
    options = []
    if more.draws is not None:
        options.append(f"{more.draws} more {draw[more.draws != 1]}")
    if more.images is not None:
        options.append(f"{more.images} more image{'s' * (more.images != 1)}")
    if not options and more.both is not None:
        options.append(f"{more.both[0]} more images together with {more.both[1]} more {draw[1]}")
    if not options:
        return "too close to the threshold for more images or draws to settle it"
    return f"{' or '.join(options)} would probably settle it"


def dominated(reason: str, control: float) -> str:
    """Say that the input explains what stays, and what to do."""
    return (
        f"dominated by the input: {reason.removeprefix(NOTHING)}, and noise times the input retains {control:.2f}; "
        "run it without the multiplier (Kokhlikyan et al. 2021)"
    )
