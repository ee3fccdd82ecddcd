"""What a GPU yields, in one command of some ten minutes: passes, waits, the paper's ImageNet experiment, Quantus.

    python benchmarks/performance/gpu.py --data DATA/imagenet
    python benchmarks/performance/gpu.py --data DATA/imagenet --device cpu --dry      # the same program, tiny, on a CPU

DATA/imagenet holds `inception_v3.py`, `resnet18.py`, their weights and `photographs/`; torchvision brings ResNet-50 (random
weights: the time of a pass does not depend on them). A part that the machine lacks says so in its row.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from subject import HEADER, Row
from torch import Tensor, nn

import salsanity
from inception import BLOCKS, METHODS, PIXELS, pictures
from passes import cascade
from salsanity.data.images import open_folder
from salsanity.models.load import load_model
from salsanity.models.network import Network, prepare
from salsanity.passes.precision import Precision, computing_in

PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
WHOLE = 200
"""Images of the paper's experiment."""
EFFORT = 50
"""Its samples and steps."""


@dataclass(frozen=True)
class Size:
    """How much is measured: batch sizes to try, seconds a measurement, images of the experiment, its samples and steps."""

    batches: tuple[int, ...]
    seconds: float
    images: int
    effort: int


FULL = Size((32, 64, 128, 256), 3.0, 8, EFFORT)
DRY = Size((1, 2), 0.1, 1, 2)


@dataclass(frozen=True)
class Machine:
    """The device, and how its work is waited for."""

    device: torch.device
    size: Size

    @property
    def is_gpu(self) -> bool:
        """Whether there is anything that runs ahead of Python."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Wait until all that was asked for is done."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def rate(self, job: Callable[[], object], images: int) -> float:
        """Return images a second of a job over `images`, after two calls that do not count."""
        job(), job()
        self.wait()
        began, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - began < self.size.seconds:
            job()
            calls += 1
            self.wait()
        return images * calls / (time.perf_counter() - began)


def subjects(data: Path) -> Iterator[tuple[str, nn.Module, int]]:
    """Yield the two networks of the table with the side of their images."""
    if importlib.util.find_spec("torchvision") is not None:
        from torchvision.models import resnet50

        yield "ResNet-50", resnet50(weights=None), 224
    yield "Inception v3", load_model(f"{data / 'inception_v3.py'}:inception_v3").model, 299


def bare(model: nn.Module, x: Tensor, precision: Precision) -> Callable[[], object]:
    """Return one forward and backward pass to the input in plain PyTorch."""

    def job() -> object:
        at = x.clone().requires_grad_()
        with computing_in(precision, x.device):
            total = model(at)[:, 0].float().sum()
        return torch.autograd.grad(total, at)

    return job


def passes(machine: Machine, name: str, model: nn.Module, side: int) -> Iterator[Row]:
    """Measure our passes of a cascade beside bare ones, in each precision, with replay and without."""
    model = model.to(machine.device).eval().requires_grad_(False)
    network = prepare(model, torch.rand(1, 3, side, side, device=machine.device))
    for precision in PRECISIONS if machine.is_gpu else ("float32",):
        rates = {}
        for batch in machine.size.batches:
            x = torch.rand(batch, 3, side, side, device=machine.device)
            try:
                rates[batch] = machine.rate(bare(model, x, precision), batch)
            except torch.OutOfMemoryError:
                break
        batch = max(rates, key=lambda size: rates[size])
        for replay in ("off", "on"):
            yield _beside(machine, network, (name, side, precision), replay, (batch, rates[batch]))


def _beside(
    machine: Machine,
    network: Network,
    subject: tuple[str, int, Precision],
    replay: str,
    best: tuple[int, float],
) -> Row:
    (name, side, precision), (batch, rate) = subject, best
    x = torch.rand(batch, 3, side, side, device=machine.device)
    evaluated: list[int] = []
    job = cascade(network, x, batch, replay, evaluated.append, precision=precision)
    job()
    machine.wait()
    evaluated.clear()
    began = time.perf_counter()
    job()
    machine.wait()
    ours = sum(evaluated) / (time.perf_counter() - began)
    return Row(
        f"{name}, {side} x {side}, {precision}, cascade of {len(network.blocks)} blocks, replay {replay}",
        f"{ours:,.0f} passes a second (batch {batch})",
        f"{rate:,.0f}",
        "",
        ours / rate,
        "at least 0.9",
        ours / rate >= 0.9,
    )


def waits(machine: Machine, model: nn.Module, side: int) -> Row:
    """Count how often a cascade makes Python wait for the GPU."""
    what, target = "synchronisations of a cascade, an image", "less than 1"
    if not machine.is_gpu:
        return Row(what, "", "", "", None, target, None, "needs a GPU")
    batch = machine.size.batches[0]
    x = torch.rand(batch, 3, side, side, device=machine.device)
    network = prepare(model.to(machine.device).eval(), x[:1])
    job = cascade(network, x, batch, "on", lambda _: None)
    job()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            job()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    each = sum("synchroniz" in str(w.message) for w in caught) / (batch * len(network.blocks))
    return Row(what, f"{each:.2f}", "", "", each, target, each < 1)


def graphs(machine: Machine, name: str, model: nn.Module, side: int) -> Row:
    """Say whether a CUDA graph of the bare pass would pay."""
    what = f"{name}: bare pass as a CUDA graph, beside the plain one"
    if not machine.is_gpu:
        return Row(what, "", "", "", None, "told", None, "needs a GPU")
    batch = machine.size.batches[0]
    x = torch.rand(batch, 3, side, side, device=machine.device)
    job = bare(model.to(machine.device).eval().requires_grad_(False), x, "float32")
    plain = machine.rate(job, batch)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        job()
    gain = machine.rate(graph.replay, batch) / plain
    return Row(what, "", f"{plain:,.0f} a second", "", gain, "told", True, f"batches of {batch}")


def experiment(machine: Machine, data: Path) -> Row:
    """Time the paper's ImageNet experiment on some images, and project it to all of them."""
    size = machine.size
    model = load_model(f"{data / 'inception_v3.py'}:inception_v3").model
    with tempfile.TemporaryDirectory() as out:
        files = sorted((data / "photographs").glob("*.JPEG"))[: size.images]
        photographs = pictures(Path(out) / "photographs", files)  # without labels: of other classes
        began = time.perf_counter()
        salsanity.model_randomization_test(
            model.to(machine.device),
            open_folder(photographs, preprocessing=PIXELS),
            methods=METHODS,
            similarities=["spearman", "ssim", "hog"],
            blocks=BLOCKS if size is FULL else "auto",
            layer="Mixed_7c",
            stages="all" if size is FULL else "verdict",
            init="he",
            draws=1,
            max_images=size.images,
            samples=size.effort,
            steps=size.effort,
            gallery=0,
            target="trained",
            device=str(machine.device),
            out=Path(out) / "run",
        )
        took = time.perf_counter() - began
    whole = took / size.images * WHOLE * (1 if size is FULL else EFFORT / size.effort)
    return Row(
        f"the paper's ImageNet experiment: Inception v3, {WHOLE} images, 17 blocks, 8 methods, {EFFORT} samples and steps",
        f"{whole / 60:,.0f} min, projected",
        "",
        "",
        None,
        "told",
        True,
        f"{size.images} images, {size.effort} samples and steps: {took:.0f} s"
        + ("" if size is FULL else "; a dry run, two stages"),
    )


