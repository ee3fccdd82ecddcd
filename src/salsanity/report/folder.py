"""Read a run folder into one frozen value; everything in report/ starts from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from salsanity.errors import StoreError
from salsanity.records import VIEWS, LabelVerdict, UnitKey, Verdict
from salsanity.store.directory import asked_part, asked_units
from salsanity.store.folder import inside
from salsanity.verdicts import curves, from_json

FORMAT_VERSION: Final = 1
REQUIRED: Final = ("check", "model", "methods", "similarities", "views", "stages", "images")
SCORE_COLUMNS: Final = [
    *("check", "draw", "stage", "stage_index", "image"),
    *("method", "view", "similarity", "value", "chance", "reason"),
]
Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class GalleryImage:
    """One photograph and its maps, read from disk when asked for."""

    path: Path
    image: str
    name: str
    target: str
    label: str | None
    size: tuple[int, int]
    """Height and width of the image."""

    keys: frozenset[str]

    def photo(self) -> np.ndarray:
        """Return the image as it is shown, (C, H, W) in [0, 1]."""
        return self._tensor("photo")

    def has(self, method: str, stage: str) -> bool:
        """Say whether the map of a method at a stage was kept."""
        return f"maps/{method}/{stage}" in self.keys

    def map(self, method: str, stage: str) -> np.ndarray:
        """Return the map (C or 1, H, W) of a method at a stage; the reference is `trained`."""
        return self._tensor(f"maps/{method}/{stage}")

    def _tensor(self, key: str) -> np.ndarray:
        try:
            with safe_open(self.path, framework="np") as file:
                return np.asarray(file.get_tensor(key), dtype=np.float32)
        except (SafetensorError, OSError) as error:
            raise StoreError(
                f"expected the tensor {key} in {self.path}, got: {error}; "
                "delete this file to build the report without it"
            ) from error


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked, what was measured, what was concluded.

    For the data randomisation test `Verdict.retained_full` holds `retained`.
    """

    folder: Path
    spec: Json
    verdicts: tuple[Verdict, ...]
    scores: pd.DataFrame
    gates: Json
    coverage: tuple[Json, ...]
    gallery: tuple[GalleryImage, ...]

    @property
    def is_labels(self) -> bool:
        """Whether this is the data randomisation test."""
        return bool(self.spec["check"] == "data_randomization")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods on trial, in the order of the spec."""
        return tuple(self.spec["methods"])

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that ran."""
        return tuple(self.spec.get("controls") or ())

    @property
    def views(self) -> tuple[str, ...]:
        """The views compared: signed, absolute."""
        return tuple(self.spec["views"])

    @property
    def similarities(self) -> tuple[str, ...]:
        """The similarities compared."""
        return tuple(self.spec["similarities"])

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in order, without the reference."""
        return tuple(stage["name"] for stage in self.spec["stages"])

    @property
    def states(self) -> tuple[str, ...]:
        """The states that gallery maps show: the reference and the stages, or the networks."""
        return self.stages if self.is_labels else ("trained", *self.stages)

    @property
    def model_name(self) -> str:
        """The network's name."""
        return str(self.spec["model"]["name"])

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The lines that decide, by stage: `full` and `half`, or `labels`."""
        given = self.spec.get("thresholds") or {}
        return {"full": 0.5} | given if self.is_labels else {"full": 0.2, "half": 0.75} | given

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Similarity by stage with intervals, as `salsanity.verdicts.curves` gives it."""
        return curves(self.scores, check=str(self.spec["check"]))

    @property
    def trusted(self) -> bool:
        """Whether controls and gates say that the run can be trusted."""
        return bool(self.gates.get("trusted", True))

    @cached_property
    def headlines(self) -> Mapping[str, Verdict]:
        """The headline of every method and control."""
        return {v.method: v for v in self.verdicts if v.view is None}

    def cells(self, method: str, view: str | None = None) -> tuple[Verdict, ...]:
        """Return the cells of a method, of one view or of both."""
        return tuple(
            v
            for v in self.verdicts
            if v.method == method and v.view is not None and view in (None, v.view)
        )


