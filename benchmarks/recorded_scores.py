"""Scores recorded once, and compared bit for bit after a change that must change none of them.

    OMP_NUM_THREADS=1 python benchmarks/recorded_scores.py record FOLDER [--data DATA]
    OMP_NUM_THREADS=1 python benchmarks/recorded_scores.py compare FOLDER [--data DATA] [--chance no] [--methods edge,gradient]

DATA holds `imagenet/` (see reproduce_imagenet.py); without it the ResNet-18 is left out. Cases (`--cases`):

    labels          the demo's network and data: trained on true and on permuted labels, and the label test of the four
    cascade         the cascade of the first of these networks, all stages
    resnet18        the cascade of a ResNet-18 on 8 photographs, 2 draws: all stages of one, `half` and `full` of the other
    tiny-cascade    small enough for the tests of this repository (tests/assets/recorded), in float64
    tiny-labels     the same for the label test, with maps that are zero everywhere

Cases run through the Python interface; all but the tiny ones with every built-in method. Whatever could change a score is given
and not left to a default or a measurement: batch size, memory format, samples, steps, draws, images, gallery, replay.

`record` writes CASE.parquet (a row per score, sorted), the trained networks, and the machine's facts into FOLDER. `compare`
runs the same again, prints the first differences in words, and exits with 1 where there is one. On another machine, or with
another torch, the last bits differ without a reason in this repository; the facts that differ are then said first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import salsanity
from salsanity.data.digits import digits_source
from salsanity.models.reference import demo_network
from salsanity.models.weights import load_weights
from salsanity.registry import BUILT_IN_METHODS
from salsanity.training.settings import TrainingSettings

KEYS: Final = ("method", "view", "similarity", "stage", "draw", "image")
NUMBERS: Final = ("value", "chance")
SHOWN: Final = 12
"""Differences that are told; the others are counted."""

METHODS: Final = tuple(BUILT_IN_METHODS)
SHARED: Final[Mapping[str, Any]] = {
    "similarities": ("spearman", "ssim", "hog"),
    "seed": 0,
    "endpoints": False,
    "device": "cpu",
    "precision": "float32",
    "memory_format": "contiguous",
}
"""What every case gives, so that no default and no measurement decides."""

CASCADE: Final[Mapping[str, Any]] = {
    **SHARED,
    "order": "top_down",
    "batchnorm": "keep",
    "target": "trained",
    "until_decided": False,
    "replay": "on",
}


@dataclass(frozen=True)
class Places:
    """Folders of a recording: of the recording itself, of real data (None: absent), and of this run."""

    recording: Path
    data: Path | None
    run: Path


Case = Callable[[Places], salsanity.Result]


def labels(places: Places) -> salsanity.Result:
    """Train the demo's networks on 300 digits, two of each kind, and run the label test on them."""
    training = TrainingSettings(
        epochs=120,
        batch_size=50,
        learning_rate=2e-3,
        l2=0.0,
        stop_at=0.97,
        wanted=0.95,
        mixed_precision=False,
    )
    return salsanity.data_randomization_test(
        demo_network,
        digits_source("train"),
        digits_source("test"),
        networks=2,
        train_images=300,
        training=training,
        methods=METHODS,
        max_images=24,
        samples=4,
        steps=4,
        gallery=4,
        batch_size=8,
        out=places.run,
        name="demo",
        **SHARED,
    )


def cascade(places: Places) -> salsanity.Result:
    """Run the cascade of the network that the label test trained on true labels."""
    network = demo_network()
    load_weights(network, places.recording / "networks" / "true-0.safetensors")
    return salsanity.model_randomization_test(
        network,
        digits_source("test"),
        make_model=demo_network,
        methods=METHODS,
        init="fresh",
        blocks="auto",
        stages="all",
        draws=2,
        max_images=24,
        samples=4,
        steps=4,
        gallery=4,
        batch_size=8,
        out=places.run,
        name="demo",
        **CASCADE,
    )


def resnet18(places: Places) -> salsanity.Result:
    """Run the cascade of a ResNet-18 on photographs."""
    sys.path.insert(0, str(Path(__file__).parent))
    import subjects

    assert places.data is not None
    network, photographs = subjects.resnet18(places.data / "imagenet")
    return salsanity.model_randomization_test(
        network,
        photographs,
        methods=METHODS,
        init="he",
        blocks="auto",
        stages="verdict",
        draws=2,
        max_images=8,
        samples=2,
        steps=2,
        gallery=8,
        batch_size=4,
        out=places.run,
        name="resnet18",
        **CASCADE,
    )


def tiny_network(seed: int) -> nn.Sequential:
    """Return a network of three layers in float64; its weights do not depend on the global random state.

    GradCAM's layer has the size of the image: enlarged maps have ties that another processor's rounding breaks.
    """
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(36, 3),
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in network.parameters():
            values.copy_(torch.randn(values.shape, generator=generator, dtype=torch.float64) / 3)
    return network.eval()


