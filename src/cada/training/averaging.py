"""The mean of a phase's last weights (Polyak and Juditsky 1992).

It is kept in the optimiser's state: there it is saved, restored and sharded with the moments.
"""

from typing import Any

import torch

_MEAN, _COUNT = "mean_weight", "mean_count"


@torch.no_grad()
def add_to_mean(optimiser: Any) -> None:
    """Take the weights as they are now into the mean of those that this optimiser trains."""
    for weight, state in optimiser.state.items():
        if not state:  # its gradient was not finite, and no update has been taken yet
            continue
        if _MEAN not in state:
            state[_MEAN] = weight.detach().clone()
            state[_COUNT] = torch.tensor(1.0)
            continue
        state[_COUNT] += 1
        state[_MEAN].lerp_(weight.detach(), 1 / float(state[_COUNT]))


@torch.no_grad()
def end_with_mean(optimiser: Any) -> bool:
    """Put the mean in the weights' place, and forget it; says whether there was one."""
    found = False
    for weight, state in optimiser.state.items():
        if _MEAN in state:
            weight.copy_(state.pop(_MEAN))
            del state[_COUNT]
            found = True
    return found
