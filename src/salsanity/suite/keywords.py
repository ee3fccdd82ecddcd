"""Keywords of `salsanity.run`, which editors complete; written by scripts/reference from the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from torch import nn


class Pixels(TypedDict, total=False):
    """How pixels become what the network was trained on; see `salsanity.data.preprocessing.Preprocessing`."""

    size: int | None
    resize: int | None
    mean: Sequence[float]
    std: Sequence[float]
    channels: int
    interpolation: Literal["bilinear", "bicubic", "nearest"]


class RunOptions(Pixels, total=False):
    """Options of every run."""

    draws: int
    """Randomised networks, or other draws of a check."""
    max_images: int
    """Images at most."""
    target: Literal["trained", "label", "own"]
    """The class explained: what the trained network predicts, the label, or what each network predicts itself."""
    samples: int | None
    """Noisy samples; unset, 10 on a CPU and 50 on a GPU."""
    steps: int | None
    """Path steps; unset, 10 on a CPU and 50 on a GPU."""
    endpoints: bool
    """Space path steps as the paper's released code did."""
    layer: str | None
    """The layer that GradCAM looks at."""
    output: str | None
    """Which of a network's outputs are the logits: a name or an index (heads.1)."""
    hooks: Literal["drop", "keep"]
    """Hooks that were left on the network: drop them from the copy, or keep them."""
    seed: int
    """The one seed."""
    partners: int
    """Other images whose maps tell what chance gives."""
    until_decided: bool
    """Growing rounds; a method leaves once its verdict is settled."""
    rerun: bool
    """Compute again what cannot be recognised in another process, instead of refusing it."""
    device: str
    """Where to compute: auto (a GPU where there is one), cpu, cuda, cuda:1, ..."""
    batch_size: Literal["auto"] | int | None
    """Images per pass; auto: the fastest, measured."""
    precision: Literal["float32", "tf32", "bfloat16"]
    """Of passes: tf32 and bfloat16 may be faster; their error is printed."""
    memory_format: Literal["auto", "contiguous", "channels_last"]
    """Layout of tensors in memory; auto: the faster one, measured."""
    replay: Literal["auto", "on", "off"]
    """Whether what the unchanged part of a network computed is kept; auto: where memory allows."""
    unit_timeout: float | None
    """Seconds that one unit of work may take."""
    gallery: int
    """Images kept with their maps for the figures; 0: none."""
    workers: Literal["auto"] | int | None
    """Worker processes of the executor ray; auto: as many as the machine or the cluster has room for."""
    address: str | None
    """A Ray cluster that is running, auto or HOST:PORT; unset, Ray is started on this machine for the run."""
    gpus_per_worker: float | None
    """GPUs of a worker: 1, or a part of one that workers share; unset, 1 where the run is on a GPU."""
    cpus_per_worker: int | None
    """Cores of a worker, and threads of its PyTorch; unset, as many threads as this process has."""


class Options(RunOptions, total=False):
    """Options of every run and of every check that salsanity brings."""

    order: Literal["top_down", "independent", "bottom_up"]
    """Which parameters are destroyed: from the output down, one block at a time, or from the input up."""
    stages: Literal["verdict", "all"]
    """Stages computed for every image and draw: the two that decide (half and full), or all."""
    blocks: str | Sequence[str]
    """What is destroyed at once: auto (about 20 blocks at most), layer, or names of modules."""
    init: str
    """What destroyed parameters get; also a plug-in or file.py:function."""
    init_sd: float
    """sd of truncated_normal."""
    init_bias: float
    """Biases of truncated_normal."""
    batchnorm: Literal["keep", "reset", "recalibrate"]
    """What becomes of BatchNorm's running statistics."""
    keep: Sequence[str]
    """Parameters that may stay as they are, by patterns such as head.*."""
    d_full: float
    """Most that may be retained with everything randomised."""
    d_half: float
    """Most that may be retained with the top half randomised."""
    networks: int
    """Networks of each kind to train."""
    train_images: int | None
    """Train on so many images only."""
    threshold: float
    """Most of honest networks' agreement that may be left."""
    class_choice: Literal["random", "second", "least"]
    """The other class: a random one, the runner-up (the hardest), or the least likely."""
    d_class: float
    """Most that may be retained when another class is explained."""
    d_repeat: float
    """Least that must be retained when a method runs again with other noise."""
    shift: str
    """The constant m in the network's input units: one number, or one per channel with commas."""
    d_shift: float
    """Least that must be retained when a constant is added to the input."""
    d_reparametrise: float
    """Least that must be retained when the same function is written with other weights."""
    copies: int
    """Noisy copies that a map of sMPRT is the mean of."""
    d_smooth: float
    """Most that may be retained by smoothed maps with everything randomised."""
    smooth_init: str
    """Initialiser of the smoothed cascade; as --init."""
    entropy_init: str
    """Initialiser of the entropy measurement; as --init."""
    d_exchange: float
    """Most that may be retained with everything randomised, beside p."""
    exchange_init: str
    """Initialiser of the exchanged networks; as --init."""
    mark: str | Path | None
    """An image of the mark to plant, as large as it is; unset, a checker of 5 x 5 cells."""
    d_shortcut: float
    """Least share of the map that must be on the mark for the network to be seen to go by it."""


class CascadeOptions(RunOptions, total=False):
    """Options of a run of `cascade`."""

    order: Literal["top_down", "independent", "bottom_up"]
    """Which parameters are destroyed: from the output down, one block at a time, or from the input up."""
    stages: Literal["verdict", "all"]
    """Stages computed for every image and draw: the two that decide (half and full), or all."""
    blocks: str | Sequence[str]
    """What is destroyed at once: auto (about 20 blocks at most), layer, or names of modules."""
    init: str
    """What destroyed parameters get; also a plug-in or file.py:function."""
    init_sd: float
    """sd of truncated_normal."""
    init_bias: float
    """Biases of truncated_normal."""
    batchnorm: Literal["keep", "reset", "recalibrate"]
    """What becomes of BatchNorm's running statistics."""
    keep: Sequence[str]
    """Parameters that may stay as they are, by patterns such as head.*."""
    d_full: float
    """Most that may be retained with everything randomised."""
    d_half: float
    """Most that may be retained with the top half randomised."""


class LabelsOptions(RunOptions, total=False):
    """Options of a run of `labels`."""

    networks: int
    """Networks of each kind to train."""
    train_images: int | None
    """Train on so many images only."""
    threshold: float
    """Most of honest networks' agreement that may be left."""


class ShortcutOptions(RunOptions, total=False):
    """Options of a run of `shortcut`."""

    networks: int
    """Networks of each kind to train."""
    train_images: int | None
    """Train on so many images only."""
    mark: str | Path | None
    """An image of the mark to plant, as large as it is; unset, a checker of 5 x 5 cells."""
    d_shortcut: float
    """Least share of the map that must be on the mark for the network to be seen to go by it."""


class CascadeArguments(CascadeOptions, total=False):
    """What `salsanity.model_randomization_test` takes beside network, images and targets."""

    make_model: Callable[[], nn.Module] | None
    methods: Sequence[Any] | None
    similarities: str | Sequence[Any]
    out: str | Path | None
    name: str | None
    class_names: Sequence[str] | None
    progress: bool
    executor: Any
