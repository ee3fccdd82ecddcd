"""The passes of a whole cascade against bare forward and backward passes, and similarities against passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from subject import Row, images, in_turns, resnet18, seconds
from torch import Tensor, nn

from salsanity import registry
from salsanity.checks.compare import compare, prepare
from salsanity.checks.explain import Explained
from salsanity.checks.speed import measured_speed
from salsanity.methods import Baselines
from salsanity.models.network import Network
from salsanity.models.network import prepare as copied
from salsanity.passes.request import Pass
from salsanity.passes.run import Batch, Setting, run
from salsanity.passes.schedule import Demand, State
from salsanity.randomizers.draw import ModuleInit
from salsanity.randomizers.stages import stages_of, weights_at

BATCHES = (8, 16, 32)
BARE_PASSES = 192
"""Images that bare passes are timed over between two cascades."""


def bare(model: nn.Module, x: Tensor, channels_last: bool) -> Callable[[], object]:
    """Return one forward and backward pass to the input in plain PyTorch."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = model.to(memory_format=layout).requires_grad_(False)
    points = x.to(memory_format=layout)

    def job() -> object:
        at = points.clone().requires_grad_()
        return torch.autograd.grad(network(at)[:, 0].sum(), at)

    return job


def best_bare(folder: Path, *, rounds: int) -> tuple[Callable[[], float], str]:
    """Find plain PyTorch's best batch size and memory format; return a job that times a pass of an image at it."""
    jobs = {}
    for last in (False, True):
        model = resnet18(folder)
        for size in BATCHES:
            name = f"batch {size}, {'channels-last' if last else 'contiguous'}"
            jobs[name] = bare(model, images(size), last)
    times = in_turns(jobs, rounds=rounds)
    sizes = {name: int(name.split(",")[0].split()[1]) for name in times}
    best = min(times, key=lambda name: times[name] / sizes[name])
    repeats = BARE_PASSES // sizes[best]

    def each() -> float:
        return seconds(lambda: [jobs[best]() for _ in range(repeats)]) / (repeats * sizes[best])

    return each, best


def cascade(network: Network, x: Tensor, batch_size: int, replay: str) -> Callable[[], object]:
    """Return the gradient at every stage of the top-down cascade, one layer at a time."""
    targets = torch.zeros(len(x), dtype=torch.long)
    drawn = ModuleInit()(network, 1)
    demands = [
        Demand(State(stage.name, weights_at(network, drawn, stage), targets), (Pass(),))
        for stage in stages_of(network.blocks, "top_down")
    ]
    ids = tuple(str(i) for i in range(len(x)))
    setting = Setting(0, 0, batch_size, Baselines(0, x), None, replay)  # type: ignore[arg-type]
    return lambda: run(network, Batch(x, ids), demands, setting=setting)


def passes(folder: Path, *, rounds: int = 3) -> tuple[list[Row], float]:
    """Measure the cascade over all 41 layers with and without replay; return the seconds of our pass too.

    Bare passes run before and after each cascade; the ratio of a round is to their mean, and the median of the rounds
    counts, since the machine's speed drifts.
    """
    network = copied(resnet18(folder), images(1), blocks="layer")
    speed = measured_speed(network, images(4), torch.zeros(4, dtype=torch.long))
    x = images(max(16, speed.batch_size))
    stages = len(network.blocks)
    alone, how = best_bare(folder, rounds=2)
    jobs = {replay: cascade(network, x, speed.batch_size, replay) for replay in ("on", "off")}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    before = alone()
    for _ in range(rounds):
        for name, job in jobs.items():
            ours, after = seconds(job) / (len(x) * stages), alone()
            found[name].append((ours, (before + after) / 2))
            before = after
    rows = []
    for replay, target in (("on", 0.85), ("off", 1.10)):
        ratios = [ours / plain for ours, plain in found[replay]]
        each, plain = sorted(found[replay], key=lambda pair: pair[0] / pair[1])[rounds // 2]
        rows.append(
            Row(
                f"passes of the cascade, {stages} layers, {len(x)} images, replay {replay}",
                f"{each * 1e3:.1f} ms a pass (batch {speed.batch_size}, {speed.memory_format})",
                f"{plain * 1e3:.1f} ms ({how})",
                "",
                median(ratios),
                f"at most {target}",
                median(ratios) <= target,
                "rounds: " + ", ".join(f"{ratio:.2f}" for ratio in ratios),
            )
        )
    return rows, median(ours for ours, _ in found["off"])


def similarities(one_pass: float, *, rounds: int = 5, count: int = 8) -> Row:
    """Measure Spearman, SSIM and HOG of one method in both views, score and chance, per map."""
    maps = {"gradient": Explained(images(count), (None,) * count)}
    three = [registry.similarity(name) for name in ("spearman", "ssim", "hog")]
    named = {similarity.name: similarity for similarity in three}
    others = [(i + 1) % count for i in range(count)]

    def job() -> object:
        found = prepare(maps, three)
        return [compare(named[cell[2]], found[cell], found[cell], others) for cell in found]

    each = in_turns({"ours": job}, rounds=rounds)["ours"] / count
    return Row(
        "similarities of one map: Spearman, SSIM, HOG, two views, score and chance",
        f"{each * 1e3:.1f} ms a map",
        f"{one_pass * 1e3:.1f} ms a pass",
        "",
        each / one_pass,
        "at most 0.35",
        each / one_pass <= 0.35,
    )
