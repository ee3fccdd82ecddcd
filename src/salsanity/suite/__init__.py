"""Running a test from end to end: the only place that sees both what computes and what judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from salsanity.suite.result import Result

__all__ = ["data_randomization_test", "model_randomization_test"]


def model_randomization_test(
    model: nn.Module,
    images: Any,
    targets: Sequence[int] | Tensor | None = None,
    *,
    make_model: Callable[[], nn.Module] | None = None,
    methods: Sequence[Any] | None = None,
    similarities: Sequence[Any] = ("spearman", "ssim", "hog"),
    out: str | Path | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    progress: bool = False,
    executor: Any = None,
    **options: Any,
) -> Result:
    """Run the model parameter randomisation test on a trained classifier.

    `model`: returns logits (N, classes); it is copied and never touched. `images`: a tensor (N, C, H, W) as the network takes
    it, `(images, labels)`, a map-style data set, or the path of a folder. `targets`: the classes to explain (N,); by
    default those that the network predicts. `make_model`: builds a fresh network, for the initialiser `fresh`. `methods`:
    names, callables `(model, inputs, targets) -> maps`, or `Method` objects; by default the paper's. `out`: the run
    folder; giving it again continues or extends the run. `executor`: what runs the units of work, an object or the name of
    a plug-in; by default this process. `class_names`: by index, for the figures. `options`: the fields of `CheckSpec`.

    Raises `UsageError` for bad input, with what to do. Source: Adebayo et al. (2018), sections 3 and 4.
    """
    from salsanity.checks.spec import CheckSpec
    from salsanity.suite.model_randomization import run_model_randomization
    from salsanity.suite.opening import narrator_for, source_of
    from salsanity.suite.subject import Subject

    labels = None if targets is None else [int(target) for target in targets]
    if labels is not None:
        options.setdefault("target", "label")
    return run_model_randomization(
        Subject(
            model,
            name or type(model).__name__,
            make_model,
            tuple(class_names) if class_names else None,
        ),
        source_of(images),
        methods=methods,
        similarities=similarities,
        spec=CheckSpec.from_mapping(options),
        out=None if out is None else Path(out),
        narrator=narrator_for(progress),
        executor=executor,
        labels=labels,
    )


def data_randomization_test(
    make_model: Callable[[], nn.Module],
    train: Any,
    test: Any,
    *,
    true: Sequence[nn.Module] = (),
    permuted: Sequence[nn.Module] = (),
    networks: int = 2,
    train_images: int | None = None,
    training: Any = None,
    threshold: float = 0.5,
    methods: Sequence[Any] | None = None,
    similarities: Sequence[Any] = ("spearman", "ssim", "hog"),
    out: str | Path | None = None,
    name: str | None = None,
    progress: bool = False,
    executor: Any = None,
    **options: Any,
) -> Result:
    """Run the data randomisation test: networks on true labels against networks on permuted ones.

    `make_model`: builds an untrained classifier. `train`, `test`: `(images, labels)` or a labelled data set; `train` may
    be None where `true` and `permuted` hold trained networks. `networks`: how many of each kind are trained, under `training`
    (a `TrainingSettings`), on `train_images` images. `options`: fields of `CheckSpec` such as `seed` or `max_images`.

    Raises `TrainingError` where a network cannot fit its labels, `UsageError` for bad input. Source: Adebayo et al. (2018),
    section 3.2.
    """
    from salsanity.checks.spec import CheckSpec
    from salsanity.suite.data_randomization import LabelSpec, run_data_randomization
    from salsanity.suite.opening import narrator_for, source_of
    from salsanity.training.settings import LABELS

    return run_data_randomization(
        make_model,
        None if train is None else source_of(train),
        source_of(test),
        name=name or str(getattr(make_model, "__name__", "network")),
        labels=LabelSpec(
            tuple(true), tuple(permuted), networks, train_images, training or LABELS, threshold
        ),
        spec=CheckSpec.from_mapping({"target": "label", **options}),
        methods=methods,
        similarities=similarities,
        out=None if out is None else Path(out),
        narrator=narrator_for(progress),
        executor=executor,
    )
