"""Draw requests evenly over the hazards."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace as replaced
from itertools import chain, islice

from cada.errors import CadaError
from cada.requests.types import Request


def sample(
    requests: Sequence[Request],
    n: int,
    seed: int,
    cap_per_hazard: int | None = None,
    replace: bool = False,
) -> list[Request]:
    """Draw `n` requests, as many of each hazard as of the others while they last.

    The draw goes round the hazards and takes one of each a turn; requests without a hazard count
    as one more hazard. No request comes twice unless `replace` is set and every request (up to
    the cap) has been taken; repetitions then go to the hazards that have fewest, and the second
    copy's id ends in `#2`. The result is in random order and depends on the arguments alone.

    Raises:
        CadaError: there are fewer than `n` to draw.
    """
    random_ = random.Random(seed)
    groups = _shuffled_groups(requests, random_)
    cap = n if cap_per_hazard is None else cap_per_hazard
    taken = dict.fromkeys(groups, 0)
    drawn = list(islice(_rounds(groups, taken, cap), n))
    if replace and groups:
        drawn += islice(_repeats(groups, taken, cap), n - len(drawn))
    if len(drawn) < n:
        raise CadaError(
            f"{n} requests were asked for and {len(drawn)} can be drawn "
            f"({len(groups)} hazards, at most {cap} each)",
            mend="Ask for fewer, raise the cap, or allow repetition",
        )
    random_.shuffle(drawn)
    return drawn


def _shuffled_groups(
    requests: Sequence[Request], random_: random.Random
) -> dict[str | None, list[Request]]:
    groups: dict[str | None, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.hazard, []).append(request)
    order = list(groups)
    random_.shuffle(order)
    for group in groups.values():
        random_.shuffle(group)
    return {hazard: groups[hazard] for hazard in order}


def _rounds(
    groups: dict[str | None, list[Request]], taken: dict[str | None, int], cap: int
) -> Iterator[Request]:
    """One of each hazard a turn, each request once; `taken` counts along."""
    turns = min(cap, max(map(len, groups.values()), default=0))
    for turn in range(turns):
        for hazard, group in groups.items():
            if turn < len(group):
                taken[hazard] += 1
                yield group[turn]


def _repeats(
    groups: dict[str | None, list[Request]], taken: dict[str | None, int], cap: int
) -> Iterator[Request]:
    """Further copies, to the hazard with fewest first, until each has reached the cap."""
    levels = range(min(taken.values()), cap)
    behind = ([h for h in groups if taken[h] <= level] for level in levels)
    for hazard in chain.from_iterable(behind):
        group = groups[hazard]
        copy, index = divmod(taken[hazard], len(group))
        taken[hazard] += 1
        yield replaced(group[index], id=f"{group[index].id}#{copy + 1}")
