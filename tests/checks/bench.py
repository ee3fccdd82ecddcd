"""A bench for checks: one chunk of images through a worker, and the rows that come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from salsanity.checks.frame import Settled
from salsanity.checks.named import settled
from salsanity.data.examples import image_id
from salsanity.data.tensors import TensorSource
from salsanity.methods import Edge, Gradient, Method, Noise
from salsanity.models.network import prepare
from salsanity.records import UnitKey
from salsanity.similarity import Spearman
from salsanity.store.directory import table_of
from salsanity.units.images import ChunkReader, ImageEntry
from salsanity.units.job import at_speed, ground_of, instruments
from salsanity.units.spec import RunSpec
from salsanity.units.speed import Speed
from salsanity.units.work import Worker
from salsanity.verdicts import judge


@dataclass(frozen=True)
class Measured:
    """What a check settled to, and its rows."""

    settled: Settled
    scores: pd.DataFrame

    def verdicts(self, methods: Sequence[str], controls: Sequence[str] = ()) -> dict[str, Any]:
        """Headlines by method."""
        record = self.settled.record([*self.scores["similarity"].unique()])
        found = judge(self.scores, record, methods=methods, controls=controls)
        return {v.method: v for v in found if v.view is None}

    def values(self, method: str, stage: str, view: str = "absolute") -> pd.Series:
        """Similarities with the same image, by (draw, image)."""
        s = self.scores
        s = s[(s.method == method) & (s.stage == stage) & (s["view"] == view)]
        return s.set_index(["draw", "image"])["value"].sort_index()


def measured(
    check: Any,
    model: nn.Module,
    x: Tensor,
    methods: Sequence[Method] = (Gradient(), Edge(), Noise()),
    *,
    targets: Tensor | None = None,
    draws: int = 2,
    seed: int = 0,
    similarities: Sequence[Any] = (Spearman(),),
) -> Measured:
    """Run every draw of a check on one chunk."""
    network = prepare(model, x[:1])
    spec = RunSpec(draws=draws, seed=seed)
    if targets is None:
        targets = model.eval()(x).argmax(1).detach()
    ids = tuple(image_id(image) for image in x)
    entries = {
        i: ImageEntry(i, str(k), None, k, int(t))
        for k, (i, t) in enumerate(zip(ids, targets, strict=True))
    }
    tools = instruments(network, tuple(methods), tuple(similarities), spec, x)
    tools = at_speed(tools, Speed(8, 0.0), methods)
    ground = ground_of(network, spec, x, None, similarities)
    found = settled(check, ground)
    reader = ChunkReader(TensorSource(x), entries, torch.device("cpu"))
    worker = Worker(tools, {found.check.name: found.check}, ground, reader)
    names = tuple(m.name for m in methods)
    measures = tuple(m.name for m in found.check.measures) or tuple(s.name for s in similarities)
    tables = [
        table_of(
            worker.compute(
                UnitKey(
                    found.check.name,
                    draw,
                    ids,
                    found.check.asked_stages(draw, is_shown=False),
                    names,
                    measures,
                    "",
                )
            ).columns
        )
        for draw in range(found.check.draws)
    ]
    return Measured(found, pd.concat(tables, ignore_index=True))
