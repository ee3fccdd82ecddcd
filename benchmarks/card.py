"""The card of explainers of four libraries: every cheap check on an ImageNet ResNet-18, and what it confirms.

    python benchmarks/card.py --imagenet DATA/imagenet --out RUNS

Runs, each in a folder of its own under `--out`, so that an interrupted program goes on where it was:

- `resnet18`: the explainers in `RESNET` and all cheap checks, few photographs and draws;
- `resnet18-samples`: what evaluates the network many times a map, and `repeat` alone;
- `digits`: the demo's network on handwritten digits, more explainers, more images and draws;
- `rewritten-resnet18`, `rewritten-digits`: which rules change when norms are folded, and when channels are rescaled and permuted;
- `cost`: CPU seconds of each check with the methods of our own, unit by unit.

Everything is printed as Markdown and kept beside the runs: `card.md`, `card.png`, `card-digits.md`, `card-digits.png`,
`expected.md`, `rewritten.md`, `cost.md`. The settings are cheap on purpose; they stand in the names.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import nn

import salsanity
from salsanity.checks import reparametrise
from salsanity.checks.frame import REFERENCE_STREAM, Chunk, Ground, State
from salsanity.checks.label_networks import Training, labelled, trained
from salsanity.data.digits import digits_source
from salsanity.executors.serial import done
from salsanity.models.links import Links, links_of
from salsanity.models.reference import demo_network
from salsanity.narrator import Silent
from salsanity.options import option
from salsanity.records import Line, Outcome, Words
from salsanity.report import card_of, read_run, write_card
from salsanity.report.terms import decimals
from salsanity.training.settings import DEMO
from subjects import resnet18

OWN = (
    "gradient",
    "input_x_gradient",
    "smoothgrad(samples=5)",
    "vargrad(samples=5)",
    "integrated_gradients(steps=5)",
    "guided_backprop",
    "gradcam",
    "guided_gradcam",
)
CAPTUM = (
    "captum:Saliency",
    "captum:Deconvolution",
    "captum:LayerGradCam",
    "captum:DeepLift",
    "captum:GradientShap",
)
ZENNIT = (
    "zennit:BetaSmooth",
    "zennit:ExcitationBackprop",
    "zennit:EpsilonPlusFlat",
    "zennit:EpsilonPlusFlat(canonizer='none')",
    "zennit:EpsilonAlpha2Beta1Flat",
)
GRAD_CAM = (
    "grad_cam:GradCAMPlusPlus",
    "grad_cam:LayerCAM",
    "grad_cam:EigenCAM",
    "grad_cam:EigenGradCAM",
    "grad_cam:FEM",
    "grad_cam:RandomCAM",
)
RESNET = (*OWN, *CAPTUM, *ZENNIT, *GRAD_CAM)
SAMPLED = ("captum:Lime", "captum:KernelShap")
DIGITS = (*RESNET, "captum:LRP", "captum:Occlusion", "captum:FeatureAblation", *SAMPLED)

RULES = (
    "gradient",
    "captum:DeepLift",
    "captum:LRP",
    "zennit:BetaSmooth",
    "zennit:ExcitationBackprop",
    "zennit:EpsilonPlus",
    "zennit:EpsilonPlus(canonizer='none')",
    "zennit:EpsilonPlusFlat",
    "zennit:EpsilonPlusFlat(canonizer='none')",
    "zennit:EpsilonAlpha2Beta1Flat",
    "zennit:EpsilonAlpha2Beta1Flat(canonizer='none')",
)

EXPECTED = (
    ("gradient", ("cascade", "class", "repeat", "shift", "reparametrise"), Outcome.PASS),
    ("guided_backprop", ("cascade", "class"), Outcome.FAIL),
    ("integrated_gradients(steps=5)", ("cascade", "shift"), Outcome.FAIL),
    ("input_x_gradient", ("cascade", "shift"), Outcome.FAIL),
    ("grad_cam:EigenCAM", ("class",), Outcome.FAIL),
    ("captum:Lime", ("repeat",), Outcome.FAIL),
    ("captum:KernelShap", ("repeat",), Outcome.FAIL),
    ("edge", ("cascade", "class"), Outcome.FAIL),
    ("edge", ("repeat", "shift", "reparametrise"), Outcome.PASS),
)
"""What was expected before anything was run."""


@dataclass(frozen=True)
class Rewriting:
    """One half of `reparametrise`: norms folded, or channels rescaled and permuted; the other half left alone."""

    part: str = option("fold", "What is rewritten.", choices=("fold", "rescale"))

    ceiling: ClassVar[str] = "one"
    draws: ClassVar[int] = 1
    controls: ClassVar = {"edge": Outcome.PASS, "noise": Outcome.FAIL}

    @property
    def name(self) -> str:
        """The half's name."""
        return self.part

    @property
    def words(self) -> Words:
        """How the half speaks."""
        titles = {"fold": "Norms folded", "rescale": "Channels rescaled and permuted"}
        caught = "its maps change with weights that leave the function as it is"
        return Words(titles[self.part], "Do the maps stay?", caught, "was not caught")

    @property
    def lines(self) -> tuple[Line, ...]:
        """As `reparametrise` demands."""
        return (Line(self.part, "other weights", 0.9, "in other weights", must="stay"),)

    def fits(self, ground: Ground) -> None:
        """Raise where there is nothing to rewrite."""
        if not (self._links(ground).folds or self._links(ground).chains):
            raise salsanity.ModelError(f"expected something to {self.part}, got nothing")

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> list[State]:
        """Put the other weights in."""
        weights = reparametrise.rewritten(ground.network, self._links(ground), ground.seed)
        return [State("other weights", weights, stream=REFERENCE_STREAM)]

    def _links(self, ground: Ground) -> Links:
        found = links_of(ground.network, ground.pool()[:1])
        return Links(found.folds, ()) if self.part == "fold" else Links((), found.chains)


