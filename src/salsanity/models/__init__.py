"""The user's network: loaded, copied, traced, divided into blocks, swapped, accounted for."""
