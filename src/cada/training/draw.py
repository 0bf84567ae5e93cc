"""Which requests a step is given, and the seeds that follow from its place. Imports no torch."""

import hashlib
from collections.abc import Sequence
from random import Random

from cada.casebook.schema import Casebook
from cada.config.phase import Phase, Shares
from cada.config.recipe import Recipe
from cada.errors import CadaError
from cada.requests.sources import load_requests
from cada.requests.types import Request


def derive_seed(*parts: object) -> int:
    """A seed that depends on all parts, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


class RequestStream:
    """Draws each step's requests by shares; every request once before any comes again.

    The draw depends only on the seed and the step, so that a resumed run draws the same.
    """

    def __init__(self, requests: Sequence[Request], seed: int) -> None:
        self.seed = seed
        self.pools: dict[str, list[Request]] = {"harmful": [], "lookalike": [], "ordinary": []}
        for request in requests:
            self.pools[request.kind].append(request)

    def check(self, phases: Sequence[Phase]) -> None:
        """See that there are requests of every kind that a phase asks for.

        Raises:
            CadaError: the sources hold no request of a kind whose share is above 0.
        """
        for phase in phases:
            for kind, n in counts(phase.shares, phase.requests_per_step).items():
                if n and not self.pools[kind]:
                    raise CadaError(
                        f"no {kind} request to train on, but phase {phase.name!r} asks for them",
                        where=f"shares.{kind}",
                        mend="Add a source with such requests, or set the share to 0",
                    )

    def draw(self, phase: Phase, step: int) -> list[Request]:
        """The requests of step `step` (from 0) of a phase that has been checked."""
        return [
            self._nth(phase.name, kind, step * n + i)
            for kind, n in counts(phase.shares, phase.requests_per_step).items()
            for i in range(n)
        ]

    def _nth(self, phase: str, kind: str, index: int) -> Request:
        pool = self.pools[kind]
        order = list(range(len(pool)))
        Random(derive_seed(self.seed, phase, kind, index // len(pool))).shuffle(order)
        return pool[order[index % len(pool)]]


def training_requests(recipe: Recipe, casebook: Casebook) -> list[Request]:
    """The requests that a recipe trains on: those of its sources, or `requests.distinct` of them.

    Raises:
        CadaError: a source cannot be read, or holds fewer of a kind than are to be drawn.
    """
    found = [r for source in recipe.requests.train for r in load_requests(source, casebook)]
    if recipe.requests.distinct is None:
        return found
    first, stream = recipe.stages[0], RequestStream(found, recipe.seed)
    for kind, n in counts(first.shares, recipe.requests.distinct).items():
        if n > len(stream.pools[kind]):
            raise CadaError(
                f"asks for {n} {kind} requests, and the sources hold {len(stream.pools[kind])}",
                where="requests.distinct",
                mend="Lower it, add a source, or change the first phase's shares",
            )
    whole = first.model_copy(update={"requests_per_step": recipe.requests.distinct})
    return stream.draw(whole, 0)


def counts(shares: Shares, total: int) -> dict[str, int]:
    """Whole numbers of requests by kind that add up to `total` (largest remainders first)."""
    exact = {k: v * total for k, v in shares.model_dump().items()}
    whole = {k: int(v + 1e-9) for k, v in exact.items()}
    left = sorted(exact, key=lambda k: (whole[k] - exact[k], k))
    for kind in left[: total - sum(whole.values())]:
        whole[kind] += 1
    return whole
