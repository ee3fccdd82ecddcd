"""Scores of two small runs as they were recorded once; and the program that records and compares (benchmarks)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "recorded_scores.py"
RECORDED = Path(__file__).parents[1] / "assets" / "recorded"
CASES = ("tiny-cascade", "tiny-labels")
ELSEWHERE = 1e-6
"""How far scores in float64 may be from recorded ones where the processor, torch or the number of threads is another."""


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recorded_scores", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recorded_scores"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recorded(program: ModuleType) -> pd.DataFrame:
    scores: pd.DataFrame = program.read("tiny-labels", RECORDED).scores
    return scores


@pytest.mark.parametrize("case", CASES)
def test_scores_are_the_recorded_ones(program: ModuleType, case: str) -> None:
    """All but chance, of which a unit has an oracle: the recordings know one partner, dead or alive."""
    then, now = program.read(case, RECORDED).scores, program.run_case(case, RECORDED).scores
    is_same_machine = not program.differing_facts(case, RECORDED)
    tolerance = None if is_same_machine else ELSEWHERE
    assert program.differences(then, now, numbers=["value"], tolerance=tolerance) == []


@pytest.mark.parametrize("case", CASES)
def test_the_recording_holds_what_could_change(program: ModuleType, case: str) -> None:
    scores = program.read(case, RECORDED).scores
    stages = {"tiny-cascade": {"self", "0", "2"}, "tiny-labels": {"self", "TT", "TP"}}[case]
    assert set(scores["stage"]) == stages
    assert {"smoothgrad", "gradcam", "edge", "noise"} <= set(scores["method"])
    assert scores.loc[scores["stage"] != "self", "chance"].notna().any()
    assert bool(scores["value"].isna().any()) == (case == "tiny-labels")


def last_bit(table: pd.DataFrame, number: str, at: int) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[at, number] = np.nextafter(changed.loc[at, number], 2)
    return changed


def defined(table: pd.DataFrame) -> int:
    return int((table["value"].notna() & table["chance"].notna()).idxmax())


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "value was": lambda t: last_bit(t, "value", defined(t)),
    "chance was": lambda t: last_bit(t, "chance", defined(t)),
    "is nan": lambda t: t.assign(value=t["value"].where(t.index != defined(t))),
    "was nan": lambda t: t.assign(value=t["value"].fillna(0.0, limit=1)),
    "is missing now": lambda t: t.iloc[1:],
    "stands twice in the run": lambda t: pd.concat([t, t.iloc[[0]]]),
    "was not recorded": lambda t: pd.concat([t, t.iloc[[0]].assign(stage="another")]),
}


@pytest.mark.parametrize("words", CHANGES)
def test_every_change_is_told(program: ModuleType, recorded: pd.DataFrame, words: str) -> None:
    assert program.differences(recorded, recorded.sample(frac=1, random_state=0)) == []
    told = program.differences(recorded, CHANGES[words](recorded))
    assert len(told) == 1 or words.startswith("stands twice")
    assert words in told[0]
    assert ", stage " in told[0]


def test_chance_may_be_left_out_and_a_tolerance_given(
    program: ModuleType, recorded: pd.DataFrame
) -> None:
    at = defined(recorded)
    other = last_bit(recorded, "chance", at)
    assert program.differences(recorded, other, numbers=("value",)) == []
    assert program.differences(recorded, other, tolerance=ELSEWHERE) == []
    other.loc[at, "value"] += 2 * ELSEWHERE
    assert len(program.differences(recorded, other, tolerance=ELSEWHERE)) == 1


def test_what_is_written_is_read_bit_for_bit(
    program: ModuleType, recorded: pd.DataFrame, tmp_path: Path
) -> None:
    network = {"a": {"weight": torch.randn(2, 3)}}
    program.write(program.Recorded(recorded, network), "one", tmp_path)
    again = program.read("one", tmp_path)
    assert program.differences(recorded, again.scores) == []
    assert program.differing_facts("one", tmp_path) == []
    assert program.differing_networks(program.Recorded(recorded, network), again) == []
    other = program.Recorded(recorded, {"a": {"weight": network["a"]["weight"] + 1}})
    assert "network a" in program.differing_networks(again, other)[0]
