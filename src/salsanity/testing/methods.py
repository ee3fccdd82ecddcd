"""`MethodContract`: what salsanity relies on in a saliency method."""

from __future__ import annotations

import random
import unittest
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from salsanity import registry
from salsanity.checks.frame import CHANGED_STREAM, REFERENCE_STREAM
from salsanity.data.examples import image_id
from salsanity.methods import Baselines, CallableMethod, Maps, Method
from salsanity.models.network import Network, prepare
from salsanity.passes.request import Foreign, Pass, PassResult
from salsanity.passes.run import Batch, run
from salsanity.passes.schedule import Demand, State
from salsanity.testing.networks import small_network, some_images
from salsanity.testing.traces import Traces, random_state
from salsanity.units.admit import find_spatial_layer
from salsanity.units.tools import Instruments

Answer = Callable[[Pass | Foreign], PassResult]


class MethodContract:
    """The contract of a saliency method: inherit it in a test module and return yours from `method`.

    An explainer `(model, inputs, targets) -> maps` is called here as it is, without the care that a run takes of it, so that
    what it leaves behind is seen.
    """

    tolerance: ClassVar[float] = 1e-6
    """By how much maps may depend on the batch, as a share of their largest value."""

    uses_global_random: ClassVar[bool] = False
    """Whether it draws from the global random state, as other libraries do; a run gives it one of its own, but then its
    maps depend on the batch."""

    def method(self) -> Any:
        """Return the method on trial: a `Method`, a callable, or a name as in `--method`."""
        raise NotImplementedError("return the method on trial from `method`")

    def model(self) -> nn.Module:
        """Return the classifier to explain, in eval mode; by default a small one with ReLUs."""
        return small_network()

    def images(self) -> Tensor:
        """Return at least three images that the classifier takes, (N, C, H, W)."""
        return some_images()

    def test_has_a_name(self) -> None:
        """Scores are kept by name, so it must not change from one object to the next."""
        name = self._method().name
        assert isinstance(name, str), f"expected a name as text, got {name!r}"
        assert name, "expected a name, got an empty one"
        assert name == self._method().name, "expected the same name each time"

    def test_maps_fit_the_inputs(self) -> None:
        """One map per image, of its height and width, with all channels or one, of finite numbers."""
        x = self.images()
        maps = self._explained(x)
        shapes = (tuple(x.shape), (len(x), 1, *x.shape[2:]))
        assert tuple(maps.shape) in shapes, (
            f"expected maps of shape {shapes}, got {tuple(maps.shape)}"
        )
        assert maps.is_floating_point(), f"expected maps of real numbers, got {maps.dtype}"
        assert bool(maps.isfinite().all()), "expected finite maps, got NaN or infinite values"

    def test_leaves_the_weights_alone(self) -> None:
        """Parameters and buffers are the same objects with the same bits."""
        changed = self._after_bare_call().values_changed()
        assert changed is None, f"it changed {changed}"

    def test_leaves_gradients_alone(self) -> None:
        """No `.grad` appears, and what requires a gradient stays as it was."""
        changed = self._after_bare_call().grads_changed()
        assert changed is None, f"it left a gradient, or another requires_grad, on {changed}"

    def test_leaves_the_mode_alone(self) -> None:
        """What was in eval mode still is."""
        changed = self._after_bare_call().modes_changed()
        assert changed is None, f"it put {changed} into another mode"

    def test_leaves_no_hooks(self) -> None:
        """Hooks, attributes and submodules are those that were there."""
        changed = self._after_bare_call().attributes_changed()
        assert changed is None, f"it left hooks, attributes or modules on {changed}"

    def test_leaves_the_inputs_alone(self) -> None:
        """The images it was given are unchanged, bit for bit."""
        x = self.images()
        before = x.clone()
        self._explained(x, bare=True)
        assert torch.equal(x, before), "it wrote into its inputs"

    def test_does_not_depend_on_the_batch(self) -> None:
        """An image has the same map alone, among others, and in any order."""
        self._check_seeded("its maps may depend on the batch")
        x = self.images()
        together = self._explained(x)
        alone = torch.cat([self._explained(x[i : i + 1]) for i in range(len(x))])
        reversed_ = self._explained(x.flip(0)).flip(0)
        for other, words in ((alone, "alone"), (reversed_, "in another order")):
            far = float((together - other).abs().max() / together.abs().max().clamp_min(1e-300))
            assert far <= self.tolerance, (
                f"maps differ by {far:.1e} when images are explained {words}"
            )

    def test_depends_only_on_its_seed(self) -> None:
        """The same seed gives the same maps, whatever was drawn from the global state in between."""
        x = self.images()
        first = self._explained(x, seed=5)
        _ = random.random(), np.random.random(), torch.rand(3)
        assert torch.equal(first, self._explained(x, seed=5)), "the same seed gave other maps"

    def test_is_stochastic_if_it_says_so(self) -> None:
        """Without `stochastic`, maps of one network do not depend on the noise stream, so that their ceiling is 1."""
        if self._method().stochastic:
            return
        x = self.images()
        one, other = (self._explained(x, stream=s) for s in (REFERENCE_STREAM, CHANGED_STREAM))
        assert torch.equal(one, other), "it says stochastic=False, but its maps depend on noise"

    def test_leaves_the_global_random_state_alone(self) -> None:
        """It draws from generators of its own."""
        self._check_seeded("it draws from the global random state")
        before = random_state()
        self._explained(self.images(), bare=True)
        assert random_state() == before, "it drew from the global random state, or seeded it"

    def _check_seeded(self, what: str) -> None:
        if self.uses_global_random:
            raise unittest.SkipTest(f"uses_global_random is set, so {what}")

    def _method(self) -> Method:
        return registry.method(self.method(), effort=registry.Effort(3, 3))

    def _after_bare_call(self) -> Traces:
        x = self.images()
        network = prepare(self.model(), x)
        traces = Traces.of(network.module)
        self._explained(x, network=network, bare=True)
        return traces

    def _explained(
        self,
        x: Tensor,
        *,
        network: Network | None = None,
        seed: int = 0,
        stream: int = REFERENCE_STREAM,
        bare: bool = False,
    ) -> Maps:
        method = self._method()
        network = network or prepare(self.model(), x)
        tools = _instruments(network, method, self.images(), seed)
        with torch.no_grad():
            targets = network.logits(x).argmax(1)
        ids = [image_id(image) for image in x]
        answer = _answering(network, x, targets, ids, tools, stream, bare=bare)
        steps = method.steps(tools.inputs(x, targets, ids, "trained"))
        results: tuple[PassResult, ...] | None = None
        while True:
            try:
                asked = next(steps) if results is None else steps.send(results)
            except StopIteration as end:
                return cast(Maps, end.value)
            results = tuple(answer(request) for request in asked)


