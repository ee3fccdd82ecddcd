"""The randomisation test proper: exact p, and what it says beside R."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from reference.verdict_frames import AFTER_FULL, ceiling_rows, joined, record_of, stage_rows
from reference.verdict_literal import literal_exchange
from salsanity.records import Line, Outcome
from salsanity.verdicts import Gate, distrust, exchange, judge, pair_index
from salsanity.verdicts.exchange import exchanged, least_draws, pairs_of
from salsanity.verdicts.table import read_scores

nan = math.nan
LINE = Line("full", "exchange", 0.2, AFTER_FULL, nothing=True)
RECORD = record_of(
    LINE, name="exchange", test="exchange", controls={"edge": Outcome.FAIL}, is_course=False
)
CELL = {"method": "gradient", "view": "absolute", "similarity": "spearman", "check": "exchange"}


def frame_of(similar, *, networks, chance=0.0, A=1.0, **cell) -> pd.DataFrame:
    """Rows of a method from the similarity (N,) of each pair of networks."""
    cell = {**CELL, **cell}
    pairs = sorted(combinations(range(networks), 2), key=lambda pair: pair_index(*pair))
    value = np.stack([similar[pair] for pair in pairs], axis=1)
    against = np.where([k == 0 for k, _ in pairs], chance, nan)
    rows = stage_rows(value, np.broadcast_to(against, value.shape), stage="exchange", **cell)
    return joined([ceiling_rows(len(value), A=A, **cell), rows])


def networks_of(networks: int, *, trained: float, random: float, seed=0, n=12, spread=0.05):
    """Similarities of pairs around one level for pairs with the trained network and one for the others."""
    rng = np.random.default_rng(seed)
    own = rng.normal(0, spread, networks)
    return {
        (k, m): (random if k else trained) + own[k] + own[m] + rng.normal(0, spread / 3, n)
        for k, m in combinations(range(networks), 2)
    }


def verdicts_of(similar, networks, *, record=RECORD, controls=(), **options):
    frame = frame_of(similar, networks=networks)
    return judge(frame, record, methods=["gradient"], controls=controls, **options)


def table_of(frame: pd.DataFrame):
    index = read_scores(frame, check="exchange")
    return index.table(("gradient", "absolute", "spearman"), "exchange", needs=("value",))


def test_pairs_are_numbered_without_a_gap_and_more_networks_append():
    numbers = sorted(pair_index(k, m) for k, m in combinations(range(30), 2))
    assert numbers == list(range(30 * 29 // 2))
    assert max(pair_index(k, m) for k, m in combinations(range(20), 2)) == 189
    smaller, larger = pairs_of(np.array(numbers))
    again = [pair_index(k, m) for k, m in zip(smaller.tolist(), larger.tolist(), strict=True)]
    assert again == numbers


def check_p_is_exact(measure):
    for seed in range(6):
        similar = networks_of(8, trained=0.05, random=0.02, seed=seed)
        similar[1, 3][2] = similar[0, 4][5] = similar[0, 4][6] = nan
        own, dev, p = literal_exchange(
            {pair: [None if math.isnan(s) else s for s in of] for pair, of in similar.items()}, 8
        )
        found = measure(table_of(frame_of(similar, networks=8)))
        np.testing.assert_allclose(found.own, own, rtol=1e-12)
        np.testing.assert_allclose(found.dev, dev, rtol=1e-9)
        assert found.p == p


def test_p_is_the_literal_rule_and_twins_fail(monkeypatch):
    check_p_is_exact(exchanged)

    def without_itself(table):
        found = exchanged(table)
        return replace(found, p=float(np.mean(found.dev[1:] >= found.dev[0])))

    def one_sided(table):
        found = exchanged(table)
        return replace(found, p=float(np.mean(found.own >= found.own[0])))

    def holes_are_0(table):
        return exchanged(replace(table, value=np.nan_to_num(table.value)))

    for twin in (without_itself, one_sided, holes_are_0):
        with pytest.raises(AssertionError):
            check_p_is_exact(twin)
    monkeypatch.setattr(exchange, "_median", lambda values: float(np.mean(values)))
    with pytest.raises(AssertionError):
        check_p_is_exact(exchanged)


def test_under_exchange_p_is_uniform():
    """The trained network is one more draw: p <= k / 20 in about k of 20 runs."""
    p = np.array(
        [
            exchanged(table_of(frame_of(networks_of(20, trained=0.1, random=0.1, seed=s, n=2), networks=20))).p
            for s in range(200)
        ]
    )  # fmt: skip
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.05)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.11)


def test_nineteen_draws_for_a_p_of_5_per_cent():
    assert least_draws(0.05) == 19
    assert least_draws(0.1) == 9
    assert least_draws(0.01) == 99


def test_a_method_that_depends_on_what_was_learned():
    top, cell = verdicts_of(networks_of(20, trained=0.05, random=0.5), 20)
    assert cell.outcome is Outcome.PASS
    assert cell.p == pytest.approx(1 / 20)
    assert cell.reason.startswith("it depends on what was learned: absolute Spearman retains 0.0")
    assert "p = 0.05 with 19 draws" in top.reason
    assert top.p == cell.p
    assert cell.n_draws == 19
    assert [kept.line for kept in cell.kept] == ["full"]


def test_noise_changes_as_noise_does():
    top, cell = verdicts_of(networks_of(20, trained=0.0, random=0.0, spread=0.003), 20)
    assert cell.p > 0.05
    assert top.outcome is Outcome.INCONCLUSIVE
    assert "it changes as noise does" in top.reason
    assert "not caught" not in top.reason


def test_a_small_p_overturns_no_failure():
    """Maps that keep half of their similarity, while random networks' maps hardly agree."""
    top, _ = verdicts_of(networks_of(20, trained=0.5, random=0.1), 20)
    assert top.outcome is Outcome.FAIL
    assert top.p == pytest.approx(1 / 20)
    assert top.reason.endswith("; p = 0.05 with 19 draws")


