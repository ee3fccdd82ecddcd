"""`Network`: the project's own copy of a user's classifier, and `prepare`, which makes it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from salsanity.errors import ModelError
from salsanity.models.blocks import Block, BlockChoice, blocks_of, count_weight_layers
from salsanity.models.slots import Key, Slot, fingerprint_of, slots_of, tensors_in, values_of
from salsanity.models.tracing import Trace, trace

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

    `blocks`: bottom (first executed) first. `trained`: a second copy of every parameter and buffer,
    layer -> tensor name -> values, never shown to foreign code; `homes`: where their originals lie.
    `fingerprint`: SHA-256 over names, dtypes, shapes and bytes of parameters and buffers.
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

    @property
    def classes(self) -> int:
        """How many classes the logits have."""
        return self.trace.logits_shape[1]

    @property
    def parameters(self) -> int:
        """How many numbers the network learned; tied ones count once."""
        return sum(slot.tensor.numel() for slot in self.slots if slot.kind == "parameter")

    @property
    def weight_layers(self) -> int:
        """How many layers with a weight matrix the forward pass uses; from three on there should be a `half`."""
        return count_weight_layers(self.module, self.trace)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits, (B, classes), of a batch (B, ...)."""
        found = logits_in(self.module(x))
        if found.shape != (len(x), self.classes):
            raise ModelError(
                f"Expected logits of shape {(len(x), self.classes)} as for the first image, the network "
                f"returned {tuple(found.shape)}. Let it give each image its own row, and always the same classes"
            )
        return found


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


def logits_in(output: object) -> Tensor:
    """Find the logits in what a classifier returned.

    A tensor; the first of a tuple or list (Inception's auxiliary outputs follow); or the `logits`
    of a mapping or dataclass. Raises ModelError for anything else, and for shapes other than (N,
    classes).
    """
    value = _unwrapped(output)
    if not isinstance(value, Tensor):
        raise ModelError(
            "Expected logits as a tensor (N, classes), a tuple that starts with them, or a "
            "mapping or "
            f"object with `logits`; the network returned {type(output).__name__}. Wrap it in a "
            "module "
            "that returns the logits"
        )
    if value.ndim != 2:
        raise ModelError(
            f"Expected logits of shape (N, classes), the network returned {tuple(value.shape)}. "
            "Wrap it in a module that returns one row of logits per image"
        )
    return value


def _unwrapped(output: object) -> object:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return output.get("logits")
    if getattr(output, "logits", None) is not None:
        return output.logits  # type: ignore[attr-defined]
    if isinstance(output, tuple | list) and output:
        return output[0]
    return None


def prepare(
    model: nn.Module,
    example: Tensor,
    *,
    blocks: BlockChoice = "auto",
    device: torch.device | str | None = None,
    name: str = "",
) -> Network:
    """Copy a classifier, put the copy in eval mode, and learn its layers from one forward pass.

    `example`: one or more inputs, (N, C, H, W) or whatever the network takes. `device`: where the
    copy lives; by default where the model is. `model` itself is never changed.

    Raises ModelError when the model cannot be copied or run on the example, has no parameters, has
    values that are not finite, or returns no (N, classes) of at least two classes.
    """
    module = copied(model)
    where = _device(module, device)
    module = module.to(where).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.grad = None
    slots = slots_of(module)
    _check_values(slots)
    trained, fingerprint = values_of(slots), fingerprint_of(slots)
    traced = _traced(module, example.to(where))
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
    )


def copied(model: nn.Module) -> nn.Module:
    """Copy a module deeply, also where it holds tensors that autograd made (weight norm's hook).

    Wrappers for parallel or compiled running are taken off. Raises ModelError for TorchScript, for
    lazy layers that never got weights, and where Python cannot copy the model.
    """
    module = unwrapped(model)
    memo: dict[int, Any] = {}
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(
                f"Expected an eager nn.Module, got TorchScript ({type(part).__name__}): its "
                "layers cannot "
                "be randomised one by one. Give the Python model that it was compiled from"
            )
        for tensor in tensors_in(vars(part)):
            if not tensor.is_leaf:
                memo[id(tensor)] = tensor.detach().clone()
    _check_lazy(module)
    try:
        return _with_own_classes(copy.deepcopy(module, memo))
    except (RuntimeError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"The network {type(module).__name__} cannot be copied ({error}); salsanity works on "
            "a copy "
            "only. Remove what cannot be copied (open files, locks, generators) from its attributes"
        ) from error


def _with_own_classes(module: nn.Module) -> nn.Module:
    """Give parametrised layers a class of their own: torch keeps their properties in the class."""
    for part in module.modules():
        if is_parametrized(part):
            kind = type(part)
            part.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
    return module


def unwrapped(model: object) -> nn.Module:
    """Take off what wraps a module for parallel or compiled running; ModelError for others."""
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"Expected a torch.nn.Module, got {type(model).__name__}. Give the network itself, "
            "not a "
            "state dict or a path"
        )
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    inner = model.module if isinstance(model, wrappers) else getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def _check_lazy(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ModelError(
                f"The lazy layer of {name} has no weights yet, so there is nothing trained to "
                "check. "
                "Run the network once on real input, or load trained weights"
            )


def _device(module: nn.Module, device: torch.device | str | None) -> torch.device:
    first = next(module.parameters(), None)
    if first is None:
        raise ModelError(
            f"The network {type(module).__name__} has no parameters, so there is nothing to "
            "randomise. "
            "Give a trained network"
        )
    return torch.device(device) if device is not None else first.device


def _check_values(slots: tuple[Slot, ...]) -> None:
    for slot in slots:
        if slot.tensor.is_floating_point() and not bool(slot.tensor.isfinite().all()):
            bad = int((~slot.tensor.isfinite()).sum())
            raise ModelError(
                f"The network's {slot.kind} {slot.path} has {bad} values that are NaN or "
                "infinite. Give "
                "weights from a training that did not diverge"
            )


def _traced(module: nn.Module, example: Tensor) -> Trace:
    devices = [example.device] if example.device.type == "cuda" else []
    scores: list[Tensor] = []

    def keep(output: object) -> Tensor:
        scores.append(logits_in(output))
        return scores[0]

    try:
        with torch.random.fork_rng(devices=devices):
            found = trace(module, example, logits=keep)
    except ModelError:
        raise
    except Exception as error:
        kinds = {str(p.dtype) for p in module.parameters() if p.is_floating_point()}
        others = sorted(kinds - {str(example.dtype)})
        advice = (
            f"Its weights are {others[0]} and the images {example.dtype}: convert one of them"
            if others
            else "Check the input's size and channels"
        )
        raise ModelError(
            f"The network {type(module).__name__} does not run, forward and backward, on an example of "
            f"shape {tuple(example.shape)}: {type(error).__name__}: {error}. {advice}"
        ) from error
    _check_scores(scores[0].detach(), len(example))
    return found


def _check_scores(scores: Tensor, images: int) -> None:
    shape = tuple(scores.shape)
    if shape[0] != images:
        raise ModelError(
            f"Expected one row of logits for each of {images} images, the network returned "
            f"{shape}. "
            "Wrap it in a module that keeps the batch as the first axis"
        )
    if shape[1] < 2:
        raise ModelError(
            f"Expected logits of at least two classes, the network returned {shape}. Wrap a "
            "network with "
            "one output z in a module that returns torch.cat([-z, z], dim=1)"
        )
    if not bool(scores.isfinite().all()):
        raise ModelError(
            "The network returns logits that are NaN or infinite for the first image. Check its "
            "weights "
            "and the preprocessing of the images"
        )