def _instruments(network: Network, method: Method, pool: Tensor, seed: int) -> Instruments:
    spatial, why_not = find_spatial_layer(network)
    # A function of the user's is given batches, so that one that mixes images is found out.
    batched = frozenset({method.name} if isinstance(method, CallableMethod) else ())
    baselines = Baselines(seed, pool)
    tools = Instruments(network, (method,), (), seed, 4, baselines, spatial, why_not)
    return replace(tools, batched=batched)


def _answering(
    network: Network,
    x: Tensor,
    targets: Tensor,
    ids: Sequence[str],
    tools: Instruments,
    stream: int,
    *,
    bare: bool,
) -> Answer:
    """Return what answers a method's requests: the runner, or for explainers of others, with `bare`, a plain call."""
    state, setting = State("trained", {}, targets), tools.setting(stream, batch_size=4)

    def answer(request: Pass | Foreign) -> PassResult:
        if bare and isinstance(request, Foreign):
            return PassResult(request.explainer(network.module, x, targets))
        (found,) = run(network, Batch(x, tuple(ids)), [Demand(state, (request,))], setting=setting)
        result = found.results[request]
        reasons = getattr(result, "reasons", ())
        assert isinstance(result, PassResult), (
            f"it gave no maps: {'; '.join(filter(None, reasons))}"
        )
        return result

    return answer
