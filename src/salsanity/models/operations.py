"""The operations of torch by what they do with a tensor that was not computed from the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from torch import Tensor

Role = Literal["matrix", "lookup", "arithmetic", "preprocessing", "statistics"]
"""How a tensor meets what was computed from the input: as the weight of a linear map (convolution, product, distances), as
a table that is looked up in, by multiplying or adding, the same before anything learned has been met, or as the mean or
variance of a batch norm."""

CONVOLUTIONS: Final = frozenset(
    {"convolution", "_convolution", "_convolution_mode", "convolution_overrideable"}
    | {"mkldnn_convolution", "cudnn_convolution", "cudnn_convolution_transpose"}
    | {"slow_conv_transpose2d", "slow_conv_transpose3d", "miopen_convolution"}
    | {"_slow_conv2d_forward", "slow_conv3d_forward", "_conv_depthwise2d", "conv_depthwise3d"}
)
_MATRIX: Final = CONVOLUTIONS | frozenset(
    {
        *("mm", "addmm", "_addmm_activation", "bmm", "baddbmm", "addbmm", "matmul", "linear"),
        *("mv", "addmv", "addr", "dot", "vdot", "einsum", "_trilinear", "bilinear"),
        *("_sparse_addmm", "_sparse_mm", "mkldnn_linear", "_mkl_linear"),
        *("_linear_prepack", "_scaled_mm", "_int_mm"),
        *("_weight_int8pack_mm", "_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu"),
        *("_cdist_forward", "_euclidean_dist", "cdist"),
        *("mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn", "lstm", "gru", "rnn_tanh", "rnn_relu"),
        *("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "lstm_cell", "gru_cell"),
        *("_native_multi_head_attention", "_transformer_encoder_layer_fwd"),
    }
)
_ATTENTION: Final = "scaled_dot_product"
"""In the names of operations that take queries, keys, values, and a mask or bias to add."""

LOOKUPS: Final = frozenset(
    {"embedding", "_embedding_bag", "_embedding_bag_forward_only", "index", "index_select"}
    | {"gather", "take", "grid_sampler_2d", "grid_sampler_3d"}
)
_NORMS: Final = frozenset(
    {"native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"}
    | {"cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_no_update", "_batch_norm_with_update"}
)
_ARITHMETIC: Final = frozenset(
    {"add", "sub", "rsub", "mul", "div", "addcmul", "addcdiv", "lerp", "pow", "_prelu_kernel"}
    | {"native_layer_norm", "native_group_norm", "_fused_rms_norm", "cat", "stack", "prelu"}
)
TORCHS_OWN: Final = frozenset(
    {"aten", "prim", "prims", "profiler", "inductor", "c10d", "quantized"}
)
"""Namespaces of operators whose names are known here; others bring convolutions and products of their own."""

FEWEST_WEIGHTS: Final = 100
"""Normalisation has fewer numbers."""

_ROUNDING: Final = ("fake_quant", "fused_moving_avg")
"""In the names of operations that round as quantisation would."""

_STATISTICS_AT: Final = (3, 4)
"""Positions of a batch norm's running mean and variance among its arguments."""


def name_of(func: Any) -> tuple[str, str]:
    """Return an operator's namespace and name, without its overload."""
    namespace, _, name = func._schema.name.partition("::")
    return namespace, name


def role_of(
    name: str, args: Sequence[Any], position: int, tensor: Tensor, weighed: bool
) -> Role | None:
    """What an operation does with an operand that is not from the input, where another one is.

    Without a `name` it is somebody's own operator: whatever is wider than a vector counts as a matrix.
    """
    if not name:
        return "matrix" if tensor.ndim > 1 else "arithmetic"
    plain = name.removesuffix("_")
    if name in _NORMS and any(len(args) > i and args[i] is tensor for i in _STATISTICS_AT):
        return "statistics"
    if name in _MATRIX or plain in _MATRIX or (_ATTENTION in name and position < 3):
        return "matrix"
    if name in LOOKUPS:
        return "lookup" if position == 0 else None
    if name in _NORMS or name in _ARITHMETIC or plain in _ARITHMETIC or _ATTENTION in name:
        return "arithmetic" if weighed else "preprocessing"
    return None


def spreads(tensor: Tensor, widest: int) -> bool:
    """Whether an operand makes several results of each number of the input, as a layer does that is written as a sum of products.

    Means and deviations that make three channels of one have few numbers.
    """
    return tensor.numel() > max(widest, FEWEST_WEIGHTS)


def maps(name: str) -> bool:
    """Whether an operation is a product, a look-up or rounding: what a parameter does that others are made of."""
    return name in _MATRIX or name in LOOKUPS or any(part in name for part in _ROUNDING)
