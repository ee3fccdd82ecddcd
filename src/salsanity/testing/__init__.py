"""Contracts that a third party's check, method, similarity, draw or executor can be tested against.

Inherit one in a test module and say what is on trial; pytest collects the tests that come with it::

    from salsanity.testing import MethodContract


    class TestMine(MethodContract):
        def method(self):
            return Mine()

Nothing here is collected by itself: the names do not begin with `Test`. See docs/plugins.md.
"""

from salsanity.testing.checks import CheckContract
from salsanity.testing.draws import DrawContract
from salsanity.testing.executors import ExecutorContract
from salsanity.testing.methods import MethodContract
from salsanity.testing.similarities import SimilarityContract

__all__ = [
    "CheckContract",
    "DrawContract",
    "ExecutorContract",
    "MethodContract",
    "SimilarityContract",
]
