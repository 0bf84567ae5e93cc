"""Time and memory of a training step, ours against TRL RLOO at equal work (docs/speed.md)."""
