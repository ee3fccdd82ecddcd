"""Read a run folder into one frozen value; everything in report/ starts from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors import SafetensorError, safe_open

from salsanity.errors import StoreError
from salsanity.records import VIEWS, CheckRecord, UnitKey, Verdict
from salsanity.report.terms import method_names, network_name
from salsanity.rows import RowArray, Rows
from salsanity.store.directory import add_rows, asked_units, is_asked, read_texts_coded, unit_files
from salsanity.store.folder import inside
from salsanity.store.gallery import mark_of
from salsanity.store.upgrade import upgraded, upgraded_gates, upgraded_verdicts
from salsanity.verdicts import curves, from_json

REQUIRED: Final = ("checks", "model", "methods", "views", "images")
RAISED: Final = " raised "
"""What the reasons of scores that a broken explainer left undefined have in common."""
OF_CHANCE: Final = "chance: "
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
    check: str = ""
    """The check whose states are meant where two checks call states alike; empty: any."""

    marks: Mapping[str, int] | None = field(default=None, repr=False)
    """Checksums of what is to be read, by key; None: whatever lies there."""

    def photo(self) -> np.ndarray:
        """Return the image as it is shown, (C, H, W) in [0, 1]: as the check gave it to methods, where it says so."""
        own = f"photo/{self.check}"
        return self._tensor(own if own in self.keys else "photo")

    def has(self, method: str, state: str) -> bool:
        """Say whether the map of a method in a state was kept."""
        return self._key(method, state) in self.keys

    def map(self, method: str, state: str) -> np.ndarray:
        """Return the map (C or 1, H, W) of a method in a state."""
        return self._tensor(self._key(method, state))

    def _key(self, method: str, state: str) -> str:
        own = f"maps/{self.check}/{method}/{state}"
        return own if self.check and own in self.keys else f"maps/{method}/{state}"

    def _tensor(self, key: str) -> np.ndarray:
        try:
            with safe_open(self.path, framework="np") as file:
                found = file.get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise StoreError(
                f"expected the tensor {key} in {self.path}, got: {error}; "
                "delete this file to build the report without it"
            ) from error
        if self.marks is not None and self.marks.get(key) != mark_of(found):
            raise StoreError(
                f"expected the pictures of this run in {self.path}, got those of a later run of its folder; "
                "ask the later result, or run again with another out"
            )
        return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True)
class Part:
    """One check of a finished run: what it asked, what was measured, what was concluded.

    `gates`: those of the run, cut to this check. `rows`: scores of all checks of the run.
    """

    folder: Path
    spec: Json
    record: CheckRecord
    verdicts: tuple[Verdict, ...]
    rows: Rows
    gates: Json
    coverage: tuple[Json, ...]
    gallery: tuple[GalleryImage, ...]

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

    @cached_property
    def judged_views(self) -> tuple[str, ...]:
        """Those of the views in which the check measures anything."""
        found = self.rows.views(self.record.name)
        return tuple(view for view in self.views if view in found) or self.views

    @property
    def similarities(self) -> tuple[str, ...]:
        """The similarities compared, or the statistics taken."""
        return self.record.measures

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in order, without the reference."""
        return tuple(stage["name"] for stage in self.record.stages)

    @property
    def states(self) -> tuple[str, ...]:
        """The states that gallery maps show, the reference first."""
        return self.record.states

    @property
    def model_name(self) -> str:
        """The network's name, without the folders that its file lies in."""
        return network_name(str(self.spec["model"]["name"]))

    @cached_property
    def names(self) -> Mapping[str, str]:
        """What each method is called: short where that tells it from the others."""
        return method_names((*self.methods, *self.controls))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Similarity by stage with intervals, as `salsanity.verdicts.curves` gives it."""
        return curves(self.rows, self.record)

    @property
    def scores(self) -> pd.DataFrame:
        """The rows of this check as a table."""
        return self.rows.frame(self.record.name)

    @property
    def trusted(self) -> bool:
        """Whether controls and gates say that the check can be trusted."""
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

    @cached_property
    def broken(self) -> Mapping[str, str]:
        """Methods that gave no map at all because they raised: what they said."""
        found = {}
        for method in self.methods:
            if self._measured(method):  # so its scores need not be read
                continue
            cells = self.rows.cells(self.record.name, method)
            read = (self.rows.read_cell(self.record.name, method, *cell) for cell in cells)
            if cells and all(np.isnan(rows["value"]).all() for rows in read):
                said = self._said(self.rows.read(self.record.name, method))
                if all(RAISED in reason for reason in said):
                    found[method] = said[0].removeprefix(OF_CHANCE)
        return found

    def _measured(self, method: str) -> bool:
        """Whether something was measured of a method, which takes a score that is defined."""
        return any(not math.isnan(kept.retained) for v in self.cells(method) for kept in v.kept)

    def _said(self, rows: RowArray) -> list[str]:
        """Return each reason of some rows once, in order; one is empty where a row has none."""
        places, first = np.unique(rows["reason"], return_index=True)
        texts = [*self.rows.texts("reason"), ""]
        return [texts[place] for place in places[np.argsort(first)]]


@dataclass(frozen=True)
class Run:
    """A finished run: its checks, each a part."""

    folder: Path
    spec: Json
    gates: Json
    parts: tuple[Part, ...]

    @property
    def model_name(self) -> str:
        """The network's name."""
        return self.parts[0].model_name

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods on trial, in the order of the spec."""
        return self.parts[0].methods

    @property
    def trusted(self) -> bool:
        """Whether controls and gates say that the run can be trusted."""
        return bool(self.gates.get("trusted", True))


def read_run(
    folder: Path | str,
    *,
    documents: Json | None = None,
    marks: Mapping[str, Mapping[str, int]] | None = None,
    rows: Rows | None = None,
    late: bool = False,
) -> Run:
    """Read a run folder; needs neither the network nor torch.

    `documents`: what its JSON files said, by name, where that was read before; scores and pictures are those of its run.
    `marks`: checksums of its pictures, as `salsanity.store.gallery.marks_of` gave them: others are refused when they are read.
    `rows`: its scores, where they were read before. `late`: read them when they are first asked for, and find damage only then.

    Raises:
        StoreError: the folder is not a run, is damaged, or is of another format version.
    """
    folder, held = Path(folder), documents or {}
    spec = _read_spec(folder, held)
    records = _records(folder, spec)
    gates = upgraded_gates(_read_json(folder, "gates.json", held, default={}), spec)
    verdicts = _read_verdicts(folder, spec, held)
    scores = Rows(folder=folder, fill=partial(_read_scores, folder, spec)) if rows is None else rows
    if not late:
        scores.fill()
    coverage = tuple(_read_json(folder, "coverage.json", held, default=[]))
    gallery = _read_gallery(folder, spec, marks)
    parts = (
        Part(
            folder=folder,
            spec=spec,
            record=record,
            verdicts=tuple(v for v in verdicts if v.check == record.name),
            rows=scores,
            gates=_gates_of(gates, record.name),
            coverage=coverage,
            gallery=tuple(replace(image, check=record.name) for image in gallery),
        )
        for record in records
    )
    return Run(folder, spec, gates, tuple(parts))


def _records(folder: Path, spec: Json) -> list[CheckRecord]:
    try:
        records = [CheckRecord.from_json(value) for value in spec["checks"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"expected checks as this version writes them in {folder / 'spec.json'}, got: {error!r}; "
            "read the folder with the version of salsanity that wrote it"
        ) from error
    if not records:
        raise StoreError(f"expected at least one check in {folder / 'spec.json'}")
    return records


def _gates_of(gates: Json, check: str) -> Json:
    """Cut gates to those of one check; where the reasons are told by check, it is trusted or not by its own."""
    own: dict[str, Any] = {
        key: [row for row in gates.get(key) or () if row.get("check", check) == check]
        for key in ("health", "failed_units")
    }
    controls = (gates.get("controls") or {}).get(check) or {}
    by_check = gates.get("checks")
    if isinstance(by_check, Mapping) and check in by_check:
        reasons = list(by_check[check])
        own |= {"reasons": reasons, "trusted": not reasons and not own["failed_units"]}
    return {**gates, **own, "controls": controls}


def _read_json(folder: Path, name: str, held: Json, *, default: object = None) -> Any:
    if name in held:
        return held[name]
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


def _read_spec(folder: Path, held: Json) -> Json:
    raw = _read_json(folder, "spec.json", held)
    try:
        spec: Json = upgraded(raw)
    except StoreError as error:
        raise StoreError(f"{folder}: {error}") from error
    missing = [key for key in REQUIRED if key not in spec]
    if missing:
        raise StoreError(f"expected the keys {', '.join(missing)} in {folder / 'spec.json'}")
    if not set(spec["views"]) <= set(VIEWS):
        raise StoreError(f"expected views among {VIEWS} in {folder / 'spec.json'}: {spec['views']}")
    return spec


def _read_verdicts(folder: Path, spec: Json, held: Json) -> list[Verdict]:
    rows = _read_json(folder, "verdicts.json", held)
    return [from_json(row) for row in upgraded_verdicts(rows, spec)]


def _read_scores(folder: Path, spec: Json, found: Rows) -> None:
    asked = asked_units(spec)
    for path in unit_files(folder):
        if not path.name.startswith("."):
            _read_unit(path, asked, found)


def _read_unit(path: Path, asked: Mapping[str, frozenset[str]] | None, rows: Rows) -> None:
    try:
        table = read_texts_coded(path)
        about = (table.schema.metadata or {}).get(b"salsanity")
        key = None if about is None else UnitKey.from_json(json.loads(about)["unit"])
        if key is None or is_asked(key, asked):
            add_rows(rows, table, key, None if key is None else asked)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise StoreError(
            f"expected scores in {path}, got: {error}; delete the file and continue the run"
        ) from error


def _read_gallery(
    folder: Path, spec: Json, marks: Mapping[str, Mapping[str, int]] | None
) -> tuple[GalleryImage, ...]:
    """Read the gallery's contents, in the order of the run's images."""
    paths = sorted((folder / "gallery").glob("*.safetensors"))
    images = [_gallery_image(inside(folder, path)) for path in paths]
    pictured = [image for image in images if image is not None]
    if marks is not None:  # what was added since is another run's
        pictured = [
            _as_it_was(image, marks[image.path.name])
            for image in pictured
            if image.path.name in marks
        ]
    ids, count = {image.image for image in pictured}, len(spec["images"])
    order = {image["id"]: k for k, image in enumerate(spec["images"]) if image["id"] in ids}
    return tuple(sorted(pictured, key=lambda image: order.get(image.image, count)))


def _as_it_was(image: GalleryImage, marks: Mapping[str, int]) -> GalleryImage:
    return replace(image, keys=image.keys & marks.keys(), marks=marks)


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
