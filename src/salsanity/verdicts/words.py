"""Reasons, in words that a person who did not read the paper can follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from salsanity.verdicts.answers import Answer
    from salsanity.verdicts.retained import Retained
    from salsanity.verdicts.settle import More

NOTHING: Final = "nothing changed: "
DRAWS: Final = ("draw", "draws")
LADDER: Final = ((5, 0.87), (20, 0.68), (50, 0.36), (70, 0.19), (80, 0.12), (90, 0.05))
"""What a mixture of an edge detector and so many per cent noise (by variance) retains: what a threshold means."""


def ladder() -> str:
    """Say what the numbers mean: what mixtures of edges and noise retain."""
    noise = ", ".join(str(share) for share, _ in LADDER)
    kept = ", ".join(f"{R:.2f}" for _, R in LADDER)
    return f"an edge detector mixed with {noise} % noise retains {kept}"


def retains(name: str, answer: Answer) -> str:
    """Say how much stays, and of how many maps that speaks."""
    verb = "retains at least" if answer.line.caveat else "retains"
    kept = f"{name} {verb} {answer.retained.R:.2f} of {answer.line.of} {answer.line.words}"
    return kept + blanks(answer.retained)


def shows(name: str, answer: Answer) -> str:
    """Say how much more of the map lies on the cue where the network follows it."""
    r = answer.retained
    shares = f"{r.S:.2f} of the map lies on it, {r.C:.2f} where it means nothing"
    return f"{name} shows {r.R:.2f} of the cue {answer.line.words} ({shares})" + blanks(r)


def measures(name: str, answer: Answer) -> str:
    """Say how a statistic changes, as a share of its value on the trained network's maps."""
    r, (low, high) = answer.retained, answer.interval.bounds()
    change = f"{name} changes by {r.R:+.3f} of its value ({low:+.3f} to {high:+.3f})"
    return f"{change} {answer.line.words}" + blanks(r)


def blanks(retained: Retained) -> str:
    """Say how many maps are blank, of which the measurement does not speak; empty where none is."""
    reference, changed = 1 - retained.alive, retained.blank
    if not (reference > 0 or changed > 0):
        return ""
    after = f"in {_percent(changed)} of the changed maps" if changed > 0 else "in no changed map"
    before = f"in {_percent(reference)} of" if reference > 0 else "never in"
    return f" (blank {after}, {before} the trained network's)"


def nothing_changed(name: str, answer: Answer) -> str:
    """Say that the maps stayed what they were."""
    r = answer.retained
    still = f"{name} is still {r.S:.2f} {answer.line.words}, where {r.A:.2f} is no change at all"
    return f"{NOTHING}{still}{blanks(r)}"


def same_for_every_image(name: str, answer: Answer) -> str:
    """Say that the maps ignore the image."""
    likeness, ceiling = answer.retained.between
    return (
        "the trained network's maps are the same for every image, so that no change of them could be told from one of the "
        f"image: {name} of different images' maps is {likeness:.2f}, where {ceiling:.2f} is no change at all"
    )


def uninformative(name: str, answer: Answer) -> str:
    """Say why a similarity cannot tell: too few maps, or no room between C and A."""
    r, stage = answer.retained, answer.line.stage
    if r.planned[0] * r.planned[1] == 0:
        return f"there are no scores at stage {stage}"
    if r.used.any() and not (r.top - r.floor) >= 0.1:
        return (
            f"{name} cannot tell {answer.line.words}: chance gives {r.floor:.2f} and no change "
            f"{r.top:.2f}, less than 0.1 apart"
        )
    why = "; ".join(f"{n} x {_undefined(reason)}" for reason, n in r.undefined.items())
    told = f" ({why})" if why else ""
    if r.alive < 0.8:
        return f"{name}: only {r.alive:.0%} of the trained network's maps are not blank{told}"
    return f"{name} has only {r.share:.0%} of its scores at stage {stage}{told}"


def _undefined(reason: str) -> str:
    """Say of what map the score was undefined: an image's own, or the others that chance needs."""
    _, of_chance, what = reason.partition("chance: ")
    return f"{what} of other images, which chance needs" if of_chance else reason


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.005 else "under 1 %"


def too_few_images(n: int, least: int) -> str:
    """Say that there are too few images."""
    return f"{n} image{'s' * (n != 1)}: a verdict needs at least {least} (32 are recommended)"


def too_few_draws(n: int, least: int, draw: tuple[str, str]) -> str:
    """Say that there are too few draws, or pairs of networks."""
    advice = " (8 are recommended)" if draw == DRAWS else ""
    return f"{n} {draw[n != 1]}: a verdict needs at least {least}{advice}"


def undecided(name: str, answer: Answer, more: More, alpha: float) -> str:
    """Say which side of the line is open, and what would probably settle it."""
    low, high = answer.interval.bounds(alpha)
    line, R = answer.line, answer.retained.R
    reason = f"{answer.says(name, answer)} ({low:.2f} to {high:.2f}, threshold {line.threshold:g})"
    is_change = line.must == "change"
    if answer.caveat and (line.threshold >= R if is_change else line.threshold <= R):
        return f"{reason}: {answer.caveat}"
    if low > line.threshold if is_change else high < line.threshold:
        side = "above" if is_change else "below"
        reason += f", {side} the threshold alone but not after Holm's correction for all cells"
    return f"{reason}: {wanted(more, answer.draw)}"


def wanted(more: More, draw: tuple[str, str] = DRAWS) -> str:
    """Say what would probably settle a question, the cheaper first."""
    draws = f"{more.draws} more {draw[more.draws != 1]}" if more.draws is not None else ""
    images = f"{more.images} more image{'s' * (more.images != 1)}" if more.images else ""
    if draws and images:
        return f"{_cheaper(draws, images, more.images_cost, draw)} would probably settle it"
    if draws or images:
        return f"{draws or images} would probably settle it"
    if more.both is not None:
        both = f"{more.both[0]} more images together with {more.both[1]} more {draw[1]}"
        return f"{both} would probably settle it"
    return "too close to the threshold for more images or draws to settle it"


def _cheaper(draws: str, images: str, images_cost: float, draw: tuple[str, str]) -> str:
    """Put the cheaper first; what pairs of networks cost is not known here."""
    if draw != DRAWS:
        return f"{images} or {draws}"
    first, second, times = (
        (draws, images, images_cost) if images_cost >= 1 else (images, draws, 1 / images_cost)
    )
    if times < 1.05:
        return f"{first} or {second}"
    return f"{first} or, at {times:.1f} times the cost, {second}"


def dominated(reason: str, control: float, *, has_multiplier: bool) -> str:
    """Say that the input explains what stays, and what to do."""
    found = f"dominated by the input: {reason.removeprefix(NOTHING)}, and noise times the input retains {control:.2f}"
    if has_multiplier:
        return f"{found}; run it without the multiplier (Kokhlikyan et al. 2021)"
    return (
        f"{found}; no multiplier of it is known that could be left out: where it has none, this points to the network "
        "(weights that were never randomised, or that follow the input's zeros whatever is learned)"
    )
