"""Attacks by name, for the solver."""

from collections.abc import Sequence

from cada.attacks.types import NO_ATTACK, Attempt
from cada.errors import CadaError
from cada.prompting.deliberation import FormatStyle
from cada.requests.types import Request


def attempts_of(attack: str, requests: Sequence[Request], style: FormatStyle) -> list[Attempt]:
    """The attempts that an attack's name stands for.

    Raises:
        CadaError: there is no such attack.
    """
    if attack != NO_ATTACK:
        raise CadaError(f"there is no attack {attack!r}", where="attack", mend="Use none")
    return [Attempt.plain(request) for request in requests]
