"""User code that hangs or writes to the weights spoils its own unit only."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn

from networks import chain, images
from salsanity.errors import ModelError, SalsanityError, UnitError
from salsanity.models.network import Network, prepare
from salsanity.units import containing
from salsanity.units.containing import check_unchanged, contained, limit_note, time_limit


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


def in_a_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns or raises when it runs off the main thread."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except (SalsanityError, containing._OutOfTime) as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return found[0]


def without_alarms(work: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same on the main thread of a system that has no alarms."""
    with monkeypatch.context() as patched:
        patched.delattr(signal, "SIGALRM")
        try:
            return work()
        except (SalsanityError, containing._OutOfTime) as error:
            return error


def endless(*, seconds: float = 0.05, careless: bool = True) -> None:
    """Python that never ends, and catches what it can."""
    with time_limit(seconds):
        while True:
            with suppress(Exception if careless else ZeroDivisionError):
                sum(range(1000))


@pytest.fixture(params=["thread", "no alarms"])
def elsewhere(request: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    if request.param == "thread":
        return in_a_thread
    return lambda work: without_alarms(work, monkeypatch)


def test_time_runs_out_off_the_main_thread_and_without_alarms(
    elsewhere: Callable[..., Any],
) -> None:
    began = time.monotonic()
    assert isinstance(elsewhere(endless), UnitError)
    assert time.monotonic() - began < 30


def test_twin_without_a_watchdog_time_never_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containing, "_raise_in", lambda *_: None)

    def counted() -> int:
        with time_limit(0.05):
            began = time.monotonic()
            while time.monotonic() - began < 1:
                pass
            return 1

    assert in_a_thread(counted) == 1


def test_an_interruption_that_is_swallowed_in_a_thread_comes_again(
    elsewhere: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containing, "AGAIN", 0.05)
    swallowed = []

    def stubborn() -> None:
        with time_limit(0.05):
            while len(swallowed) < 3:
                try:
                    while True:
                        pass
                except containing._OutOfTime:
                    swallowed.append(1)
            raise containing._OutOfTime

    assert isinstance(elsewhere(stubborn), UnitError)
    assert len(swallowed) == 3


def test_nothing_comes_up_after_a_block_that_ended_in_time(elsewhere: Callable[..., Any]) -> None:
    def work() -> int:
        for index in range(200):  # some end just as their time does, or as it begins
            with suppress(UnitError), time_limit(1e-6 if index % 2 else 1e-3):
                end = time.monotonic() + 0.001
                while time.monotonic() < end:
                    pass
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            pass
        return 1

    assert elsewhere(work) == 1
    assert not [t for t in threading.enumerate() if t.name == "salsanity-time-limit"]


def test_where_a_limit_is_weaker_a_note_says_so(elsewhere: Callable[..., Any]) -> None:
    assert limit_note(5) is None
    assert elsewhere(lambda: limit_note(None)) is None
    assert "returns to Python" in elsewhere(lambda: limit_note(5))


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