@dataclass(frozen=True)
class Metered:
    """The serial executor, with the CPU seconds of each unit written to a file, a JSON line each."""

    path: Path

    def run(self, job: Any, lots: Iterable[Any], *, tick: Any = None) -> Iterator[Any]:
        """Yield each unit as soon as it is done."""
        opened = job.open(tick=tick)
        for lot in lots:
            for unit in lot:
                began = time.process_time()
                result = done(opened, unit)
                spent = time.process_time() - began
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([unit.check, unit.draw, len(unit.images), spent]) + "\n")
                yield unit, result


@dataclass(frozen=True)
class Contest:
    """One run: a network, its images, what is run, and how much of it."""

    name: str
    subject: Callable[[argparse.Namespace], tuple[nn.Module, Any]]
    checks: tuple[Any, ...]
    methods: tuple[str, ...]
    images: int
    draws: int
    title: str

    def run(self, asked: argparse.Namespace, executor: Any = None) -> Any:
        """Run it, or what is missing of it; methods that the network does not admit are left out and named."""
        model, images = self.subject(asked)
        methods = list(self.methods)
        while True:
            try:
                return salsanity.run(
                    list(self.checks),
                    model,
                    images,
                    methods=methods,
                    name=self.title,
                    out=asked.out / self.name,
                    max_images=asked.images or self.images,
                    seed=0,
                    gallery=0,
                    batch_size=8,
                    memory_format="contiguous",
                    executor=executor,
                    **({} if self.draws == 1 else {"draws": asked.draws or self.draws}),
                )
            except salsanity.MethodError as error:
                refused = [m for m in methods if m in str(error)]
                if not refused:
                    raise
                worst = max(refused, key=len)
                print(f"{self.name}: left out {worst}: {error}", flush=True)
                methods.remove(worst)


