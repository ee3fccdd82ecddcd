"""`Network`: the project's own copy of a user's classifier, and `prepare`, which makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from salsanity.errors import ModelError
from salsanity.models.blocks import Block, BlockChoice, blocks_of, count_weight_layers
from salsanity.models.copying import copied, eagerly, settled, unwrapped
from salsanity.models.hidden import check_nothing_hidden, note_on_outside
from salsanity.models.hooks import Hooks, refuse_global_hooks
from salsanity.models.outputs import Choice, logits_in, remember
from salsanity.models.saved import SavedModule, saved_modules
from salsanity.models.slots import Key, Slot, fingerprint_of, slots_of, values_of
from salsanity.models.tracing import Trace
from salsanity.models.trial import Trial, without_left_hooks

__all__ = [
    "Block",
    "MemoryFormat",
    "Network",
    "copied",
    "lay_out",
    "logits_in",
    "prepare",
    "unwrapped",
]

MemoryFormat = Literal["contiguous", "channels_last"]


@final
@dataclass(frozen=True, eq=False)
class Network:
    """The project's own copy of a classifier: eval mode, no parameter wants a gradient.

    `blocks`: bottom (first executed) first. `trained`: a second copy of every parameter and buffer, layer -> tensor name
    -> values, never shown to foreign code; `homes`: where their originals lie. `fingerprint`: SHA-256 over names, dtypes,
    shapes and bytes of parameters and buffers. `clean`: the modules as they were before any pass. `output`: which of
    several outputs are the logits. `notes`: sentences that a run and its report tell. `largest_batch`: in which an image
    may be explained; None: any.
    """

    module: nn.Module
    blocks: tuple[Block, ...]
    trace: Trace
    name: str
    fingerprint: str
    slots: tuple[Slot, ...]
    trained: Mapping[str, Mapping[str, Tensor]]
    homes: dict[Key, int]
    device: torch.device
    clean: tuple[SavedModule, ...] = ()
    output: Choice | None = None
    notes: tuple[str, ...] = ()
    largest_batch: int | None = None

    @property
    def classes(self) -> int:
        """How many classes the logits have."""
        return self.trace.logits_shape[1]

    @property
    def parameters(self) -> int:
        """How many numbers the network learned; tied ones count once."""
        learned = (
            s for s in self.slots if s.kind == "parameter" or self.trace.kinds[s.key] == "learned"
        )
        return sum(slot.tensor.numel() for slot in learned)

    @property
    def weight_layers(self) -> int:
        """How many layers with a weight matrix the forward pass uses; from three on there should be a `half`."""
        return count_weight_layers(self.module, self.trace)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits, (B, classes), of a batch (B, ...), which stays as it is."""
        if self.largest_batch is not None and len(x) > self.largest_batch:
            return torch.cat([self.logits(part) for part in torch.split(x, self.largest_batch)])
        found = logits_in(self._output(x), self.output)
        found = found if x.requires_grad or torch.is_grad_enabled() else found.detach()
        if found.shape != (len(x), self.classes):
            raise ModelError(
                f"Expected logits of shape {(len(x), self.classes)} as for the first image, the network "
                f"returned {tuple(found.shape)}. Let it give each image its own row, and always the same classes"
            )
        return found

    def _output(self, x: Tensor) -> object:
        given = x.clone() if self.trace.overwrites_input else x
        try:
            with eagerly():
                return self.module(given)
        except RuntimeError as error:
            # A network that hooks its own activations, as those that propagate relevance do, needs gradients.
            if given.requires_grad or "register a hook" not in str(error):
                raise
        with torch.inference_mode(False), torch.enable_grad(), eagerly():
            return self.module(x.detach().clone().requires_grad_().clone())


def lay_out(network: Network, memory_format: MemoryFormat) -> bool:
    """Lay the weights of two-dimensional convolutions out in a memory format; say whether there are any.

    Their values stay the same. Convolutions pass the format of their weights on to what follows them.
    """
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    kernels = [slot for slot in network.slots if slot.tensor.ndim == 4]
    for slot in kernels:
        data = slot.tensor.data.contiguous(memory_format=formats[memory_format])
        slot.tensor.data = data
        network.homes[slot.key] = data.data_ptr()
    return bool(kernels)


