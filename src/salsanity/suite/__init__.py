"""Running checks from end to end: the only place that sees both what computes and what judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from salsanity.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from salsanity.suite.keywords import (
        CascadeArguments,
        LabelsOptions,
        Options,
        ShortcutOptions,
    )
    from salsanity.suite.result import Result

__all__ = [
    "data_randomization_test",
    "merge",
    "model_randomization_test",
    "run",
    "shortcut_test",
]

SIMILARITIES = ("spearman", "ssim", "hog")


def run(
    check: Any,
    model: nn.Module,
    images: Any,
    targets: int | Sequence[int] | Tensor | None = None,
    *,
    make_model: Callable[[], nn.Module] | None = None,
    methods: Sequence[Any] | None = None,
    similarities: str | Sequence[Any] = SIMILARITIES,
    out: str | Path | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    progress: bool = False,
    executor: Any = None,
    **options: Unpack[Options],
) -> Result:
    """Run any check, or several, on a trained classifier.

    `check`: a name (`cascade`, `class`, `all-cheap`, `file.py:Check`), a check, or a list of them. `model`: returns
    logits (N, classes); it is copied and never touched. `images`: a tensor (N, C, H, W) as the network takes it,
    `(images, labels)`, a map-style data set, a loader, or the path of a folder. `targets`: the class to explain, one for
    all images or one for each; by default those that the network predicts. `make_model`: builds a fresh network, for the
    initialiser `fresh`. `methods`: names, callables `(model, inputs, targets) -> maps`, or `Method` objects; by default
    the paper's. `out`: the run folder; giving it again continues or extends the run. `executor`: what runs the units of
    work: an object, "ray" (with `workers`, `address`, `gpus_per_worker`, `cpus_per_worker` as on the command line), or the
    name of a plug-in; by default this process. `class_names`: by index, for the figures.
    `options`: fields of `RunSpec`, options of the checks, and the preprocessing of pixels: `size`, `resize`, `mean`,
    `std`, `channels`.

    Warns of images and labels that are not used. Raises `UsageError` for bad input, with what to do.
    """
    from salsanity.checks.named import optional_of
    from salsanity.data.tensors import as_targets
    from salsanity.suite.asking import asked
    from salsanity.suite.opening import divided, executor_of, narrator_for, source_of
    from salsanity.suite.running import Request, run_checks
    from salsanity.suite.subject import Subject

    runs_on, given = executor_of(executor, options)
    preprocessing, given = divided(given)
    names = tuple(class_names) if class_names else None
    source, odd = source_of(images, class_names=names, preprocessing=preprocessing)
    wanted = None if targets is None else as_targets(targets, source)
    if wanted is not None and given.setdefault("target", "label") != "label":
        raise SpecError(f"expected targets or target={given['target']!r}, got both; leave one out")
    checks, spec = asked(check if isinstance(check, list | tuple) else [check], given)
    request = Request(
        checks,
        Subject(model, name or type(model).__name__, make_model, names),
        source,
        spec,
        methods,
        similarities,
        None if out is None else Path(out),
        wanted,
        optional=optional_of(check),
        odd=odd,
    )
    return run_checks(request, narrator=narrator_for(progress), executor=runs_on)


def model_randomization_test(
    model: nn.Module,
    images: Any,
    targets: int | Sequence[int] | Tensor | None = None,
    **arguments: Unpack[CascadeArguments],
) -> Result:
    """Run the model parameter randomisation test on a trained classifier; arguments are those of `run`.

    Source: Adebayo et al. (2018), sections 3 and 4.
    """
    return run("cascade", model, images, targets, **arguments)


def data_randomization_test(
    make_model: Callable[[], nn.Module],
    train: Any,
    test: Any,
    *,
    true: Sequence[nn.Module] = (),
    permuted: Sequence[nn.Module] = (),
    training: Any = None,
    methods: Sequence[Any] | None = None,
    similarities: str | Sequence[Any] = SIMILARITIES,
    out: str | Path | None = None,
    name: str | None = None,
    progress: bool = False,
    executor: Any = None,
    **options: Unpack[LabelsOptions],
) -> Result:
    """Run the data randomisation test: networks on true labels against networks on permuted ones.

    `make_model`: builds an untrained classifier. `train`, `test`: `(images, labels)` or a labelled data set; `train` may
    be None where `true` and `permuted` hold trained networks. `training`: a `TrainingSettings`, or a
    function `(model, images, labels)` that trains the network it is given, or returns another one. `options`: `networks`
    (how many of each kind are trained), `train_images`, `threshold`, and fields of `RunSpec` such as `seed` or
    `max_images`, and the preprocessing of pixels as in `run`.

    Raises `TrainingError` where a network cannot fit its labels, `UsageError` for bad input. Source: Adebayo et al. (2018),
    section 3.2.
    """
    from dataclasses import replace

    from salsanity.suite.asking import asked
    from salsanity.suite.opening import divided, executor_of, narrator_for, source_of, teaching_of
    from salsanity.suite.running import Request, run_checks
    from salsanity.suite.subject import Subject

    runs_on, given = executor_of(executor, options)
    preprocessing, given = divided(given)
    source, odd = source_of(test, preprocessing=preprocessing)
    more, oddities = (None, ()) if train is None else source_of(train, preprocessing=preprocessing)
    (check,), spec = asked(["labels"], given)
    brought = {"true": tuple(true), "permuted": tuple(permuted), "training": teaching_of(training)}
    request = Request(
        (replace(check, **brought),),
        Subject(None, name or str(getattr(make_model, "__name__", "network")), make_model),
        source,
        spec,
        methods,
        similarities,
        None if out is None else Path(out),
        train=more,
        odd=(*odd, *oddities),
    )
    return run_checks(request, narrator=narrator_for(progress), executor=runs_on)


def shortcut_test(
    make_model: Callable[[], nn.Module],
    train: Any,
    test: Any,
    *,
    training: Any = None,
    methods: Sequence[Any] | None = None,
    out: str | Path | None = None,
    name: str | None = None,
    progress: bool = False,
    executor: Any = None,
    **options: Unpack[ShortcutOptions],
) -> Result:
    """Plant a mark in images: do maps show it where a network goes by it?

    `make_model`: builds an untrained classifier. `train`, `test`: `(images, labels)` or a labelled data set. `training`: a
    `TrainingSettings`. `options`: `networks` (how many of each kind are trained), `train_images`, `mark` (an image file),
    `d_shortcut`, and fields of `RunSpec` such as `seed` or `max_images`.

    Raises `TrainingError` where a network cannot fit its labels or is not what the check needs (with the figures), `UsageError`
    for bad input. Source: Yang and Kim (2019); Adebayo et al. (2020, 2022).
    """
    from dataclasses import replace

    from salsanity.suite.asking import asked
    from salsanity.suite.opening import divided, executor_of, narrator_for, source_of, teaching_of
    from salsanity.suite.running import Request, run_checks
    from salsanity.suite.subject import Subject

    runs_on, given = executor_of(executor, options)
    preprocessing, given = divided(given)
    (check,), spec = asked(["shortcut"], given)
    source, odd = source_of(test, preprocessing=preprocessing)
    more, oddities = source_of(train, preprocessing=preprocessing)
    request = Request(
        (replace(check, training=teaching_of(training)),),
        Subject(None, name or str(getattr(make_model, "__name__", "network")), make_model),
        source,
        spec,
        methods,
        out=None if out is None else Path(out),
        train=more,
        odd=(*odd, *oddities),
    )
    return run_checks(request, narrator=narrator_for(progress), executor=runs_on)


def merge(folders: Sequence[str | Path], out: str | Path, *, progress: bool = False) -> Result:
    """Make one run of several that hold other images, or other draws, of the same question, in the new folder `out`.

    Runs with one seed must hold disjoint images and the same draws; runs of the same images must have a seed each, and their
    draws are numbered on. Network, explainers, checks and options must be the same.

    Raises `StoreError` for a folder that does not fit the first one, `UsageError` where `out` is not empty.
    """
    from salsanity.suite.joining import merge_runs
    from salsanity.suite.opening import narrator_for

    return merge_runs(folders, out, narrator=narrator_for(progress))
