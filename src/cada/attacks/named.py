"""The attacks by name: what there is, and the attempts that a name stands for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from cada.attacks import pair, static
from cada.attacks.file import AttackFile, read_attack_file
from cada.attacks.pap import TECHNIQUES
from cada.attacks.static import OFFLINE
from cada.attacks.suffix import suffixed
from cada.attacks.types import NO_ATTACK, Attempt
from cada.errors import CadaError
from cada.prompting.deliberation import FormatStyle
from cada.requests.types import Request

PARAPHRASE = "paraphrase"
SUFFIX = "suffix:"


@dataclass(frozen=True)
class Entry:
    """An attack that there is; `needs` is what it takes beside the requests."""

    name: str
    about: str
    needs: str
    source: str

    def as_dict(self) -> dict[str, str]:
        """The entry as plain data."""
        return asdict(self)


_PAP = [
    Entry(name, f"rewrites the request with {t.name}", "an attacker", "Zeng et al. 2024")
    for name, t in TECHNIQUES.items()
]
CATALOGUE = (
    *(Entry(name, each.about, "nothing", each.source) for name, each in OFFLINE.items()),
    Entry(f"{SUFFIX}FILE", "puts a string of yours behind the request", "a file", "GCG and others"),
    Entry(PARAPHRASE, "keeps the meaning and changes the words", "an attacker or --texts", "ours"),
    *_PAP,
    Entry(
        pair.NAME,
        "refines a prompt on the answers of a target",
        "an attacker, a target and a judge",
        "Chao et al. 2023",
    ),
)
"""Every attack, in the order in which they are listed."""

WITH_ATTACKER = (PARAPHRASE, *TECHNIQUES, pair.NAME)


def attempts_of(
    attack: str, requests: Sequence[Request], style: FormatStyle = FormatStyle.HEADINGS
) -> list[Attempt]:
    """The attempts that an attack's name on the command line stands for.

    Args:
        attack: `none`, one of the offline attacks, `suffix:FILE`, or a frozen attack file.
        requests: what is asked.
        style: how the model under test marks its analysis.

    Raises:
        CadaError: there is no such attack, it must be built first, or its file is wrong.
    """
    if attack == NO_ATTACK:
        return [Attempt.plain(request) for request in requests]
    if attack.startswith(SUFFIX):
        return suffixed(Path(attack.removeprefix(SUFFIX)), requests)
    if attack in OFFLINE:
        return static.attempts(attack, requests, style)
    if attack.endswith(".jsonl") or Path(attack).is_file():
        return _read_once(Path(attack)).apply(requests)
    if attack in WITH_ATTACKER:
        raise CadaError(
            f"{attack} needs an attacker model, and its prompts are made beforehand",
            where="attack",
            mend=f"Make them with `cada attack build {attack} …` and give the file",
        )
    raise unknown(attack)


def _read_once(path: Path) -> AttackFile:
    """The file, read again only when it has changed: inspect_ai asks for one request at a time."""
    try:
        stat = path.stat()
    except OSError:
        return read_attack_file(path)  # which says what is wrong
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> AttackFile:
    return read_attack_file(path)


def unknown(attack: str) -> CadaError:
    """What to say of a name that is no attack's."""
    names = [NO_ATTACK, *(entry.name for entry in CATALOGUE)]
    return CadaError(
        f"there is no attack {attack!r}",
        where="attack",
        mend=f"The attacks are {', '.join(names)}, or a file that `cada attack build` made",
    )