def prepare(
    model: nn.Module,
    example: Tensor,
    *,
    blocks: BlockChoice = "auto",
    device: torch.device | str | None = None,
    name: str = "",
    output: Choice | None = None,
    hooks: Hooks = "drop",
) -> Network:
    """Copy a classifier, put the copy in eval mode, and learn its layers from one forward pass.

    `example`: one or more inputs, (N, C, H, W) or whatever the network takes. `device`: where the
    copy lives; by default where the model is. `output`: which of several outputs are the logits. `hooks`: whether hooks that
    are none of torch's own are left off the copy. `model` itself is never changed.

    Raises ModelError when the model cannot be copied or run on the example, has nothing learned, has
    values that are not finite, reads trained values that are no parameters or buffers of its own, or returns no (N, classes)
    of at least two classes.
    """
    refuse_global_hooks()
    original, module = unwrapped(model), copied(model)
    where = _device(module, device)
    module = settled(module, where)
    slots = slots_of(module)
    _check_values(slots)
    trained, fingerprint = values_of(slots), fingerprint_of(slots)
    remember(module, output)
    passed = without_left_hooks(Trial(module, example.to(where), output), hooks)
    traced = passed.trace
    _restore(slots, trained)
    check_nothing_hidden(slots, traced, original)
    _check_second_call(Trial(module, example.to(where), output), slots, traced)
    _restore(slots, trained)
    if "learned" not in traced.kinds.values():
        raise _nothing_learned(module)
    notes = (*passed.notes, note_on_outside(traced))
    return Network(
        module=module,
        blocks=blocks_of(module, traced, blocks),
        trace=traced,
        name=name or type(module).__name__,
        fingerprint=fingerprint,
        slots=slots,
        trained=trained,
        homes={slot.key: slot.tensor.data_ptr() for slot in slots},
        device=where,
        clean=saved_modules(module),
        output=output,
        notes=tuple(note for note in notes if note is not None),
    )


def _check_second_call(trial: Trial, slots: tuple[Slot, ...], first: Trace) -> None:
    """Raise ModelError where a second call reads, in place of weights, what the first one computed of them and kept."""
    second = trial.run().trace
    gone = [
        slot.path
        for slot in slots
        if first.kinds[slot.key] == "learned" and slot.key not in second.uses
    ]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise ModelError(
            f"The network keeps what it computed of {gone[0]}{more} from one call to the next, in a place that cannot be "
            "emptied (functools.cache, a table outside of its modules), and would go on with trained values. Let it compute "
            "that anew in every call, or keep it in an attribute of the module"
        )


def _nothing_learned(module: nn.Module) -> ModelError:
    if any(".quantized." in f"{type(part).__module__}." for part in module.modules()):
        return ModelError(
            f"The network {type(module).__name__} runs quantised layers, whose weights are packed where they cannot be "
            "randomised. Give the network before it was quantised"
        )
    return ModelError(
        f"The network {type(module).__name__} has no parameters, so there is nothing to randomise. Give a trained network"
    )


def _device(module: nn.Module, device: torch.device | str | None) -> torch.device:
    first = next((slot.tensor for slot in slots_of(module)), None)
    if first is None:
        raise _nothing_learned(module)
    return torch.device(device) if device is not None else first.device


def _restore(slots: tuple[Slot, ...], trained: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Undo what the trial wrote into buffers: batch norms that a network itself puts into training mode."""
    with torch.no_grad():
        for slot in slots:
            if not torch.equal(slot.tensor, trained[slot.layer][slot.name]):
                slot.tensor.copy_(trained[slot.layer][slot.name])


def _check_values(slots: tuple[Slot, ...]) -> None:
    for slot in slots:
        is_number = slot.tensor.is_floating_point() or slot.tensor.is_complex()
        if is_number and not bool(slot.tensor.isfinite().all()):
            bad = int((~slot.tensor.isfinite()).sum())
            if slot.kind == "buffer" and slot.tensor.isnan().sum() == 0:
                continue  # a mask of attention: -inf where nothing is seen
            raise ModelError(
                f"The network's {slot.kind} {slot.path} has {bad} values that are NaN or infinite. Give weights from a training "
                "that did not diverge"
            )
