"""What 200 runs in one process leave in it: threads, open files, hooks, memory, settings of the caller."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attempts import fresh_folder, no_figures
from ledger import Ledger
from subject import honest, images, plain_gradient, raises_now_and_then

MOST_GROWTH = 30.0
"""MiB that the process may grow by after its first quarter."""


def resident() -> float:
    """Return the memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def settings(model: torch.nn.Module) -> dict[str, Any]:
    """Return what belongs to the caller, so that it can be compared."""
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "open files": len(list(Path("/proc/self/fd").iterdir())),
        "hooks": [
            len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks)
            for m in model.modules()
        ],
        "modes": [m.training for m in model.modules()],
        "weights": [p.detach().clone().numpy().tobytes() for p in model.parameters()],
        "gradients": [p.grad is None and p.requires_grad for p in model.parameters()],
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "NumPy's random state": np.random.get_state()[1].tobytes(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "number of threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "log": (
            logging.getLogger().level,
            len(logging.getLogger().handlers),
            logging.getLogger("salsanity").handlers,
        ),
        "working directory": Path.cwd(),
        "umask": _umask(),
    }


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def stress(ledger: Ledger, *, runs: int = 200) -> None:
    """Run `runs` times in this process; compare after the first ones and at the end."""
    import salsanity

    top = fresh_folder()
    model = honest().train()
    pictures = images()
    filters = list(warnings.filters)
    with ledger.entry(f"{runs} runs in one process: nothing stays behind") as entry, no_figures():
        early = 0.0
        for number in range(runs):
            folder = top / str(number)
            salsanity.model_randomization_test(
                model,
                pictures,
                methods=["gradient", "gradcam", plain_gradient, raises_now_and_then],
                similarities=["spearman"],
                out=folder,
                draws=1,
                max_images=4,
                samples=1,
                steps=1,
                gallery=1,
                batch_size=4,
                memory_format="contiguous",
            )
            shutil.rmtree(folder)
            gc.collect()
            if number == 3:
                before = settings(model)
            if number == runs // 4:
                early = resident()
            if number > 3:
                now = settings(model)
                changed = [name for name, value in before.items() if now[name] != value]
                entry.attempt(
                    not changed, f"run {number} changed the caller's {', '.join(changed)}"
                )
        growth = resident() - early
        entry.attempt(growth < MOST_GROWTH or runs < 50, f"memory grew by {growth:.0f} MiB")
        entry.remarks.append(f"{growth:+.1f} MiB from run {runs // 4} to run {runs}")
    entry.attempt(
        list(warnings.filters)[-len(filters) :] == filters,
        "the caller's filters of warnings changed",
    )
    shutil.rmtree(top)


if __name__ == "__main__":
    import sys

    found = Ledger()
    stress(found, runs=int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    print(found.table())
    sys.exit(bool(found.lost))
