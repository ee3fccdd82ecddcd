"""The words of the report: names as people know them, and a line to explain each term."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from salsanity.records import CheckRecord, Kept, Line
from salsanity.verdicts import ladder

METHOD_NAMES: Final = {
    "gradient": "Gradient",
    "input_x_gradient": "Input × gradient",
    "smoothgrad": "SmoothGrad",
    "smoothgrad_squared": "SmoothGrad squared",
    "vargrad": "VarGrad",
    "integrated_gradients": "Integrated gradients",
    "integrated_gradients_smoothgrad": "IG-SmoothGrad",
    "guided_backprop": "Guided backprop",
    "gradcam": "GradCAM",
    "guided_gradcam": "Guided GradCAM",
    "edge": "Edge detector",
    "input": "Input",
    "noise": "Noise",
    "noise_x_input": "Noise × input",
}

NO_MAPS: Final = "NO MAPS"
"""What stands in place of an outcome where a method raised on every image: that is no verdict."""

METHOD_LINES: Final = {
    "gradient": "the derivative of the class's logit by each pixel",
    "input_x_gradient": "the gradient times the pixel's value",
    "smoothgrad": "the mean of gradients at noisy copies of the image",
    "smoothgrad_squared": "the mean of squared gradients at noisy copies of the image",
    "vargrad": "the variance of gradients at noisy copies of the image",
    "integrated_gradients": "the mean gradient on the way from a baseline, times the difference",
    "integrated_gradients_smoothgrad": "the mean of integrated gradients over noisy copies",
    "guided_backprop": "the gradient with negative signals cut at every ReLU on the way back",
    "gradcam": "the last convolutional layer's features, weighted by their mean gradient",
    "guided_gradcam": "guided backprop times GradCAM",
    "edge": "a Sobel filter on the image; it sees no network",
    "input": "the image's own absolute values; it sees no network",
    "noise": "random numbers, new for every state of the network",
    "noise_x_input": "random numbers times the image: what multiplying by the input does alone",
}

SIMILARITY_NAMES: Final = {
    "spearman": "Spearman",
    "ssim": "SSIM",
    "hog": "HOG",
    "pearson": "Pearson",
    "cosine": "Cosine",
}

CONTROL_WORDS: Final = {
    "noise": "pure noise",
    "edge": "an edge detector, which sees no network,",
    "input": "the image itself, which sees no network,",
    "noise_x_input": "noise times the image",
}
"""Controls as they are named within a sentence."""

TERMS: Final = {
    "saliency map": "A picture that says of every pixel how relevant a method holds it for the "
    "network's output.",
    "retained similarity": "How much of a map's likeness to the reference map is left, between 0 "
    "(what chance gives) and 1 (nothing changed, as for an edge detector when the network changes).",
    "chance": "The likeness to the changed maps of other images: what two maps share without "
    "showing the same thing.",
    "ceiling": "The likeness of the reference map to itself when explained once more with other "
    "noise: the most that any map can keep.",
    "interval": "A two-sided 90 % confidence interval over images and draws; its ends are the "
    "bounds that decide.",
    "line": "How much retained similarity decides. The lines are conventions with a meaning: see "
    "the ladder of edges and noise.",
    "ladder of edges and noise": "What retained similarity means: {ladder} (noise by variance), "
    "where the edge detector never changes and noise always does.",
    "stage": "One of the changes at which maps are compared with the reference, in the order in "
    "which they are made.",
    "draw": "One set of random numbers for a change; the check is repeated with several.",
    "reference": "The map that all others are compared with: of the network as trained, for the "
    "class that is explained.",
    "signed": "The map with its signs, summed over colour channels.",
    "absolute": "The map without its signs: absolute values summed over colour channels.",
    "Spearman": "The correlation of the pixels' ranks in two maps.",
    "SSIM": "The structural similarity index: local brightness, contrast and pattern of two maps.",
    "HOG": "The correlation of histograms of oriented gradients: the shapes drawn by two maps.",
    "Pearson": "The correlation of the pixels' values in two maps.",
    "Cosine": "The cosine of the angle between two maps.",
    "PASS": "The method was not caught by this check. That says nothing good about it: wherever "
    "maps must change, pure noise passes too.",
    "FAIL": "The method was caught: its maps did not do what the check demands of them.",
    "INCONCLUSIVE": "The interval lies across the line, or the run is too small to say.",
    "UNINFORMATIVE": "This similarity cannot tell here: chance is almost as high as the ceiling, "
    "or too many scores are undefined.",
    "edge detector": "A map made without any network; what looks like it needs no network.",
    "control": "A map whose verdict is known beforehand; if it comes out otherwise, the run "
    "cannot be trusted.",
    "gate": "A condition without which no verdict is given, such as a network that predicts "
    "better than chance.",
    "collapse": "The changed network gives the same output for every image, so its maps mean "
    "nothing.",
    "blank map": "A map that is constant or not finite: it has no similarity to any other, so that "
    "retained similarity speaks of the other maps alone.",
    "initialiser": "How random parameters are drawn.",
    "target": "The class whose logit is explained.",
}


@final
@dataclass(frozen=True)
class Measured:
    """What the number of a verdict is: what it is called, what it says, what the ends 0 and 1 of its scale mean.

    `is_judged`: whether a line decides on it, or it is a measurement alone. `bars`, `bars_say`: the heading over bars, and what
    they are. `beside`: what the mark beside a bar is. `caught`: what maps look like that are caught; empty: it is the line's.
    """

    name: str
    says: str
    ends: tuple[str, str]
    is_judged: bool = True
    bars: str = "Similarity by stage"
    bars_say: str = "How alike the maps that are compared at each stage are"
    beside: str = "chance"
    caught: str = ""


RETAINED: Final = Measured(
    "Kept",
    "the share of similarity that is left; 0 = chance, 1 = nothing changed",
    ("chance", "same"),
)
MEASURED: Final = {
    "statistic": Measured(
        "Change",
        "the change of a statistic of the map, as a share of its value on the reference map; a measurement without a verdict",
        ("none", "doubled"),
        is_judged=False,
        bars="The statistic by stage",
        bars_say="The statistic of the changed maps",
    ),
    "cue": Measured(
        "Shown",
        "how much more of the map lies on the cue where the network follows it, as a share of what could; 0 = nothing, 1 = all",
        ("nothing", "all"),
        bars="How much of the map lies on the cue",
        bars_say="How much of the map lies on the cue where the network follows it",
        beside="where it means nothing",
        caught="look alike whether the network follows the cue or not",
    ),
}
"""By what a check tests; every other test measures the share of similarity that is kept."""


def measured(record: CheckRecord) -> Measured:
    """Return what the number of a check's verdicts is."""
    return MEASURED.get(record.test, RETAINED)