def test_an_edge_detector_fails_with_p_1():
    same = {pair: np.ones(12) for pair in combinations(range(20), 2)}
    found = judge(
        frame_of(same, networks=20, chance=0.3, method="edge"),
        RECORD,
        methods=[],
        controls=["edge"],
    )
    assert found[0].outcome is Outcome.FAIL
    assert found[0].p == 1
    assert distrust(found, RECORD) == []


@pytest.mark.parametrize("networks", [4, 19])
def test_with_fewer_draws_no_p_is_printed_and_it_says_so(networks):
    top, cell = verdicts_of(networks_of(networks, trained=0.05, random=0.5), networks)
    assert math.isnan(cell.p)
    assert top.outcome is Outcome.INCONCLUSIVE
    assert f"no p with {networks - 1} draws" in top.reason
    assert f"1/{networks}, and 0.05 needs 19 draws" in top.reason
    assert "p =" not in top.reason


def test_a_failure_needs_no_p():
    top, _ = verdicts_of(networks_of(6, trained=0.6, random=0.1, spread=0.02), 6)
    assert top.outcome is Outcome.FAIL


def test_missing_pairs_give_no_p():
    similar = networks_of(20, trained=0.05, random=0.5)
    frame = frame_of(similar, networks=20)
    lost = (frame["stage"] == "exchange") & (frame["draw"] == pair_index(3, 7))
    found = judge(frame[~lost], RECORD, methods=["gradient"], controls=())
    assert math.isnan(found[0].p)
    assert "pairs of networks are missing" in found[0].reason
    blank = {pair: of if pair[0] else of * nan for pair, of in similar.items()}
    found = verdicts_of(blank, 20)
    assert found[0].outcome is Outcome.UNINFORMATIVE
    assert math.isnan(found[0].p)


def test_a_random_network_without_maps_counts_against_the_trained_one():
    similar = networks_of(20, trained=0.05, random=0.5)
    dead = {pair: of * nan if 5 in pair else of for pair, of in similar.items()}
    _, cell = verdicts_of(dead, 20)
    assert cell.p == pytest.approx(2 / 20)


def test_gates_and_records_stand_in_the_way_as_everywhere():
    similar = networks_of(20, trained=0.05, random=0.5)
    gated = verdicts_of(similar, 20, gates=[Gate("collapsed")])
    assert (gated[0].outcome, gated[0].reason) == (Outcome.INCONCLUSIVE, "collapsed")
    never = verdicts_of(similar, 20, record=replace(RECORD, never_pass="half was kept"))
    assert never[0].outcome is Outcome.INCONCLUSIVE
    assert "half was kept" in never[0].reason
