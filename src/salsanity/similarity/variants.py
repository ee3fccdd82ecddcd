"""Names for similarities with other than the default settings: two settings never share a name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def variant_name(base: str, similarity: Any) -> str:
    """Return `base` for the default settings, else with what differs, e.g. `ssim(window=5)`."""
    changed = [
        f"{field.name}={getattr(similarity, field.name)}"
        for field in fields(similarity)
        if getattr(similarity, field.name) != field.default
    ]
    return f"{base}({','.join(changed)})" if changed else base