def beside_quantus(machine: Machine, data: Path) -> Iterator[Row]:
    """Measure Quantus on its own device beside ours, as `peer.py` does on a CPU."""
    what = "against Quantus + Captum"
    if importlib.util.find_spec("quantus") is None:
        yield Row(what, "", "", "", None, "told", None, "no quantus: pip install quantus==0.6.0")
        return
    from peer import our_run, quantus_run
    from subject import seconds

    count = 8 if machine.size is FULL else 1
    given = (data, count, ("gradient",), ("spearman",))
    theirs = seconds(quantus_run(*given, (False,), device=str(machine.device)))
    ours = seconds(our_run(*given, device=str(machine.device)))
    yield Row(
        f"{what}: gradient, Spearman, one view, ResNet-18, 41 layers, {count} images",
        f"{ours:.1f} s (two views, controls, report)",
        "",
        f"{theirs:.1f} s",
        theirs / ours,
        "told",
        True,
    )


def rows(machine: Machine, data: Path) -> Iterator[Row]:
    """Measure everything, the shortest first."""
    for name, model, side in subjects(data):
        yield from passes(machine, name, model, side)
        yield graphs(machine, name, model, side)
        yield waits(machine, model, side)
    yield experiment(machine, data)
    yield from beside_quantus(machine, data)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry", action="store_true", help="tiny: only to see that it runs")
    options: Any = parser.parse_args(arguments)
    machine = Machine(torch.device(options.device), DRY if options.dry else FULL)
    name = torch.cuda.get_device_name() if machine.is_gpu else "a CPU"
    began = time.perf_counter()
    print(f"{name}, PyTorch {torch.__version__}{', a dry run' if options.dry else ''}\n\n{HEADER}")
    for row in rows(machine, options.data):
        print(row.markdown(), flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
