"""Explainers of other libraries one by one and in batches, by CPU seconds: on the paper's CNN of MNIST and on the ResNet-18.

    python benchmarks/performance --data DATA/imagenet --only explainers

A batch is what a run takes where the maps of a batch are those of its images alone, to rounding, and where that is faster.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from subject import Row, images, resnet18
from torch import Tensor, nn

from salsanity.checks.frame import REFERENCE_STREAM
from salsanity.errors import ModelError, SpecError
from salsanity.methods import Baselines
from salsanity.models.network import prepare
from salsanity.models.reference import cnn
from salsanity.passes.schedule import State
from salsanity.suite.asking import methods_of
from salsanity.units.admit import find_spatial_layer
from salsanity.units.explain import Explained, Wanted, explain
from salsanity.units.spec import RunSpec
from salsanity.units.tools import Instruments
from salsanity.units.trial import same_but_for_rounding

EXPLAINERS = (
    "captum:Saliency",
    "captum:InputXGradient",
    "captum:GuidedBackprop",
    "captum:Deconvolution",
    "captum:IntegratedGradients(n_steps=5)",
    "captum:GradientShap",
    "captum:DeepLift",
    "captum:LayerGradCam",
    "captum:FeatureAblation(feature_size={quarter})",
    "zennit:Gradient",
    "zennit:GuidedBackprop",
    "zennit:BetaSmooth",
    "zennit:EpsilonPlusFlat",
    "grad_cam:GradCAM",
    "grad_cam:GradCAMPlusPlus",
    "grad_cam:EigenCAM",
)
SIZES = {"the paper's CNN, 28 x 28": 16, "ResNet-18, 224 x 224": 8}
TARGET = 1.5


@dataclass(frozen=True)
class Timed:
    """CPU seconds of a map alone and in a batch; whether the maps are the same."""

    name: str
    alone: float
    batched: float
    is_same: bool

    @property
    def gain(self) -> float:
        """How many times faster a run is: 1 where batches are not taken."""
        return max(1.0, self.alone / self.batched) if self.is_same else 1.0


def timed(model: nn.Module, x: Tensor, name: str, *, batch: int) -> Timed:
    """Explain `x` (B, C, H, W) by an explainer of another library, one image at a time and `batch` at a time, twice each."""
    network = prepare(model, x[:1], blocks="layer")
    cpu = torch.device("cpu")
    methods = methods_of((name,), RunSpec(samples=5, steps=5), cpu)
    layer, why = find_spatial_layer(network)
    tools = Instruments(network, methods, (), 0, batch, Baselines(0, x), layer, why)
    target, ids = torch.zeros(len(x), dtype=torch.long), tuple(map(str, range(len(x))))

    def explained(*, is_batched: bool) -> tuple[float, Explained]:
        batched = frozenset({methods[0].name}) if is_batched else frozenset()
        setting = replace(tools, batched=batched).setting(REFERENCE_STREAM, batch_size=batch)
        wanted = [Wanted(State("trained", {}, target), methods)]
        inputs = tools.inputs(x, target, ids, "")
        began = time.process_time()
        found = list(explain(network, inputs, wanted, setting=setting))
        took = time.process_time() - began
        return took / len(x), found[0].maps[methods[0].name]

    both = [(explained(is_batched=False), explained(is_batched=True)) for _ in range(2)]
    same = same_but_for_rounding(both[-1][1][1].maps, both[-1][0][1].maps)
    alone, together = (min(pair[k][0] for pair in both) for k in (0, 1))
    return Timed(name, alone, together, same)


def measured(model: nn.Module, x: Tensor, *, batch: int) -> Iterator[Timed]:
    """Time every explainer that this network and machine have."""
    for name in (name.format(quarter=x.shape[-1] // 4) for name in EXPLAINERS):
        try:
            yield timed(model, x, name, batch=batch)
        except (SpecError, ModelError) as error:
            print(f"{name}: left out: {error}")


def foreign(folder: Path) -> Iterator[Row]:
    """Time them on both networks; print each, and give the middle of the gains as a row."""
    torch.manual_seed(0)
    small = torch.rand(SIZES["the paper's CNN, 28 x 28"], 1, 28, 28)
    subjects = ((cnn(initial="torch"), small), (resnet18(folder), images(8)))
    for (what, batch), (model, x) in zip(SIZES.items(), subjects, strict=True):
        found = list(measured(model.eval(), x, batch=batch))
        print(
            f"\n| explainer, {what} | ms a map, one by one | in batches of {batch} | times faster |"
        )
        print("|---|---|---|---|")
        for one in found:
            gain = f"{one.gain:.1f}" if one.is_same else "other maps: one by one"
            print(f"| `{one.name}` | {1e3 * one.alone:.1f} | {1e3 * one.batched:.1f} | {gain} |")
        middle = statistics.median(one.gain for one in found)
        yield Row(
            f"explainers of other libraries in batches of {batch}: {what}; CPU seconds",
            "",
            "",
            "",
            middle,
            f"at least {TARGET} for small networks",
            middle >= TARGET or batch == SIZES["ResNet-18, 224 x 224"],
            f"the middle of {len(found)} explainers; {sum(one.is_same for one in found)} have the same maps in a batch",
        )
