"""A complete tiny run through every architecture of the coverage table: from the model to the report.

    PYTHONPATH=tests/shim python benchmarks/tiny_runs.py [NAME ...]

Per architecture: the whole cascade with every default method that the network admits (2 images, 1 draw, 1 sample and step,
Spearman); the gradients with and without replay, which must be equal; and the caller's model, which must be bit for bit, hook
for hook and mode for mode what it was. Prints a Markdown table; docs/coverage.md holds one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import salsanity
from coverage_table import Architecture, architectures, built
from salsanity.errors import SalsanityError
from salsanity.methods import Baselines
from salsanity.models.network import prepare
from salsanity.passes.request import Pass
from salsanity.passes.run import Batch, Setting, run
from salsanity.passes.schedule import Demand, State
from salsanity.randomizers.draw import draw_named
from salsanity.randomizers.stages import stages_of, weights_at

COLUMNS = (
    "library",
    "architecture",
    "stages",
    "methods",
    "left out",
    "collapsed",
    "replay",
    "model",
    "seconds",
)


def snapshot(model: nn.Module) -> list[object]:
    """Return all of a model that a run could have changed."""
    hooks = [
        (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks), m.training)
        for m in model.modules()
    ]
    grads = [(p.requires_grad, p.grad) for p in model.parameters()]
    values = [v.detach().clone() for v in model.state_dict().values() if isinstance(v, Tensor)]
    return [hooks, grads, values]


def unchanged(before: list[object], after: list[object]) -> bool:
    """Compare two snapshots bit for bit."""
    values = zip(before[2], after[2], strict=True)  # type: ignore[call-overload]
    return before[:2] == after[:2] and all(torch.equal(a, b) for a, b in values)


def same_with_replay(model: nn.Module, images: Tensor) -> str:
    """Say how far the gradients of the cascade are from those without replay."""
    network = prepare(model, images[:1])
    targets = torch.zeros(len(images), dtype=torch.long)
    drawn = draw_named("module")(network, 0)
    demands = [
        Demand(State(stage.name, weights_at(network, drawn, stage), targets), (Pass(),))
        for stage in stages_of(network.blocks, "top_down")
    ]
    found = {}
    for replay in ("off", "on"):
        setting = Setting(0, 0, 2, Baselines(0, images), None, replay)  # type: ignore[arg-type]
        answers = run(network, Batch(images, ("a", "b")), demands, setting=setting)
        found[replay] = [answer.results[Pass()].gradient for answer in answers]  # type: ignore[union-attr]
    if all(torch.equal(a, b) for a, b in zip(found["off"], found["on"], strict=True)):
        return "equal"
    largest = max(
        float((a - b).abs().max() / a.abs().max().clamp(min=1e-30))
        for a, b in zip(found["off"], found["on"], strict=True)
    )
    return f"{largest:.0e}"


def row(architecture: Architecture) -> str:
    """Run one architecture and write its line."""
    began = time.perf_counter()
    model = built(architecture).train()
    images = torch.rand(2, 3, architecture.size, architecture.size)
    before = snapshot(model)
    with tempfile.TemporaryDirectory() as out:
        result = salsanity.model_randomization_test(
            model,
            images,
            similarities=["spearman"],
            init="module",
            stages="all",
            draws=1,
            samples=1,
            steps=1,
            gallery=0,
            batch_size=2,
            out=Path(out) / "run",
        )
        notes = [n for n in result.spec["settings"]["notes"] if n.startswith("Left out")]
        methods, stages = len(result.spec["methods"]), len(result.spec["stages"])
        failed = result.gates["failed_units"]
        collapsed = sum(bool(entry["collapsed"]) for entry in result.gates["health"])
    left = "; ".join(n.removeprefix("Left out ").partition(":")[0] for n in notes) or "nothing"
    cells = (
        architecture.library,
        architecture.name,
        str(stages),
        str(methods) if not failed else f"FAILED: {failed[0]['reason']}",
        left,
        f"{collapsed} of {stages}",
        same_with_replay(model, images),
        "unchanged" if unchanged(before, snapshot(model)) else "CHANGED",
        f"{time.perf_counter() - began:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these architectures")
    options = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for architecture in architectures():
        if options.names and architecture.name not in options.names:
            continue
        try:
            print(row(architecture), flush=True)
        except (ImportError, SalsanityError) as error:
            print(f"| {architecture.library} | {architecture.name} | {error} |", flush=True)


if __name__ == "__main__":
    main()