def photographs(asked: argparse.Namespace) -> tuple[nn.Module, Any]:
    """Return the ResNet-18 and the photographs."""
    return resnet18(asked.imagenet)


def digits(asked: argparse.Namespace) -> tuple[nn.Module, Any]:
    """Return the demo's network, trained once, and the test digits."""
    return _trained(demo_network, asked.out / "networks" / "demo"), digits_source("test")


def normed_digits(asked: argparse.Namespace) -> tuple[nn.Module, Any]:
    """Return a network with batch norms and without sums, trained once, and the test digits."""
    return _trained(normed, asked.out / "networks" / "normed"), digits_source("test")


def normed() -> nn.Sequential:
    """Build it: three convolutions with batch norms, and two linear layers."""
    layers: list[nn.Module] = []
    for before, after in ((1, 8), (8, 16), (16, 16)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))


def _trained(make: Callable[[], nn.Module], folder: Path) -> nn.Module:
    data = labelled(digits_source("train")), labelled(digits_source("test"))
    training = Training(make, *data, DEMO, 0, torch.device("cpu"), folder)
    return trained(training, "true", 0, Silent()).model


CHEAP = ("all-cheap",)
HALVES = ("reparametrise", Rewriting("fold"), Rewriting("rescale"))
CONTESTS = (
    Contest("digits", digits, CHEAP, DIGITS, 32, 5, "demo CNN, digits"),
    Contest("rewritten-digits", normed_digits, HALVES, RULES, 32, 1, "CNN with norms, digits"),
    Contest("cost", photographs, CHEAP, OWN, 4, 8, "ResNet-18"),
    Contest("resnet18", photographs, CHEAP, RESNET, 8, 5, "ResNet-18"),
    Contest("resnet18-samples", photographs, ("repeat",), SAMPLED, 8, 2, "ResNet-18"),
    Contest("rewritten-resnet18", photographs, HALVES, RULES, 4, 1, "ResNet-18"),
)


def cells(folder: Path) -> dict[tuple[str, str], str]:
    """Return outcome, number and interval by (method, check), controls included."""
    found: dict[tuple[str, str], str] = {}
    run = read_run(folder)
    card = card_of(run)
    for row in card.rows:
        for column, cell in zip(card.columns, row.cells, strict=True):
            if cell is not None:
                found[row.method, column.key] = f"{cell.outcome} {cell.text} ({cell.span})"
    for part in run.parts:
        for name in part.controls:
            headline = part.headlines[name]
            low, high = (decimals(end) for end in headline.retained_ci)
            number = f"{decimals(headline.retained)} ({low} to {high})"
            found[name, part.record.name] = f"{headline.outcome} {number}"
    return found


def expected(folders: dict[str, Path]) -> str:
    """Return each expectation beside what came out."""
    there = {title: cells(folder) for title, folder in folders.items()}
    rows = [["method", "check", "expected", *there]]
    for method, checks, outcome in EXPECTED:
        for check in checks:
            said = [found.get((method, check), "–") for found in there.values()]
            rows.append([f"`{method}`", f"`{check}`", outcome, *said])
    return markdown(rows)


def rewritten(folders: dict[str, Path]) -> str:
    """Return what was retained by each rule in each half of `reparametrise`, network by network."""
    rows = [["explainer", "network", "all of it", "norms folded", "rescaled and permuted"]]
    for title, folder in folders.items():
        found = cells(folder)
        for method in dict.fromkeys(m for m, _ in found if m in RULES):
            said = [
                found.get((method, check), "–") for check in ("reparametrise", "fold", "rescale")
            ]
            rows.append([f"`{method}`", title, *said])
    return markdown(rows)


