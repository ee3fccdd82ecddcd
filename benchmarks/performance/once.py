"""Equal passes run once: what the paper's methods run together, beside what each of them runs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from subject import Row, images, resnet18, seconds

from salsanity.checks.frame import REFERENCE_STREAM
from salsanity.methods import Baselines, Method
from salsanity.models.network import prepare
from salsanity.passes.schedule import State
from salsanity.suite.asking import methods_of
from salsanity.units.admit import find_spatial_layer
from salsanity.units.explain import Wanted, explain
from salsanity.units.spec import RunSpec
from salsanity.units.tools import Instruments

EFFORT = 5
"""Samples and steps."""
DISTINCT = 1 + 1 + EFFORT + EFFORT
"""Plain, guided, noisy and path passes: all that the paper's nine methods need of one image and state."""


def once(folder: Path) -> Row:
    """Count and time the passes of all methods on one image of one state, together and one by one."""
    network = prepare(resnet18(folder), images(1), blocks="layer")
    cpu = torch.device("cpu")
    methods = methods_of(None, RunSpec(samples=EFFORT, steps=EFFORT), cpu)
    layer, why = find_spatial_layer(network)
    x, target, ids = images(1), torch.zeros(1, dtype=torch.long), ("image",)
    tools = Instruments(network, methods, (), 0, 8, Baselines(0, x), layer, why)

    def passes(chosen: Sequence[Method]) -> tuple[int, float]:
        ticks: list[int] = []
        setting = replace(tools, tick=ticks.append).setting(REFERENCE_STREAM, batch_size=8)
        wanted = [Wanted(State("trained", {}, target), tuple(chosen))]
        inputs = tools.inputs(x, target, ids, "")
        took = seconds(lambda: list(explain(network, inputs, wanted, setting=setting)))
        return sum(ticks), took

    passes(methods)
    together, took = passes(methods)
    alone = [passes((method,)) for method in methods]
    each, took_alone = sum(count for count, _ in alone), sum(time for _, time in alone)
    return Row(
        f"passes of the paper's nine methods together, per image and state ({EFFORT} samples and steps)",
        f"{together}, {took:.2f} s",
        "",
        f"one by one: {each}, {took_alone:.2f} s",
        together / each,
        f"{DISTINCT} passes, each distinct one once",
        together == DISTINCT,
    )