def tiny_images(count: int) -> tuple[Tensor, Tensor]:
    """Return images (count, 1, 12, 12) in float64, and labels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 1, 12, 12, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (count,), generator=generator)


TINY: Final[Mapping[str, Any]] = {
    "methods": ("gradient", "smoothgrad", "integrated_gradients", "gradcam"),
    "max_images": 4,
    "samples": 3,
    "steps": 3,
    "gallery": 0,
    "batch_size": 2,
    "name": "tiny",
}


def tiny_cascade(places: Places) -> salsanity.Result:
    """Run the cascade of the small network."""
    return salsanity.model_randomization_test(
        tiny_network(0),
        tiny_images(4)[0],
        init="he",
        blocks="layer",
        stages="verdict",
        draws=2,
        out=places.run,
        **TINY,
        **CASCADE,
    )


def tiny_labels(places: Places) -> salsanity.Result:
    """Run the label test of small networks, two of each kind."""
    return salsanity.data_randomization_test(
        lambda: tiny_network(0),
        None,
        tiny_images(4),
        true=[tiny_network(1), tiny_network(2)],
        permuted=[tiny_network(3), tiny_network(4)],
        out=places.run,
        **TINY,
        **SHARED,
    )


CASES: Final[Mapping[str, Case]] = {
    "labels": labels,
    "cascade": cascade,
    "resnet18": resnet18,
    "tiny-cascade": tiny_cascade,
    "tiny-labels": tiny_labels,
}
USUAL: Final = ("labels", "cascade", "resnet18")


def facts() -> dict[str, Any]:
    """Return what the last bits of a score depend on beside this repository."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


@dataclass(frozen=True)
class Recorded:
    """Scores of a case, sorted, and the networks that it trained, by name."""

    scores: pd.DataFrame
    networks: Mapping[str, Mapping[str, Tensor]]


def run_case(name: str, recording: Path, data: Path | None = None) -> Recorded:
    """Run a case in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        result = CASES[name](Places(recording, data, Path(folder) / "run"))
        failed = result.gates["failed_units"]
        if failed:
            raise SystemExit(f"{name}: expected every unit to finish, got {failed[0]}")
        return Recorded(sorted_scores(result.scores), networks_in(result.folder / "networks"))


def networks_in(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Read the networks of a folder, by name."""
    return {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}


def sorted_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are compared, and the reasons, in an order of their own."""
    kept = scores[[*KEYS, *NUMBERS, "reason"]]
    kept = kept.astype({key: str for key in KEYS if key != "draw"})
    return kept.sort_values(list(KEYS), kind="stable", ignore_index=True)


def write(recorded: Recorded, name: str, folder: Path) -> None:
    """Write a case's scores and networks into the folder, and the facts of this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    table = recorded.scores.astype({key: "category" for key in KEYS if key != "draw"})
    table.to_parquet(folder / f"{name}.parquet", compression="zstd", index=False)
    for network, weights in recorded.networks.items():
        (folder / "networks").mkdir(exist_ok=True)
        save_file(dict(weights), folder / "networks" / f"{network}.safetensors")
    known = read_facts(folder)
    text = json.dumps({**known, name: facts()}, indent=2, sort_keys=True)
    (folder / "facts.json").write_text(text + "\n")


def read_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the facts of each case's machine; {} for a new folder."""
    path = folder / "facts.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def read(name: str, folder: Path) -> Recorded:
    """Read a case as it was recorded."""
    if not (folder / f"{name}.parquet").exists():
        raise SystemExit(f"expected a recording of {name} in {folder}; record it first")
    scores = pd.read_parquet(folder / f"{name}.parquet")
    return Recorded(sorted_scores(scores), networks_in(folder / "networks"))


def differing_facts(name: str, folder: Path) -> list[str]:
    """Say which facts of this machine are not those of the recording."""
    then, now = read_facts(folder)[name], facts()
    return [f"{k} was {then.get(k)}, is {now[k]}" for k in now if then.get(k) != now[k]]


def differences(
    then: pd.DataFrame,
    now: pd.DataFrame,
    *,
    numbers: Sequence[str] = NUMBERS,
    tolerance: float | None = None,
) -> list[str]:
    """Say in words what differs between two tables of scores, row by row; [] where nothing does.

    `tolerance` None: bit for bit, but that one NaN is as good as another; else the largest difference that is allowed.
    """
    keys = list(KEYS)
    both = then.merge(now, on=keys, how="outer", suffixes=("_then", "_now"), indicator="found")
    words = [*_repeated(then, "recording"), *_repeated(now, "run")]
    for side, missing in (("left_only", "is missing now"), ("right_only", "was not recorded")):
        rows = both[both["found"] == side]
        words += [f"{_place(row)}: {missing}" for row in rows.to_dict("records")]
    shared = both[both["found"] == "both"]
    for number in numbers:
        a, b = (shared[f"{number}_{side}"].to_numpy(np.float64) for side in ("then", "now"))
        for i in np.flatnonzero(~_same(a, b, tolerance)):
            words.append(f"{_place(shared.iloc[i])}: {number} was {a[i]:.17g}, is {b[i]:.17g}")
    return words


