"""Before the long part: what the network predicts, which methods it admits, what a pass costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from salsanity.checks.frame import REFERENCE_STREAM
from salsanity.errors import MethodError, SalsanityError
from salsanity.methods import GuidedBackprop, GuidedGradCAM, Method
from salsanity.models.layers import SpatialLayer, spatial_layer
from salsanity.models.network import Network
from salsanity.models.swap import swapped
from salsanity.passes.backoff import with_backoff
from salsanity.passes.derivative import differentiate
from salsanity.passes.foreign import out_of_memory, place_of
from salsanity.passes.request import Foreign, Pass, Rule
from salsanity.passes.schedule import State, evaluations
from salsanity.similarity import Similarity
from salsanity.units.compare import compare, prepare
from salsanity.units.explain import Explained, Wanted, explain
from salsanity.units.tools import Instruments


def logits_of(network: Network, x: Tensor, *, batch_size: int) -> Tensor:
    """Return the logits (B, classes) of preprocessed images without gradients; smaller batches where memory runs out."""
    with torch.no_grad():
        return with_backoff(
            lambda size: torch.cat([network.logits(part) for part in torch.split(x, size)]),
            batch_size,
        )


def find_spatial_layer(
    network: Network, name: str | None = None
) -> tuple[SpatialLayer | None, str]:
    """Return the layer that GradCAM looks at, or None and why there is none.

    A layer that the user named must exist: its `MethodError` passes through.
    """
    try:
        return spatial_layer(network.trace, name), ""
    except MethodError as error:
        if name is not None:
            raise
        return None, str(error)


@dataclass(frozen=True)
class Admitted:
    """Methods that are defined for a network, why the others are not, and what to say of the former."""

    methods: tuple[Method, ...]
    refused: dict[str, str]
    notes: tuple[str, ...] = ()


def admitted(tools: Instruments, x: Tensor, targets: Tensor, ids: Sequence[str]) -> Admitted:
    """Try every built-in method, at one sample and step, on the trained network and a few images.

    A guided rule that changes nothing is refused: it would silently be its plain counterpart. Explainers of libraries
    say themselves whether the network suits them.
    """
    kept, refused, notes = [], {}, []
    for method in tools.methods:
        try:
            notes += _try(tools, method, x, targets, ids)
            kept.append(method)
        except MethodError as error:
            refused[method.name] = str(error)
    return Admitted(tuple(kept), refused, tuple(notes))


def _try(
    tools: Instruments, method: Method, x: Tensor, targets: Tensor, ids: Sequence[str]
) -> list[str]:
    inputs = tools.inputs(x, targets, ids, "trained")
    cheap = cheapest(method)
    requests = requests_of(cheap, tools, x, targets, ids)
    foreign = [request for request in requests if isinstance(request, Foreign)]
    if foreign:  # tried where its rows are: it may be dear, and its failure spoils them alone
        return [note for request in foreign for note in _admitted_by(request, tools.network, x)]
    wanted = [Wanted(State("trained", {}, targets), (cheap,))]

    def once(size: int) -> Explained:
        setting = tools.setting(REFERENCE_STREAM, batch_size=size)
        (found,) = explain(tools.network, inputs, wanted, setting=setting)
        return found.maps[method.name]

    try:
        found = with_backoff(once, tools.network.largest_batch or max(1, len(x)))
    except SalsanityError:
        raise
    except (
        RuntimeError
    ) as error:  # what torch says of operations that a network and a method do not have in common
        if out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:200]
        raise MethodError(
            f"{method.name} does not run on this network ({type(error).__name__}: {said}); leave it out"
        ) from error
    if found.maps is None:  # a method of the user's that raises
        raise MethodError(f"{found.reasons[0]}; mend it, or leave it out")
    if isinstance(method, GuidedBackprop | GuidedGradCAM):
        most = tools.network.largest_batch
        _check_guided(tools.network, x[:most], targets[:most], method.name)
    return []


def _admitted_by(request: Foreign, network: Network, x: Tensor) -> Sequence[str]:
    """Ask a library's explainer whether the network suits it; whatever it does to the network is undone."""
    if request.admit is None:
        return ()
    with swapped(network, {}), torch.inference_mode(False), torch.enable_grad():
        return request.admit(network.module, x[:1].detach().clone())


def _check_guided(network: Network, x: Tensor, targets: Tensor, name: str) -> None:
    plain, guided = (
        differentiate(network, x[None], targets, rule=rule, taps=(None,)).at[None][1]
        for rule in (Rule.PLAIN, Rule.GUIDED)
    )
    if torch.equal(plain, guided) and bool(plain.any()):
        raise MethodError(
            f"{name} equals its plain counterpart on this network: the guided rule changed nothing; leave it out"
        )


def cheapest(method: Method) -> Method:
    """Return the method with one sample and one step, where it is one of ours."""
    changes = {name: 1 for name in ("samples", "steps_on_path") if hasattr(method, name)}
    return replace(method, **changes) if changes else method  # type: ignore[type-var]


def requests_of(
    method: Method, tools: Instruments, x: Tensor, targets: Tensor, ids: Sequence[str]
) -> tuple[Pass | Foreign, ...]:
    """Return the first passes that a method asks for."""
    steps = method.steps(tools.inputs(x, targets, ids, "trained"))
    try:
        return next(steps)
    except StopIteration:
        return ()
    except SalsanityError:
        raise
    except Exception as error:
        raise MethodError(
            f"{method.name} raised {type(error).__name__}: {error}{place_of(error)}; mend it, or leave it out"
        ) from error
    finally:
        steps.close()


def is_foreign(
    method: Method, tools: Instruments, x: Tensor, targets: Tensor, ids: Sequence[str]
) -> bool:
    """Whether a method is an explainer that is not ours, whose cost is not counted in passes."""
    return any(isinstance(r, Foreign) for r in requests_of(method, tools, x, targets, ids))


def comparison_seconds(x: Tensor, similarities: Sequence[Similarity[Any]]) -> float:
    """Time preparing a map of the inputs' size and comparing it, per image, in all views."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    maps = {"noise": Explained(noise, (None,) * len(x))}
    began = time.perf_counter()
    for cell, features in prepare(maps, similarities).items():
        similarity = next(s for s in similarities if s.name == cell[2])
        compare(similarity, features, features, [(i,) for i in range(len(x))])
    return (time.perf_counter() - began) / len(x)


def cost_by_method(
    tools: Instruments, x: Tensor, targets: Tensor, ids: Sequence[str]
) -> dict[str, int]:
    """Return the passes per image and state that each method would cost alone."""
    return {
        method.name: evaluations(requests_of(method, tools, x, targets, ids))
        for method in tools.methods
    }


def shared_cost(
    tools: Instruments,
    methods: Sequence[Method],
    x: Tensor,
    targets: Tensor,
    ids: Sequence[str],
) -> int:
    """Return the passes per image and state that `methods` cost together, equal passes once."""
    return evaluations([r for m in methods for r in requests_of(m, tools, x, targets, ids)])