def cost(path: Path) -> str:
    """Return CPU seconds per image: of each check, and of class, shift and reparametrise beside the cascade.

    The first unit of a chunk of images also explains the trained network, which serves all checks, and the ceiling; so what a
    draw of the cascade costs is the median of those after the first.
    """
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    units = list({tuple(unit[:2]): unit for unit in told}.values())
    images = units[0][2]
    spent = {check: [u[3] for u in units if u[0] == check] for check, *_ in units}
    whole, bare = sum(spent["cascade"]), median(spent["cascade"][1:]) * len(spent["cascade"])
    seconds = {check: sum(found) for check, found in spent.items()}
    three = sum(seconds[name] for name in ("class", "shift", "reparametrise"))
    rows = [["check", "CPU seconds per image", "beside the cascade", "beside its draws alone"]]
    for name, found in {**seconds, "class, shift, reparametrise": three}.items():
        shares = f"{found / whole:.2f}", f"{found / bare:.2f}"
        rows.append([name, f"{found / images:.2f}", *shares])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, its first row the head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def say(out: Path, name: str, text: str) -> None:
    """Print a table and keep it."""
    print(f"\n{name}\n\n{text}", flush=True)
    (out / name).write_text(text, encoding="utf-8")


def tell(asked: argparse.Namespace) -> None:
    """Print and keep what the runs that are there say."""
    out: Path = asked.out
    ran = [c.name for c in CONTESTS if (out / c.name / "verdicts.json").is_file()]
    for run, name in (("resnet18", "card"), ("digits", "card-digits")):
        if run in ran:
            picture(out / run, out / f"{name}.png")
            say(out, f"{name}.md", card_of(read_run(out / run)).to_markdown())
    names = {"resnet18": "ResNet-18", "resnet18-samples": "ResNet-18, samples", "digits": "digits"}
    say(out, "expected.md", expected({names[n]: out / n for n in names if n in ran}))
    halves = {"rewritten-resnet18": "ResNet-18", "rewritten-digits": "CNN with norms"}
    say(out, "rewritten.md", rewritten({halves[n]: out / n for n in halves if n in ran}))
    if "cost" in ran:
        say(out, "cost.md", cost(out / "cost.jsonl"))


def picture(folder: Path, path: Path) -> None:
    """Write the card of a run in few colours, so that the file is small."""
    write_card([folder], path)
    with Image.open(path) as drawn:
        few = drawn.convert("RGB").quantize(32)
    few.save(path, optimize=True)


def command(contest: Contest, asked: argparse.Namespace) -> str:
    """Return how the command line asks for a run on the photographs."""
    data = asked.imagenet
    words = ["salsanity check", f"--model {data}/resnet18.py:resnet18"]
    words += [f"--weights {data}/resnet18.safetensors --images {data}/photographs"]
    words += ["--size 224 --resize 256 --mean .485,.456,.406 --std .229,.224,.225"]
    words += [f"--check {','.join(contest.checks)}"]
    words += [f"--draws {asked.draws or contest.draws}"]
    words += [f"--max-images {asked.images or contest.images} --gallery 0 --batch-size 8"]
    words += [f'--method "{method}"' for method in contest.methods]
    return " \\\n    ".join([*words, f"--out {asked.out / contest.name}"])


def main() -> None:
    """Run, or continue, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--imagenet", type=Path, required=True, help="resnet18.py, its weights, ..."
    )
    parser.add_argument("--out", type=Path, default=Path("salsanity-runs/card"))
    parser.add_argument("--only", nargs="*", choices=[c.name for c in CONTESTS], help="some runs")
    parser.add_argument("--images", type=int, help="in place of each run's own number")
    parser.add_argument("--draws", type=int, help="in place of each run's own number")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    ran = [c for c in CONTESTS if not asked.only or c.name in asked.only]
    for contest in ran:
        if contest.name == "resnet18":
            print(command(contest, asked), flush=True)
        began = time.process_time()
        metered = Metered(asked.out / "cost.jsonl") if contest.name == "cost" else None
        contest.run(asked, metered)
        print(f"{contest.name}: {time.process_time() - began:.0f} CPU seconds", flush=True)
    tell(asked)


if __name__ == "__main__":
    main()