def limit(line: Line | Kept) -> str:
    """Say on which side of its threshold a line wants what is measured."""
    return f"{'at most' if line.must == 'change' else 'at least'} {line.threshold:g}"


def glossary(records: Sequence[CheckRecord]) -> dict[str, str]:
    """Return the terms of the page with their explanations: the common ones, and each line of each check."""
    found = {name: text.format(ladder=ladder()) for name, text in TERMS.items()}
    for record in records:
        for line in record.lines:
            found.setdefault(line_term(line, record, records), explained(line, record))
    return found


def line_term(line: Line, record: CheckRecord, records: Sequence[CheckRecord]) -> str:
    """Return the term for a line: its name, with the check where two checks call lines alike."""
    shared = sum(other.name == line.name for r in records for other in r.lines) > 1
    name = printable(line.name)
    return f"{name} ({printable(record.words.title)})" if shared or name in TERMS else name


def explained(line: Line, record: CheckRecord) -> str:
    """Say what is measured at a line, and what decides."""
    said = f"{measured(record).name}, measured {printable(line.words)}."
    return f"{said} {demand(line, record)}." if measured(record).is_judged else said


def demand(line: Line, record: CheckRecord) -> str:
    """Say on which side of its threshold a line fails a method."""
    side = "more" if line.must == "change" else "less"
    return f"FAIL where {side} than {line.threshold:g} is {measured(record).name.lower()}"


