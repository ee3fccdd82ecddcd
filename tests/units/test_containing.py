"""User code that hangs or writes to the weights spoils its own unit only."""

from __future__ import annotations

import signal
import time
from contextlib import suppress

import pytest
import torch
from torch import nn

from networks import chain, images
from salsanity.errors import ModelError, UnitError
from salsanity.models.network import Network, prepare
from salsanity.units.containing import check_unchanged, contained, time_limit


@pytest.fixture
def network() -> Network:
    return prepare(chain(), images())


def test_time_runs_out_even_where_exceptions_are_caught() -> None:
    began = time.monotonic()
    with pytest.raises(UnitError, match=r"0\.05 s"), time_limit(0.05):
        while True:
            with suppress(Exception):  # as careless user code does
                time.sleep(60)
    assert time.monotonic() - began < 30


def test_an_interruption_that_is_swallowed_comes_again() -> None:
    swallowed = []
    with pytest.raises(UnitError), time_limit(0.05):
        while True:
            try:
                time.sleep(60)
            except BaseException:
                swallowed.append(1)
                if len(swallowed) > 1:
                    raise


def test_work_in_time_is_left_alone_and_the_callers_alarm_goes_on() -> None:
    previous = signal.getsignal(signal.SIGALRM)
    kept = signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with time_limit(50):
            pass
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 90 < left <= 100
        assert signal.getsignal(signal.SIGALRM) is previous
    finally:
        signal.setitimer(signal.ITIMER_REAL, *kept)


def test_weights_written_behind_the_back_are_noticed_and_put_back(network: Network) -> None:
    weight = dict(network.module.named_parameters())["0.weight"]
    before = weight.clone()
    with pytest.raises(ModelError, match=r"0\.weight"), contained(network, None):
        weight.data.mul_(0.9)
    assert torch.equal(weight, before)
    check_unchanged(network)


def test_whatever_ends_a_unit_the_network_is_as_before(network: Network) -> None:
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    layer = network.module.get_submodule("0")
    with pytest.raises(UnitError), contained(network, 0.05):
        layer.weight.data = torch.zeros(1)
        network.module.train()
        network.module.register_forward_hook(lambda *_: None)
        time.sleep(60)
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not network.module.training
    assert not network.module._forward_hooks


def test_a_network_that_keeps_its_weights_is_unchanged(network: Network) -> None:
    with contained(network, 60), torch.no_grad():
        network.logits(images())
        nn.init.zeros_(torch.empty(1))