def _repeated(table: pd.DataFrame, which: str) -> list[str]:
    rows = table[table.duplicated(list(KEYS))].to_dict("records")
    return [f"{_place(row)}: stands twice in the {which}" for row in rows]


def _same(a: np.ndarray, b: np.ndarray, tolerance: float | None) -> np.ndarray:
    holes = np.isnan(a) & np.isnan(b)
    if tolerance is not None:
        return np.asarray(holes | (np.abs(a - b) <= tolerance))
    return np.asarray(holes | (a.view(np.int64) == b.view(np.int64)))


def _place(row: Mapping[str, Any] | pd.Series) -> str:
    cell = f"{row['method']}, {row['view']}, {row['similarity']}"
    return f"{cell}, stage {row['stage']}, draw {row['draw']}, image {str(row['image'])[:8]}"


def differing_networks(then: Recorded, now: Recorded) -> list[str]:
    """Say which networks were trained to other weights than the recorded ones."""
    return [
        f"network {name} was trained to other weights"
        for name, weights in now.networks.items()
        if name in then.networks
        and any(not torch.equal(then.networks[name][k], v) for k, v in weights.items())
    ]


def record(names: Sequence[str], options: argparse.Namespace) -> int:
    """Record the cases."""
    for name in names:
        began = time.perf_counter()
        found = run_case(name, options.folder, options.data)
        write(found, name, options.folder)
        print(
            f"{name}: {len(found.scores)} scores, {time.perf_counter() - began:.0f} s", flush=True
        )
    return 0


def compare(names: Sequence[str], options: argparse.Namespace) -> int:
    """Run the cases again and tell what differs; 1 where anything does."""
    numbers = NUMBERS if options.chance == "yes" else ("value",)
    found = 0
    for name in names:
        began = time.perf_counter()
        then, other = read(name, options.folder), differing_facts(name, options.folder)
        now = run_case(name, options.folder, options.data)
        tables = [_chosen(one.scores, options.methods) for one in (then, now)]
        words = [*differing_networks(then, now), *differences(*tables, numbers=numbers)]
        found += len(words)
        seconds = time.perf_counter() - began
        verdict = f"{len(words)} differences" if words else "equal bit for bit"
        print(
            f"{name}: {len(tables[0])} scores, {verdict} ({' and '.join(numbers)}), {seconds:.0f} s"
        )
        for line in (*(f"another machine: {fact}" for fact in other), *words[:SHOWN]):
            print(f"  {line}")
        print(
            f"  ... and {len(words) - SHOWN} more\n" if len(words) > SHOWN else "",
            end="",
            flush=True,
        )
    return int(found > 0)


def _chosen(scores: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    if not methods:
        return scores
    unknown = sorted(set(methods) - set(scores["method"]))
    if unknown:
        raise SystemExit(f"expected methods that were recorded, got {unknown[0]}")
    return scores[scores["method"].isin(methods)]


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("SALSANITY_DATA"))
    parser.add_argument("--cases", type=_listed, default=())
    parser.add_argument("--chance", choices=("yes", "no"), default="yes")
    parser.add_argument("--methods", type=_listed, default=(), help="compare only these")
    options = parser.parse_args()
    options.data = options.data and Path(options.data)
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("expected one thread: set OMP_NUM_THREADS=1")
    torch.set_num_threads(1)
    names = options.cases or _usual(options)
    unknown = sorted(set(names) - set(CASES))
    if unknown or not names:
        got = unknown[0] if unknown else f"none in {options.folder}"
        parser.error(f"expected cases among {', '.join(CASES)}, got {got}")
    if "resnet18" in names and options.data is None:
        parser.error("expected --data for resnet18; give it or other --cases")
    return (record if options.what == "record" else compare)(names, options)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _usual(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the cases that can be run: when comparing those recorded; the ResNet-18 with data only."""
    recorded = [name for name in CASES if (options.folder / f"{name}.parquet").exists()]
    names = recorded if options.what == "compare" else USUAL
    if options.data is None and "resnet18" in names:
        print("resnet18 is left out: give --data")
    return tuple(name for name in names if name != "resnet18" or options.data is not None)


if __name__ == "__main__":
    sys.exit(main())
