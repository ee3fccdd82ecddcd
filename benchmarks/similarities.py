"""What the similarities cost: milliseconds a map and a pair, beside scipy and scikit-image.

    python benchmarks/similarities.py [--side 224] [--maps 4] [--rounds 30]

Everything is measured in one run, in turns, so that the ratios hold on a busy machine too; the
figure is the fastest of the rounds. "prepare" is paid once a map, "compare" once a pair; a run
pays, for every stage and view, one preparation and two comparisons (the score and its chance).
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import spearmanr
from skimage.feature import hog
from skimage.metrics import structural_similarity

from salsanity.similarity import HOG, SSIM, Cosine, Pearson, Similarity, Spearman, view
from salsanity.similarity.ssim import correlate

DEFAULTS = ("spearman", "ssim", "hog")


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def fastest(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run all jobs in turns; return the fastest time of each in seconds."""
    times = [{name: seconds(job) for name, job in jobs.items()} for _ in range(rounds + 1)]
    return {name: min(round_[name] for round_ in times[1:]) for name in jobs}


def scaled(values: np.ndarray) -> np.ndarray:
    """Scale as the library does, with NumPy alone."""
    return np.clip(values / np.percentile(np.abs(values), 99), -1, 1)


def skimage_hog(values: np.ndarray) -> np.ndarray:
    """Return scikit-image's HOG with the library's settings."""
    side = max(2, min(16, min(values.shape) // 8))
    return hog(scaled(values), orientations=9, pixels_per_cell=(side, side), cells_per_block=(3, 3))


def peers(a: np.ndarray, b: np.ndarray) -> dict[str, Callable[[], object]]:
    """Name -> comparing one pair as scipy and scikit-image do it: nothing is kept of either map."""
    return {
        "spearman": lambda: spearmanr(a.ravel(), b.ravel()),
        "ssim": lambda: structural_similarity(
            scaled(a),
            scaled(b),
            gaussian_weights=True,
            use_sample_covariance=False,
            data_range=2.0,
        ),
        "hog": lambda: np.corrcoef(skimage_hog(a), skimage_hog(b)),
        "pearson": lambda: np.corrcoef(a.ravel(), b.ravel()),
        "cosine": lambda: a.ravel() @ b.ravel() / (np.linalg.norm(a) * np.linalg.norm(b)),
    }


def measure(similarity: Similarity, first: torch.Tensor, second: torch.Tensor, rounds: int) -> list:
    """Return milliseconds: preparing a map, comparing a pair, and the peer's pair."""
    a, b = view(first, signed=True), view(second, signed=True)
    kept, new = similarity.prepare(a), similarity.prepare(b)
    peer = peers(a.values[0].numpy(), b.values[0].numpy())[similarity.name]
    count = len(first)
    best = fastest(
        {
            "prepare": lambda: similarity.prepare(b),
            "compare": lambda: similarity.compare(kept, new),
            "peer": lambda: [peer() for _ in range(2)],
        },
        rounds,
    )
    per = {"prepare": count, "compare": count, "peer": 2}
    return [1000 * best[name] / per[name] for name in per]


def parts(maps: torch.Tensor, rounds: int) -> None:
    """Print what the costly parts take on one map."""
    values = maps[0, :1].sum(0)
    flat = values.numpy().ravel()
    keys = flat.view(np.uint32).astype(np.uint64) << np.uint64(32)
    taps = SSIM().taps
    found = fastest(
        {
            "np.sort of 64-bit keys": lambda: np.sort(keys),
            "np.argsort": lambda: np.argsort(flat),
            "torch.sort": lambda: values.flatten().sort(),
            "Gaussian window, shift and add": lambda: correlate(
                correlate(values[None], taps, axis=-1), taps, axis=-2
            ),
        },
        rounds,
    )
    for name, best in found.items():
        print(f"  {name:<32}{1000 * best:8.3f} ms a map")


def main() -> None:
    """Read the options and print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("side", 224), ("maps", 4), ("rounds", 30), ("threads", 1)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.maps} maps of {options.side}x{options.side}, {options.threads} thread(s), "
        f"torch {torch.__version__}, numpy {np.__version__}, {platform.machine()}"
    )
    random = torch.Generator().manual_seed(0)
    shape = (options.maps, 3, options.side, options.side)
    for kind in ("continuous", "half zeros", "float64"):
        first, second = (torch.randn(shape, generator=random) for _ in "ab")
        if kind == "half zeros":
            first, second = first.relu(), second.relu()
            first[:, 1:], second[:, 1:] = 0, 0
        if kind == "float64":
            first, second = first.double(), second.double()
        print_table(kind, first, second, options.rounds)
    print("\nparts")
    parts(first.float(), options.rounds)


def print_table(kind: str, first: torch.Tensor, second: torch.Tensor, rounds: int) -> None:
    """Print one row per similarity."""
    print(f"\n{kind}: milliseconds, fastest of {rounds} rounds")
    print(f"{'':<10}{'prepare':>9}{'compare':>9}{'sum':>9}{'peer':>9}{'peer/sum':>10}")
    total = 0.0
    for similarity in (Spearman(), SSIM(), HOG(), Pearson(), Cosine()):
        prepare, compare, peer = measure(similarity, first, second, rounds)
        ours = prepare + compare
        row = f"{prepare:9.3f}{compare:9.3f}{ours:9.3f}{peer:9.3f}{peer / ours:10.1f}"
        print(f"{similarity.name:<10}{row}")
        total += (prepare + 2 * compare) if similarity.name in DEFAULTS else 0.0
    print(f"a stage, both views, {' + '.join(DEFAULTS)}, with chance: {2 * total:.2f} ms an image")


if __name__ == "__main__":
    main()