def printable(text: object) -> str:
    """Return text without control characters, which could drive a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


ANYBODYS: Final = frozenset(
    {"build", "build_model", "create", "create_model", "get_model", "load", "load_model"}
    | {"main", "make", "make_model", "model", "net", "network"}
)
"""Names of functions that say nothing about the network which they build."""


def short_name(given: str) -> str:
    """Return the name of a thing that lies in a file of the user's: its own, without the file."""
    target, bracket, arguments = given.partition("(")
    home, _, name = target.rpartition(":")
    if name and ("." in home or "/" in home or "\\" in home):
        return printable(name + bracket + arguments)
    if target.startswith(("/", "\\", "~", ".")) or target[1:3] in (":\\", ":/"):
        return printable(re.split(r"[/\\]", target)[-1] + bracket + arguments)
    return printable(given)


def network_name(given: str) -> str:
    """Return a network's name: that of its function, after its file's where the function is called as anybody's would be."""
    short = short_name(given)
    file = re.split(r"[/\\]", given.partition("(")[0].rpartition(":")[0])[-1]
    is_anybodys = short.partition("(")[0] in ANYBODYS and file
    return f"{printable(file.removesuffix('.py'))}.{short}" if is_anybodys else short


def method_name(method: str) -> str:
    """Return a method's name as people know it."""
    base, bracket, arguments = method.partition("(")
    if base in METHOD_NAMES:
        return " ".join(filter(None, (METHOD_NAMES[base], printable(bracket + arguments))))
    return short_name(method)


def method_names(methods: Sequence[str]) -> dict[str, str]:
    """Return what each method is called; where two files have one name in them, as little of their paths as tells them apart."""
    short = {method: method_name(method) for method in methods}
    count = Counter(short.values())
    alike = {m: [o for o in methods if short[o] == name] for m, name in short.items()}
    return {m: n if count[n] == 1 else _told_apart(m, n, alike[m]) for m, n in short.items()}


def _told_apart(method: str, name: str, alike: Sequence[str]) -> str:
    """Add the end of the path of a method's file that no other file of those `alike` has; all is said where none is."""
    homes = [re.split(r"[/\\]", other.partition("(")[0].rpartition(":")[0]) for other in alike]
    own = homes[alike.index(method)]
    for depth in range(1, len(own) + 1):
        end = own[-depth:]
        if end != [""] and sum(home[-depth:] == end for home in homes) == 1:
            return f"{name} ({printable('/'.join(end))})"
    return printable(method)


def similarity_name(similarity: str) -> str:
    """Return a similarity's name as people know it."""
    return SIMILARITY_NAMES.get(similarity, printable(similarity))


def state_name(state: str) -> str:
    """Return the name of a stage or state for a heading; what is numbered from 0 is numbered from 1."""
    kind, _, number = state.partition(":")
    if kind.isalpha() and number.isdigit():
        return f"{printable(kind)} {int(number) + 1}"
    return printable(state)


def stage_words(record: CheckRecord, stage: str) -> str:
    """Return what is compared at a stage, in the check's words where it has some."""
    for known in record.stages:
        if known["name"] == stage and known.get("words"):
            return printable(known["words"])
    return state_name(stage)


def many(words: str, count: int) -> str:
    """Turn what is said of one method into what is said of several: its maps, their maps."""
    if count == 1:
        return words
    for one, several in PLURALS:
        if words.startswith(one):
            return several + words.removeprefix(one)
    return words


PLURALS: Final = (("its ", "their "), ("was ", "were "), ("is ", "are "), ("it was ", "they were "))


def listed(names: list[str]) -> str:
    """Join names as in a sentence: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def decimals(value: float, digits: int = 2) -> str:
    """Write a number with a true minus sign, or a dash where it is undefined."""
    if value != value:
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
