"""A verdict from an installed salsanity, on a network of random weights: says that it works, not how it judges.

Usage: python scripts/first_verdict.py
"""

from __future__ import annotations

import sys
import tempfile

import torch

import salsanity
from salsanity.testing.networks import small_network, some_images


def silhouette(model: torch.nn.Module, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the input, whatever the network is."""
    model(x)
    return x.abs()


def main() -> int:
    """Return 0 where the explainer that sees the input alone FAILs."""
    with tempfile.TemporaryDirectory() as folder:
        result = salsanity.run(
            *("cascade", small_network(), some_images(8)),
            methods=[silhouette],
            out=f"{folder}/run",
        )
        print(result.headlines[["method", "outcome", "reason"]].to_string(index=False))
        return 0 if result.outcome("silhouette") is salsanity.Outcome.FAIL else 1


if __name__ == "__main__":
    sys.exit(main())
