"""The JSON schema of options: it takes what runs write, and nothing that no run could be asked for."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from reference.json_schema import complaints
from salsanity.checks.cascade import Cascade
from salsanity.checks.class_ import ClassChange
from salsanity.checks.named import BUILT_IN
from salsanity.options import identity_of
from salsanity.schema import schema_of
from salsanity.units.spec import RunSpec

SCHEMA = schema_of(RunSpec, BUILT_IN)


def document(spec: RunSpec, *checks: Any) -> dict[str, Any]:
    """What spec.json says of options, once it is read again."""
    found = {
        "settings": {"identity": spec.identity(), "batch_size": 4},
        "checks": [{"name": c.name, "lines": [], "settings": identity_of(c)} for c in checks],
    }
    read: dict[str, Any] = json.loads(json.dumps(found))
    return read


def is_right(value: dict[str, Any]) -> bool:
    return not complaints(value, SCHEMA, SCHEMA)


def test_what_runs_write_is_right() -> None:
    usual = [kind() for kind in BUILT_IN.values()]
    assert complaints(document(RunSpec(), *usual), SCHEMA, SCHEMA) == []
    other = RunSpec(target="own", samples=3, batch_size=2, layer="conv", unit_timeout=0.5)
    checks = Cascade(blocks=("fc", "conv"), keep=("a",), init_sd=1), ClassChange("least")
    assert complaints(document(other, *checks), SCHEMA, SCHEMA) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["settings", "identity", "samples"], 0),
        (["settings", "identity", "samples"], "3"),
        (["settings", "identity", "seed"], 1.5),
        (["settings", "identity", "target"], "mine"),
        (["settings", "identity", "endpoints"], 1),
        (["settings", "identity", "partners"], 8),
        (["settings", "identity"], None),
        (["checks"], []),
        (["checks", 0, "settings", "order"], "sideways"),
        (["checks", 0, "settings", "blocks"], [1]),
        (["checks", 0, "settings", "init_sd"], None),
        (["checks", 1, "settings", "class_choice"], "best"),
    ],
)
def test_twin_what_no_run_could_be_asked_for_is_wrong(path: list[Any], value: object) -> None:
    found = document(RunSpec(), Cascade(), ClassChange())
    place: Any = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not is_right(found)


def test_a_check_s_settings_are_read_by_its_name() -> None:
    found = document(RunSpec(), Cascade())
    other = deepcopy(found)
    other["checks"][0]["settings"]["class_choice"] = "best"  # no option of the cascade
    assert is_right(other)
    other["checks"][0]["name"] = "class"
    assert not is_right(other)


def test_only_what_a_folder_keeps_stands_there() -> None:
    named = SCHEMA["$defs"]["run"]["properties"]
    assert "seed" in named
    assert "draws" not in named
    assert named.keys() == RunSpec().identity().keys()
    assert named.keys() < asdict(RunSpec()).keys()


def test_the_file_in_the_repository_is_this_schema() -> None:
    """`scripts/reference` writes it."""
    file = Path(__file__).resolve().parent.parent / "docs" / "spec.schema.json"
    assert json.loads(file.read_text("utf-8")) == json.loads(json.dumps(SCHEMA))
