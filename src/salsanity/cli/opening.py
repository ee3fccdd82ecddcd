"""Opening what the options name: a network, and images that fit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from salsanity.cli.values import numbers
from salsanity.errors import DataError, ModelError, UsageError
from salsanity.options import checked, option

if TYPE_CHECKING:
    from salsanity.data.examples import ImageSource
    from salsanity.data.preprocessing import Preprocessing
    from salsanity.models.load import LoadedModel
    from salsanity.suite.subject import Subject


@final
@dataclass(frozen=True)
class Trained:
    """A trained network as it is named."""

    model: str = option(
        MISSING,
        "torchvision:NAME, timm:NAME, hf:NAME, file.py:function, package.module:function or reference:cnn|mlp.",
    )
    weights: Path | None = option(None, "Trained weights: .safetensors, .pt or .pth.")
    weights_key: str | None = option(
        None, "Where in that file they lie: a key, such as model_ema, or several with dots."
    )
    class_names: Path | None = option(
        None, "Names of the classes by index: a .json or one name a line."
    )


@final
@dataclass(frozen=True)
class Builder:
    """An architecture as it is named, to be trained."""

    model: str = option(
        MISSING, "reference:cnn, reference:mlp, file.py:function, or as for `salsanity check`."
    )


@final
@dataclass(frozen=True)
class Pictures:
    """The images of a check as they are named."""

    images: Path | None = option(
        None, "A folder of images, flat or with a subfolder per class, in sorted order."
    )
    data: str | None = option(
        None,
        "digits, mnist, fashion_mnist, cifar10 or file.py:function, in place of images; or shards (.tar), a list of paths or "
        "URLs (.txt), or a folder, here or at a URL.",
    )
    max_pixels: int | None = option(
        None, "Pixels that one image file may have; unset, 50 million.", least=1, most=10**12
    )
    max_bytes: int | None = option(
        None, "Bytes that one image file may have; unset, 200 million.", least=1, most=10**12
    )

    def __post_init__(self) -> None:
        """Refuse bounds that no image could keep."""
        checked(self)


@final
@dataclass(frozen=True)
class Parts:
    """Data to train and to test on, as they are named."""

    data: str = option(
        MISSING, "digits, mnist, fashion_mnist, cifar10, a folder, or file.py:function."
    )


@final
@dataclass(frozen=True)
class Shelf:
    """Where data sets lie."""

    data_dir: Path | None = option(None, "Where data sets already lie.", variable="SALSANITY_DATA")


@final
@dataclass(frozen=True)
class Fitting:
    """The preprocessing options as given; None: from the library's own metadata, or from the data set."""

    size: int | None = option(None, "Side of the centre crop, pixels.")
    resize: int | None = option(None, "Short side before the crop, pixels.")
    mean: str | None = option(None, "Per channel, e.g. .485,.456,.406.")
    std: str | None = option(None, "Per channel, e.g. .229,.224,.225.")
    channels: int | None = option(None, "1 (grey) or 3 (RGB).")

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


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """A network and images that fit it; `odd`: what is to be told of the weights and the images."""

    subject: Subject
    source: ImageSource
    odd: tuple[str, ...]


def opened(
    trained: Trained, pictures: Pictures, shelf: Shelf, fitting: Fitting, *, preset: str | None
) -> Opened:
    """Open the network and images that fit it; the paper's architectures are built to fit the images."""
    plain = None
    if trained.model.startswith("reference:"):
        plain = open_pictures(pictures, shelf, preprocessing_of(fitting, None))
    source = None if plain is None else plain[0]
    subject, loaded = open_subject(trained, builder_options(trained.model, source, preset=preset))
    found = plain or open_pictures(pictures, shelf, preprocessing_of(fitting, loaded.preprocessing))
    return Opened(subject, found[0], (*loaded.notes, *found[1]))


def open_pictures(
    pictures: Pictures, shelf: Shelf, fitting: Preprocessing | None
) -> tuple[ImageSource, tuple[str, ...]]:
    """Open `--images` or `--data`, exactly one of which must be given; return them, and what is odd about them."""
    if (pictures.images is None) == (pictures.data is None):
        raise UsageError("expected either --images DIR or --data NAME; give one of them")
    from salsanity.data.images import Limits
    from salsanity.data.sources import oddities, open_data, open_images

    if pictures.images is None:
        source = open_data(
            str(pictures.data), data_dir=shelf.data_dir, split="test", preprocessing=fitting
        )
        return source, oddities(source)
    bounds = {"max_pixels": pictures.max_pixels, "max_bytes": pictures.max_bytes}
    limits = Limits(**{name: bound for name, bound in bounds.items() if bound is not None})
    return open_images(pictures.images, preprocessing=fitting, limits=limits)


def open_part(data: str, shelf: Shelf, split: str) -> ImageSource:
    """Open the images to train or to test on."""
    from salsanity.data.sources import open_data

    return open_data(data, data_dir=shelf.data_dir, split=split)


def builder_of(model: str, source: ImageSource, *, preset: str | None = None) -> Subject:
    """Return the architecture that is to be trained, built to fit the images where it is the paper's."""
    from salsanity.models.load import load_model
    from salsanity.suite.subject import Subject

    options = builder_options(model, source, preset=preset)
    return Subject(None, model, load_model(model, options=options).make_model)


def check_parts(data: str, otherwise: str = "") -> None:
    """Refuse a folder without images to train on and other ones to test on: accuracy on the same ones says nothing.

    `otherwise`: what else could be done.
    """
    folder = Path(data).expanduser()
    if folder.is_dir() and not all((folder / part).is_dir() for part in ("train", "test")):
        raise DataError(
            f"expected the folders train and test in {folder}, each with a subfolder per class; move some images of each "
            f"class to test{otherwise}"
        )


def preprocessing_of(options: Fitting, known: Mapping[str, Any] | None) -> Preprocessing | None:
    """Merge what the library knows with what the options say; None where neither says anything."""
    from salsanity.data.preprocessing import preprocessing_from

    return preprocessing_from(known, **options.given())


def open_subject(trained: Trained, options: Mapping[str, Any]) -> tuple[Subject, LoadedModel]:
    """Load the network with its weights and the names of its classes, and what is known of it."""
    from salsanity.data.class_names import read_class_names
    from salsanity.models.load import load_model
    from salsanity.suite.subject import Subject

    model, weights = trained.model, trained.weights
    if model.startswith("reference:") and weights is None:
        raise ModelError(
            f"expected trained weights for {model}: make them with `salsanity train --model {model} --data D --out F` and give "
            "--weights F"
        )
    key = trained.weights_key
    loaded = load_model(model, weights=weights, weights_key=key, options=dict(options))
    file = trained.class_names
    names = loaded.class_names if file is None else read_class_names(file)
    return Subject(loaded.model, loaded.name, loaded.make_model, names), loaded


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
    mine = subject.classifier().state_dict()
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
