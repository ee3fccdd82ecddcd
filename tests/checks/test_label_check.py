"""The label test as a check: which networks are compared with which, under what noise, against what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salsanity.checks.frame import (
    CHANGED_STREAM,
    REFERENCE_STREAM,
    Chunk,
    Ground,
    Settled,
    State,
    Workshop,
)
from salsanity.checks.labels import LOWER_BOUND, LabelTest
from salsanity.checks.named import settled
from salsanity.data.examples import image_id
from salsanity.data.tensors import TensorSource
from salsanity.errors import SpecError, UsageError
from salsanity.models.network import prepare
from salsanity.narrator import Silent
from salsanity.records import Outcome
from salsanity.units.job import ground_of
from salsanity.units.spec import RunSpec


def network(seed: int, hidden: int = 5) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, 3)
    ).eval()


TRUE = (network(1), network(2), network(3))
PERMUTED = (network(4), network(5))
LABELS = torch.arange(6) % 3


def images() -> Tensor:
    return torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(6))


def workshop(labels: Tensor | None = LABELS) -> Workshop:
    test = TensorSource(images(), labels)
    return Workshop(None, None, test, Path("none"), torch.device("cpu"), 0, Silent())


def laid(true: int = 3, permuted: int = 2, **options: Any) -> tuple[Settled, Ground]:
    asked = LabelTest(true=TRUE[:true], permuted=PERMUTED[:permuted], **options)
    check, model = asked.brought(workshop())
    assert model is TRUE[0]
    on = ground_of(prepare(model, images()[:1]), RunSpec(target="label"), images(), None)
    return settled(check, on), on


def chunk() -> Chunk:
    return Chunk(images(), LABELS, tuple(image_id(x) for x in images()))


def flat(state: State) -> dict[str, Tensor]:
    return {f"{k}.{n}": v for k, own in state.weights.items() for n, v in own.items()}


def states_of(found: Settled, on: Ground) -> list[State]:
    check = found.check
    return [*check.references(on, chunk()), *check.changed(on, chunk(), 0, ("TT", "TP"))]


def test_states_hold_the_networks_under_two_streams() -> None:
    found, on = laid()
    names = {f"true:{i}": model for i, model in enumerate(TRUE)}
    names |= {f"permuted:{i}": model for i, model in enumerate(PERMUTED)}
    references = found.check.references(on, chunk())
    assert [s.name for s in references] == [f"true:{i}/0" for i in range(3)]
    assert {s.stream for s in references} == {REFERENCE_STREAM}
    changed = found.check.changed(on, chunk(), 0, ("TT", "TP"))
    assert [s.name for s in changed] == [f"{name}/1" for name in names]
    assert {s.stream for s in changed} == {CHANGED_STREAM}
    for state in (*references, *changed):
        wanted = names[state.name.partition("/")[0]].state_dict()
        assert flat(state).keys() == wanted.keys()
        assert all(torch.equal(flat(state)[k], wanted[k]) for k in wanted), state.name


def test_twin_another_network_s_weights_are_noticed() -> None:
    found, on = laid()
    one, other = (flat(state) for state in found.check.references(on, chunk())[:2])
    assert not any(torch.equal(one[k], other[k]) for k in one)


def test_every_two_honest_networks_and_every_honest_one_with_every_permuted_one() -> None:
    check = laid()[0].check
    pairs = [(p.stage, p.index, p.draw, p.reference, p.changed) for p in check.pairs(0)]
    assert pairs == [
        ("TT", 1, 0, "true:0/0", "true:1/1"),
        ("TT", 1, 1, "true:0/0", "true:2/1"),
        ("TT", 1, 2, "true:1/0", "true:2/1"),
        ("TP", 2, 0, "true:0/0", "permuted:0/1"),
        ("TP", 2, 1, "true:0/0", "permuted:1/1"),
        ("TP", 2, 2, "true:1/0", "permuted:0/1"),
        ("TP", 2, 3, "true:1/0", "permuted:1/1"),
        ("TP", 2, 4, "true:2/0", "permuted:0/1"),
        ("TP", 2, 5, "true:2/0", "permuted:1/1"),
        ("self", 0, 0, "true:0/0", "true:0/1"),
    ]
    assert check.draws == 1
    assert check.asked_stages(0, is_shown=True) == ("TT", "TP")
    assert [(s["name"], s["index"]) for s in check.stages] == [("TT", 1), ("TP", 2)]


def test_only_the_ceiling_asks_for_methods_that_draw_noise_alone() -> None:
    found, on = laid()
    asks = {s.name: s.asks for s in states_of(found, on)}
    assert [name for name, asked in asks.items() if asked == "stochastic"] == ["true:0/1"]
    shown = {s.name: s.shown for s in states_of(found, on) if s.shown}
    assert shown == {
        **{f"true:{i}/0": f"true:{i}" for i in range(3)},
        **{f"permuted:{i}/1": f"permuted:{i}" for i in range(2)},
    }


def test_the_line_lies_below_two_honest_networks_agreement() -> None:
    found, _ = laid(threshold=0.4)
    (line,) = found.check.lines
    assert (line.name, line.stage, line.threshold, line.against) == ("permuted", "TP", 0.4, "TT")
    assert (line.of, line.caveat) == ("two honest networks' agreement", "")
    record = found.record(["spearman"])
    assert record.draws == 6
    assert record.states == ("true:0", "true:1", "true:2", "permuted:0", "permuted:1")
    assert record.controls == {"edge": Outcome.FAIL, "noise": Outcome.PASS}
    assert record.facts["Networks"] == "3 on true labels, 2 on permuted ones"


def test_one_honest_network_gives_a_lower_bound() -> None:
    found, _ = laid(true=1)
    (line,) = found.check.lines
    assert (line.against, line.caveat) == (None, LOWER_BOUND)
    assert [p.stage for p in found.check.pairs(0)] == ["TP", "TP", "self"]
    assert found.columns == 2


def test_networks_are_told_apart_by_their_values() -> None:
    one, other = laid()[0], laid(permuted=1)[0]
    assert one.check.fingerprint() != other.check.fingerprint()
    assert one.check.fingerprint() == laid(threshold=0.9)[0].check.fingerprint()
    assert [n["kind"] for n in one.extra["networks"]] == ["true"] * 3 + ["permuted"] * 2


def test_what_makes_no_label_test_is_refused() -> None:
    with pytest.raises(SpecError, match="both kinds"):
        LabelTest(true=TRUE)
    with pytest.raises(SpecError, match="networks"):
        LabelTest(networks=0)
    with pytest.raises(UsageError, match="training data"):
        LabelTest().brought(workshop())
    asked = LabelTest(true=TRUE, permuted=(network(9, hidden=7),))
    check, model = asked.brought(workshop())
    on = ground_of(prepare(model, images()[:1]), RunSpec(), images(), None)
    with pytest.raises(SpecError, match="permuted:0 has other parameters"):
        settled(check, on)


def test_gates_speak_of_what_networks_know() -> None:
    found, _ = laid()
    assert found.gates, "networks that were never trained are not what the test needs"
    assert any("hardly above chance" in reason or "still knows" in reason for reason in found.gates)


def test_known_networks_are_measured_once() -> None:
    check, _ = LabelTest(true=TRUE, permuted=PERMUTED).brought(workshop())
    assert isinstance(check, LabelTest)
    assert [n.name for n in check.known] == [
        "true:0",
        "true:1",
        "true:2",
        "permuted:0",
        "permuted:1",
    ]
    right = (TRUE[0](images()).argmax(1) == LABELS).double().mean()
    assert check.known[0].test_accuracy == pytest.approx(float(right))
    again = replace(check, known=())
    assert again.settings == check.settings
