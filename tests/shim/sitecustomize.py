"""Lets torchvision be imported beside a torch that its compiled part was not built for.

The wheel of torchvision on the package index is linked to CUDA; beside the CPU build of torch its
operators are missing, and the import fails with "operator torchvision::nms does not exist".
Declaring two of them is enough for models, transforms and feature extraction (the only use made of
it here). Tests and benchmarks put this folder on PYTHONPATH, so that commands they start have it
too; salsanity itself neither needs nor ships it. Nothing is loaded until torchvision is imported.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder

_KEPT = []  # torch forgets the operators when the library object goes


class _BeforeTorchvision:
    """A finder that finds nothing, and declares the operators when torchvision is asked for."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(_BeforeTorchvision)
            _declare()


def _declare():
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    if hasattr(torch.ops.torchvision, "nms") or _loads(torch):
        return  # declared already (this file can be loaded twice in one process), or the real ones
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)


def _loads(torch):
    """Whether torchvision's own operators can be loaded, as they can where the builds match."""
    spec = PathFinder.find_spec("torchvision")
    folders = list(spec.submodule_search_locations) if spec else []
    extension = PathFinder.find_spec("torchvision._C", folders) if folders else None
    if extension is None or extension.origin is None:
        return False
    try:
        torch.ops.load_library(extension.origin)
    except (OSError, RuntimeError):
        return False
    return True


sys.meta_path.insert(0, _BeforeTorchvision)
