"""The comparison as one self-contained HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass

from cada.evaluation.answers import Answer
from cada.judging.known import agreement
from cada.judging.verdict import Outcome
from cada.reporting.compare.figures import by_hazard, colour_of, planes
from cada.reporting.compare.load import Measured
from cada.reporting.compare.table import SURE, Line, items
from cada.reporting.compare.text import place_name, show_p
from cada.reporting.page import render_page
from cada.reporting.tables import mode_name, signed
from cada.reporting.transcripts import is_right

# Transcripts shown of a set and attack, of its harmful requests and of its harmless ones.
_A_KIND = 4


@dataclass(frozen=True)
class Item:
    """One request with every model's answer to it; None where a model has none.

    `sent` holds the texts that an attack made of it, one where all models saw the same.
    """

    request: str
    kind: str
    sent: tuple[str, ...]
    answers: tuple[Answer | None, ...]


def render(models: Sequence[Measured], lines: Sequence[Line], notes: Sequence[str]) -> str:
    """The page."""
    modes = list(dict.fromkeys(a.mode for a in models[0].answers))
    mode = "none" if "none" in modes else modes[0]
    drawn = planes(models)
    hazards = by_hazard(models, mode)
    names = [m.name for m in models]
    return render_page(
        "compare/compare.html.j2",
        {panel.id: panel.figure for panel in drawn.panels},
        names=names,
        colours=[colour_of(i) for i in range(len(models))],
        headline=headline(models, lines, mode),
        notes=notes,
        lines=lines,
        sure=SURE,
        place_name=place_name,
        points=lambda value: signed(100 * value, 1),
        show_p=show_p,
        panels=drawn.panels,
        signs=drawn.signs,
        mode=mode_name(mode),
        harm_by_hazard=[(h.name, h.harm) for h in hazards if any(b.value for b in h.harm)],
        refused_by_hazard=[(h.name, h.refused) for h in hazards if any(b.value for b in h.refused)],
        groups=transcripts(models, mode),
        facts=[
            (
                m.name,
                f"{m.model}, {len(m.answers)} answers, "
                + ", ".join(f"{name}: {value}" for name, value in m.settings.items()),
            )
            for m in models
        ],
        judge=f"{models[0].judge} {agreement(models[0].judge) or ''}".strip(),
    )


def headline(models: Sequence[Measured], lines: Sequence[Line], mode: str) -> list[str]:
    """Harm done and harmless requests refused in the main mode, a sentence for each set."""
    told = []
    for metric, what in (("asr", "Harm done"), ("nrr", "harmless requests not refused")):
        own = [n for n in lines if n.metric == metric and n.mode == mode]
        plain = [n for n in own if n.attack == "none"] or own
        for line in plain[:2]:
            values = [
                f"{100 * cell.value.value:.1f} %" if cell.value and cell.value.n else "–"
                for cell in line.cells
            ]
            link = " → " if len(models) == 2 else " / "
            attack = "" if line.attack == "none" else f" + {line.attack}"
            told.append(f"{what} ({line.benchmark}{attack}): {link.join(values)}")
    return [text[0].upper() + text[1:] for text in told]


def transcripts(models: Sequence[Measured], mode: str) -> list[tuple[str, list[Item]]]:
    """A few requests of each set and attack, those first on which the models differ."""
    keyed = [items(m) for m in models]
    keys = dict.fromkeys(k for own in keyed for k in own if k[2] == mode)
    groups: dict[str, list[Item]] = {}
    for key in keys:
        found = tuple(own.get(key) for own in keyed)
        there = [a for a in found if a is not None]
        name = key[0] if key[1] == "none" else f"{key[0]} + {key[1]}"
        sent = tuple(dict.fromkeys(a.sent for a in there if a.sent != a.request))
        groups.setdefault(name, []).append(Item(key[4], there[0].kind, sent, found))
    return [(name, _choose(some)) for name, some in groups.items()]


def _choose(found: Sequence[Item]) -> list[Item]:
    """At most four of a kind: those that differ first, then those that some model gets wrong."""

    def order(item: Item) -> tuple[bool, bool]:
        there = [a for a in item.answers if a is not None]
        same = len({a.outcome for a in there}) == 1
        return same, all(is_right(a) or a.outcome == Outcome.UNSCORED for a in there)

    ordered = sorted(found, key=order)
    harmful = [item for item in ordered if item.kind == "harmful"]
    harmless = [item for item in ordered if item.kind != "harmful"]
    return [*harmful[:_A_KIND], *harmless[:_A_KIND]]