def read_run(folder: Path | str) -> Run:
    """Read a run folder; needs neither the network nor torch.

    Raises:
        StoreError: the folder is not a run, is damaged, or is of another format version.
    """
    folder = Path(folder)
    spec = _read_spec(folder)
    return Run(
        folder=folder,
        spec=spec,
        verdicts=_read_verdicts(folder),
        scores=_read_scores(folder, spec),
        gates=_read_json(folder, "gates.json", default={}),
        coverage=tuple(_read_json(folder, "coverage.json", default=[])),
        gallery=_read_gallery(folder, spec),
    )


def _read_json(folder: Path, name: str, *, default: object = None) -> Any:
    path = inside(folder, folder / name)
    if not path.exists() and default is not None:
        return default
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"expected a run folder with a readable {name} at {folder}, got: {error}; "
            "name a folder that `salsanity check` or `salsanity labels` has finished"
        ) from error
    wanted = list if name in ("verdicts.json", "coverage.json") else dict
    if not isinstance(value, wanted):
        raise StoreError(f"expected a JSON {wanted.__name__} in {path}, got {type(value).__name__}")
    return value


def _read_spec(folder: Path) -> Json:
    spec: Json = _read_json(folder, "spec.json")
    version = spec.get("format_version")
    if version != FORMAT_VERSION:
        raise StoreError(
            f"expected a run folder of format version {FORMAT_VERSION}, got {version!r} "
            f"in {folder}; read it with the version of salsanity that wrote it"
        )
    missing = [key for key in REQUIRED if key not in spec]
    if missing:
        raise StoreError(f"expected the keys {', '.join(missing)} in {folder / 'spec.json'}")
    if not set(spec["views"]) <= set(VIEWS):
        raise StoreError(f"expected views among {VIEWS} in {folder / 'spec.json'}: {spec['views']}")
    return spec


def _read_verdicts(folder: Path) -> tuple[Verdict, ...]:
    return tuple(_as_verdict(from_json(row)) for row in _read_json(folder, "verdicts.json"))


def _as_verdict(verdict: Verdict | LabelVerdict) -> Verdict:
    """Put `retained` of the label test in the place of `retained_full`."""
    if isinstance(verdict, Verdict):
        return verdict
    named = asdict(verdict)
    kept, interval = named.pop("retained"), named.pop("retained_ci")
    return Verdict(**named, retained_full=kept, retained_full_ci=interval)


def _read_scores(folder: Path, spec: Json) -> pd.DataFrame:
    paths = sorted((folder / "scores").glob("*.parquet"))
    asked = asked_units(spec)
    read = (_read_unit(inside(folder, p), asked) for p in paths if not p.name.startswith("."))
    parts = [part for part in read if part is not None]
    if not parts:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _read_unit(path: Path, asked: Mapping[str, frozenset[str]] | None) -> pd.DataFrame | None:
    try:
        table = pq.read_table(path, columns=list(SCORE_COLUMNS))
        about = (table.schema.metadata or {}).get(b"salsanity")
        scores: pd.DataFrame = table.to_pandas()
        if about is None:
            return scores
        return asked_part(UnitKey.from_json(json.loads(about)["unit"]), scores, asked)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise StoreError(
            f"expected scores in {path}, got: {error}; delete the file and continue the run"
        ) from error


def _read_gallery(folder: Path, spec: Json) -> tuple[GalleryImage, ...]:
    """Read the gallery's contents, in the order of the run's images."""
    order = {image["id"]: k for k, image in enumerate(spec["images"])}
    paths = sorted((folder / "gallery").glob("*.safetensors"))
    images = [_gallery_image(inside(folder, path)) for path in paths]
    pictured = [image for image in images if image is not None]
    return tuple(sorted(pictured, key=lambda image: order.get(image.image, len(order))))


def _gallery_image(path: Path) -> GalleryImage | None:
    """Read what a gallery file holds; None where the input is not an image of (C, H, W)."""
    try:
        with safe_open(path, framework="np") as file:
            keys, about = frozenset(file.keys()), file.metadata() or {}
            shape = file.get_slice("photo").get_shape() if "photo" in keys else []
    except (SafetensorError, OSError) as error:
        raise StoreError(
            f"expected a gallery file at {path}, got: {error}; "
            "delete it to build the report without it"
        ) from error
    if len(shape) != 3:
        return None
    return GalleryImage(
        path=path,
        image=about.get("image", path.stem),
        name=about.get("name", path.stem),
        target=about.get("target_name") or about.get("target", "unknown"),
        label=about.get("label") or None,
        size=(shape[1], shape[2]),
        keys=keys,
    )
