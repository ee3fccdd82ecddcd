"""The passes of a whole cascade against bare forward and backward passes, and similarities against passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean

import torch
from subject import Row, images, in_turns, resnet18, seconds
from torch import Tensor, nn

from salsanity import registry
from salsanity.methods import Baselines
from salsanity.models.network import Network
from salsanity.models.network import prepare as copied
from salsanity.passes.precision import Precision
from salsanity.passes.request import Pass
from salsanity.passes.run import Batch, Setting, run
from salsanity.passes.schedule import Demand, State
from salsanity.randomizers.draw import ModuleInit
from salsanity.randomizers.stages import stages_of, weights_at
from salsanity.units.compare import compare, prepare
from salsanity.units.explain import Explained
from salsanity.units.speed import measured_speed

BATCHES = (8, 16, 32)
COUNT = 8
"""Images of the cascade: more make the ratios no better and the benchmark longer."""


def bare(model: nn.Module, x: Tensor, channels_last: bool) -> Callable[[], object]:
    """Return one forward and backward pass to the input in plain PyTorch."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = model.to(memory_format=layout).requires_grad_(False)
    points = x.to(memory_format=layout)

    def job() -> object:
        at = points.clone().requires_grad_()
        return torch.autograd.grad(network(at)[:, 0].sum(), at)

    return job


def best_bare(folder: Path, *, rounds: int) -> tuple[Callable[[], object], int, str]:
    """Find plain PyTorch's best batch size and memory format; return a batch at it, its size and its name."""
    jobs = {}
    for last in (False, True):
        model = resnet18(folder)
        for size in BATCHES:
            name = f"batch {size}, {'channels-last' if last else 'contiguous'}"
            jobs[name] = bare(model, images(size), last)
    times = in_turns(jobs, rounds=rounds)
    sizes = {name: int(name.split(",")[0].split()[1]) for name in times}
    best = min(times, key=lambda name: times[name] / sizes[name])
    return jobs[best], sizes[best], best


class Alongside:
    """Bare passes in turns with a cascade's own, batch by batch, so that both see the same machine."""

    def __init__(self, job: Callable[[], object], size: int) -> None:
        self.job, self.size = job, size
        self.owed = self.done = 0
        self.spent = 0.0

    def __call__(self, passes: int) -> None:
        """Told of `passes` of ours, run as many bare ones, in whole batches."""
        self.owed += passes
        while self.owed >= self.size:
            self.spent += seconds(self.job)
            self.done += self.size
            self.owed -= self.size


def cascade(
    network: Network,
    x: Tensor,
    batch_size: int,
    replay: str,
    tick: Callable[[int], None],
    *,
    precision: Precision = "float32",
) -> Callable[[], object]:
    """Return the gradient at every stage of the top-down cascade, one layer at a time."""
    targets = torch.zeros(len(x), dtype=torch.long, device=x.device)
    drawn = ModuleInit()(network, 1)
    demands = [
        Demand(State(stage.name, weights_at(network, drawn, stage), targets), (Pass(),))
        for stage in stages_of(network.blocks, "top_down")
    ]
    ids = tuple(str(i) for i in range(len(x)))
    setting = Setting(0, 0, batch_size, Baselines(0, x), tick, replay, precision)  # type: ignore[arg-type]
    return lambda: run(network, Batch(x, ids), demands, setting=setting)


def passes(folder: Path, *, rounds: int = 2) -> tuple[list[Row], float]:
    """Measure the cascade over all 41 layers with and without replay; return the seconds of our pass too.

    After each of our batches bare passes of as many images run, since the machine's speed drifts by the second.
    """
    network = copied(resnet18(folder), images(1), blocks="layer")
    speed = measured_speed(network, images(4), torch.zeros(4, dtype=torch.long))
    x, size_of_ours = images(COUNT), min(COUNT, speed.batch_size)
    stages = len(network.blocks)
    plain, size, how = best_bare(folder, rounds=2)
    found: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
    for _ in range(rounds):
        for replay, times in found.items():
            beside = Alongside(plain, size)
            whole = seconds(cascade(network, x, size_of_ours, replay, beside))
            times.append(((whole - beside.spent) / (len(x) * stages), beside.spent / beside.done))
    rows = []
    for replay, target in (("on", 0.85), ("off", 1.10)):
        ours, bare_ones = (mean(column) for column in zip(*found[replay], strict=True))
        rows.append(
            Row(
                f"passes of the cascade, {stages} layers, {len(x)} images, replay {replay}",
                f"{ours * 1e3:.1f} ms a pass (batch {size_of_ours}, {speed.memory_format})",
                f"{bare_ones * 1e3:.1f} ms ({how})",
                "",
                ours / bare_ones,
                f"at most {target}",
                ours / bare_ones <= target,
                "rounds: " + ", ".join(f"{mine / other:.2f}" for mine, other in found[replay]),
            )
        )
    return rows, mean(ours for ours, _ in found["off"])


def similarities(one_pass: float, *, rounds: int = 5, count: int = 8) -> Row:
    """Measure Spearman, SSIM and HOG of one method in both views, score and chance, per map."""
    maps = {"gradient": Explained(images(count), (None,) * count)}
    three = [registry.similarity(name) for name in ("spearman", "ssim", "hog")]
    named = {similarity.name: similarity for similarity in three}
    others = [((i + 1) % count,) for i in range(count)]

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
