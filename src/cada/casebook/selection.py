"""Choose which cases a prompt shows."""

from math import floor
from random import Random

from cada.casebook.schema import Case, Casebook, CaseKind
from cada.errors import CadaError


def select_cases(
    casebook: Casebook, hazard: str | None, k: int, refuse_share: float, seed: int
) -> tuple[Case, ...]:
    """Choose `k` cases, the same ones for the same arguments.

    `refuse_share` of them, rounded half up, refuse and the others comply; when one kind runs out,
    the other fills its places. The order is shuffled, so that a kind has no fixed place. With
    `hazard` None the cases come from as many hazards as there are places: the fixed mixed set for
    a request without a label (METHOD: whose cases a request sees at inference is open).

    Raises:
        CadaError: k < 1, more than there are cases, a share outside [0, 1], an unknown hazard.
    """
    if k < 1:
        raise CadaError(f"{k} cases cannot be chosen", mend="Ask for at least 1")
    if not 0 <= refuse_share <= 1:
        raise CadaError(
            f"the share of refusing cases is {refuse_share}", mend="Give a number from 0 to 1"
        )
    pools = _pools(casebook, hazard)
    available = sum(len(pool) for pool in pools)
    if k > available:
        place = f"the hazard '{hazard}'" if hazard else "the whole casebook"
        raise CadaError(
            f"{k} cases are asked for but {place} has {available}",
            where=f"casebook '{casebook.name}'",
            mend="Add cases or ask for fewer",
        )
    random = Random(f"{seed}/{hazard}")
    for pool in pools:
        random.shuffle(pool)
    random.shuffle(pools)
    # Rounding first keeps float noise (0.29 * 50 = 14.4999…) from moving a true half.
    refusing = floor(round(k * refuse_share, 9) + 0.5)
    kinds = [CaseKind.REFUSE] * refusing + [CaseKind.COMPLY] * (k - refusing)
    random.shuffle(kinds)
    chosen = [_draw(pools, kind) for kind in kinds]
    random.shuffle(chosen)
    return tuple(chosen)


def another_hazard(casebook: Casebook, hazard: str, seed: int) -> str:
    """A hazard other than that one, the same for the same arguments.

    Raises:
        CadaError: the casebook has one hazard alone.
    """
    others = [each.id for each in casebook.hazards if each.id != hazard]
    if not others:
        raise CadaError(
            "cases of another hazard are asked for and there is one hazard alone",
            where=f"casebook '{casebook.name}'",
            mend="Set prompting.cases_of: own",
        )
    return Random(f"{seed}/{hazard}/other").choice(others)


def _pools(casebook: Casebook, hazard: str | None) -> list[list[Case]]:
    """The cases to draw from, a list a hazard."""
    if hazard is None:
        return [list(each.cases) for each in casebook.hazards]
    try:
        return [list(casebook.hazard(hazard).cases)]
    except KeyError:
        known = ", ".join(each.id for each in casebook.hazards)
        raise CadaError(
            f"there is no hazard '{hazard}'",
            where=f"casebook '{casebook.name}'",
            mend=f"Use one of: {known}",
        ) from None


def _draw(pools: list[list[Case]], kind: CaseKind) -> Case:
    """Take a case of that kind, or of the other when none is left.

    A pool that was drawn from goes to the end, so that each hazard gives one before any gives two.
    """
    for wanted in ({kind}, set(CaseKind)):
        for index, pool in enumerate(pools):
            for position, case in enumerate(pool):
                if case.kind in wanted:
                    pools.append(pools.pop(index))
                    return pool.pop(position)
    raise AssertionError("there are at least as many cases as draws")
