"""A model card with a result is one that huggingface_hub reads back; what others wrote in it stays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from salsanity.integrations.findings import findings
from salsanity.suite.result import Result

hub: Any = pytest.importorskip("huggingface_hub", reason="the extra huggingface is not installed")

OTHERS = """---
license: mit
tags:
- vision
model-index:
- name: mine
  results:
  - task:
      type: image-classification
    dataset:
      type: cifar10
      name: CIFAR-10
    metrics:
    - type: accuracy
      value: 0.9
---
# Mine

Written by a person.
"""


def made(result: Result, card: Any = None) -> Any:
    from salsanity.integrations.huggingface import model_card

    return model_card(result, card, dataset_name="Some images", dataset_type="some-images")


def test_the_numbers_are_metadata_and_the_card_is_text(result: Result, tmp_path: Path) -> None:
    made(result).save(tmp_path / "README.md")
    card = hub.ModelCard.load(tmp_path / "README.md")
    wanted = [one for one in findings(result) if math.isfinite(one.number)]
    read = {(r.metric_args["check"], r.metric_args["method"]): r for r in card.data.eval_results}
    assert len(read) == len(wanted) > 3
    for one in wanted:
        found = read[one.check, one.method]
        assert found.metric_value == pytest.approx(one.number, abs=1e-4)
        assert found.metric_args["outcome"] == one.outcome
        assert (found.task_type, found.dataset_type) == ("image-classification", "some-images")
    assert card.data.model_name == "small"
    assert "| Method | Model parameter randomisation test | Repeatability |" in card.text


def test_what_others_wrote_stays_and_a_second_time_replaces_the_first(result: Result) -> None:
    once = made(result, OTHERS)
    twice = made(result, once)
    assert str(twice) == str(once)
    assert "Written by a person." in twice.text
    assert twice.data.license == "mit"
    accuracy = [r.metric_value for r in twice.data.eval_results if r.metric_type == "accuracy"]
    assert accuracy == [0.9]
    assert twice.text.count("<!-- end of salsanity -->") == 1
    assert twice.data.model_name == "mine"


def test_twin_a_block_without_its_marks_would_stand_twice(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    from salsanity.integrations import huggingface

    monkeypatch.setattr(huggingface, "END", "")
    assert str(made(result, made(result, OTHERS))) != str(made(result, OTHERS))
