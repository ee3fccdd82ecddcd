"""Running one test of a contract on something broken: it must fail, and for its own reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest


def contract_tests(contract: type) -> set[str]:
    """The tests that inheriting a contract brings."""
    return {name for name in dir(contract) if name.startswith("test_")}


def fails(
    contract: type,
    test: str,
    provide: str,
    broken: Callable[[], Any],
    words: str,
    **attributes: Any,
) -> None:
    """Assert that `test` of `contract` fails, saying `words`, when `provide` returns what `broken` makes."""
    kind = type("Broken", (contract,), {provide: lambda self: broken(), **attributes})
    with pytest.raises(AssertionError, match=words):
        getattr(kind(), test)()


def every_test_has_a_twin(contract: type, twins: Mapping[str, Any] | set[str]) -> None:
    """Assert that each test of a contract is shown to be able to fail."""
    assert contract_tests(contract) == set(twins)
