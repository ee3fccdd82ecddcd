"""The user's network: loaded, copied, traced, divided into blocks, its weights swapped and accounted for."""
