"""Where `print_of` was found before it moved to `units`."""

from salsanity.units.identity import print_of

__all__ = ["print_of"]
