"""A program of a user, read by mypy alone: what the public surface says of its types, and what it refuses.

Lines that must be refused carry `type: ignore` with their code; mypy complains of an ignore that nothing needs.
"""

from pathlib import Path
from typing import assert_type

import pandas as pd
import torch
from torch import Tensor, nn

import salsanity
from salsanity.checks.frame import State
from salsanity.methods.protocol import Method
from salsanity.similarity import Similarity, Spearman


def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explain."""
    return inputs


model, images = nn.Linear(2, 2), torch.zeros(2, 1, 4, 4)
result = salsanity.run(["cascade", "class"], model, images, methods=["gradient", explain], draws=5)
assert_type(result, salsanity.Result)
assert_type(result.verdicts, pd.DataFrame)
assert_type(result.headlines, pd.DataFrame)
assert_type(result.outcome("gradient"), salsanity.Outcome)
assert_type(result.passed("gradient", "cascade"), bool)
assert_type(result.trusted, bool)
assert_type(result.report(), Path)
assert_type(salsanity.__version__, str)
assert_type(salsanity.retained_similarity(images, images, salsanity.partner_maps(images)), Tensor)

state: State = State("other", targets="own")
measure: Similarity = Spearman()  # type: ignore[type-arg]
error: type[salsanity.UsageError] = salsanity.ModelError

result.trusted = True  # type: ignore[misc]
result.outcome(3)  # type: ignore[arg-type]
salsanity.retained_similarity(images, images)  # type: ignore[call-arg]
method: Method = explain  # type: ignore[assignment]
