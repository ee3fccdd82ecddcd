"""Opening what the options name: a network, and images that fit it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salsanity.cli.values import numbers
from salsanity.errors import ModelError, UsageError

if TYPE_CHECKING:
    from salsanity.data.examples import ImageSource
    from salsanity.data.preprocessing import Preprocessing
    from salsanity.suite.subject import Subject


@dataclass(frozen=True)
class Fitting:
    """The preprocessing options as given; None: from the library's own metadata, or from the data set."""

    size: int | None = None
    resize: int | None = None
    mean: str | None = None
    std: str | None = None
    channels: int | None = None

    def given(self) -> dict[str, Any]:
        """Return the given ones as keyword arguments of `Preprocessing`."""
        found: dict[str, Any] = {
            "size": self.size,
            "resize": self.resize,
            "mean": numbers("--mean", self.mean),
            "std": numbers("--std", self.std),
            "channels": self.channels,
        }
        return {name: value for name, value in found.items() if value is not None}


def open_images(
    *,
    folder: Path | None,
    data: str | None,
    data_dir: Path | None,
    split: str,
    fitting: Preprocessing | None,
    limits: dict[str, int] | None = None,
) -> ImageSource:
    """Open `--images` or `--data`; exactly one must be given. `limits`: fields of `Limits`, for a folder."""
    if (folder is None) == (data is None):
        raise UsageError("expected either --images DIR or --data NAME; give one of them")
    from salsanity.data.images import Limits, open_folder
    from salsanity.data.sources import open_data

    bounds = Limits(**(limits or {}))
    if folder is not None:
        return open_folder(folder, preprocessing=fitting, limits=bounds)
    return open_data(str(data), data_dir=data_dir, split=split, preprocessing=fitting)


def preprocessing_of(
    options: Fitting, known: dict[str, Any] | None, *, is_folder: bool
) -> Preprocessing | None:
    """Merge what the library knows with what the options say; None where neither says anything."""
    from salsanity.data.preprocessing import Preprocessing

    merged = {**(known or {}), **options.given()}
    if is_folder and "size" not in merged:
        merged.setdefault("size", 224)
    names = {field.name for field in fields(Preprocessing)}
    return Preprocessing(**{k: v for k, v in merged.items() if k in names}) if merged else None


def open_subject(
    model: str, weights: Path | None, options: dict[str, Any], *, class_names: Path | None = None
) -> tuple[Subject, dict[str, Any] | None]:
    """Load `--model` with `--weights` and the names of its classes, and what its library says of preprocessing."""
    from salsanity.data.class_names import read_class_names
    from salsanity.models.load import load_model
    from salsanity.suite.subject import Subject

    if model.startswith("reference:") and weights is None:
        raise ModelError(
            f"expected trained weights for {model}: make them with `salsanity train --model {model} --data D --out F` and give "
            "--weights F"
        )
    loaded = load_model(model, weights=weights, options=options)
    names = loaded.class_names if class_names is None else read_class_names(class_names)
    subject = Subject(loaded.model, loaded.name, loaded.make_model, names)
    return subject, loaded.preprocessing


def untrained(subject: Subject) -> str | None:
    """Warn of a network that came without weights from a function which gives other ones each time."""
    import torch

    from_library = subject.name.partition(":")[0] in (
        "torchvision",
        "timm",
        "hf",
    )  # with its weights
    if subject.make_model is None or from_library:
        return None
    with torch.random.fork_rng():
        again = subject.make_model().state_dict()
    mine = subject.model.state_dict()
    learned = [
        n for n, v in mine.items() if v.is_floating_point() and v.numel() > 1 and v.std() > 0
    ]
    if not any(n in again and mine[n].shape == again[n].shape for n in learned) or any(
        n in again and torch.equal(mine[n], again[n]) for n in learned
    ):
        return None
    return (
        f"Warning: no --weights were given, and {subject.name} gives other weights every time that it is called. It seems to be "
        "untrained; then no verdict on it means anything. Give --weights."
    )


def builder_options(
    model: str, source: ImageSource | None, *, preset: str | None = None
) -> dict[str, Any]:
    """Return what `reference:` builders need: channels, size and classes of the data, and how weights begin."""
    if source is None or not model.startswith("reference:"):
        return {}
    shape = source[0].x.shape
    names = source.class_names
    return {
        "in_channels": shape[0],
        "size": shape[1],
        "classes": len(names) if names else 10,
        "initial": "paper" if preset else "torch",
    }
