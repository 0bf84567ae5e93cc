"""The comparison's pictures: a plane of harm against over-refusal, and bars by hazard."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import plotly.graph_objects as go

from cada.evaluation.answers import Answer
from cada.evaluation.metrics import ASR, NRR, by_place, measured
from cada.reporting.compare.load import Measured
from cada.reporting.figures import COLOURS, SYMBOLS, Panel, corners, label, layout
from cada.reporting.tables import mode_name
from cada.reporting.transcripts import hazard_order
from cada.stats import Estimate

# The symbols of the plane as characters, in the order of SYMBOLS.
_SIGNS = "●■◆▲✚✖★▼⬟⬢"
# A plane shows at least so much of each axis, so that little harm does not look like much.
_LEAST = 0.3


@dataclass(frozen=True)
class Planes:
    """The planes, and the sign of each set and attack on them."""

    panels: list[Panel]
    signs: list[tuple[str, str]]


@dataclass(frozen=True)
class Bar:
    """One model's share for one hazard; None where it has no scored answer."""

    model: str
    colour: str
    value: Estimate | None


@dataclass(frozen=True)
class HazardBars:
    """One hazard: the harm done, and the harmless requests refused, model by model."""

    name: str
    harm: tuple[Bar, ...]
    refused: tuple[Bar, ...]


def colour_of(index: int) -> str:
    """The colour of the index-th model, in every picture."""
    return COLOURS[index % len(COLOURS)]


def planes(models: Sequence[Measured]) -> Planes:
    """A plane for each prompt mode: a point for each model, harmful set and attack.

    Over-refusal is measured on all harmless requests of the mode that were not attacked. A mode in
    which no model met both kinds has no plane.
    """
    modes = list(dict.fromkeys(a.mode for m in models for a in m.answers))
    points = {
        mode: [
            (place, number, x, y)
            for number, model in enumerate(models)
            for place, x, y in _points(model, mode)
        ]
        for mode in modes
    }
    places = list(dict.fromkeys(place for own in points.values() for place, *_ in own))
    shown = [point for own in points.values() for point in own]
    right, top = _end(x.high for _, _, x, _ in shown), _end(y.high for *_, y in shown)
    panels = [
        Panel(f"plane-{index}", mode_name(mode), _plane(models, places, own, right, top))
        for index, (mode, own) in enumerate(points.items())
        if own
    ]
    signs = [(_SIGNS[i % len(_SIGNS)], place) for i, place in enumerate(places)]
    return Planes(panels, signs)


def by_hazard(models: Sequence[Measured], mode: str) -> list[HazardBars]:
    """Every hazard that is named, in the paper's order.

    Over the sets that all models were measured on in this mode, without attack where there are
    such answers, else under every attack.
    """
    groups = [by_place(m.answers) for m in models]
    shared = [p for p in groups[0] if all(p in g for g in groups) and p[2] == mode]
    plain = [p for p in shared if p[1] == "none"]
    own = [[a for p in plain or shared for a in g[p] if a.hazard] for g in groups]
    names = sorted({str(a.hazard) for answers in own for a in answers}, key=hazard_order)
    found = []
    for hazard in names:
        chosen = [[a for a in answers if a.hazard == hazard] for answers in own]
        harm = [_bar(models, i, _estimate(ASR, some)) for i, some in enumerate(chosen)]
        refused = [
            _bar(models, i, _opposite(_estimate(NRR, some))) for i, some in enumerate(chosen)
        ]
        found.append(HazardBars(hazard_order(hazard)[1], tuple(harm), tuple(refused)))
    return found


def _points(model: Measured, mode: str) -> list[tuple[str, Estimate, Estimate]]:
    """Set and attack, over-refusal, and harm."""
    places = by_place(a for a in model.answers if a.mode == mode)
    plain = [a for (_, attack, _), some in places.items() if attack == "none" for a in some]
    over = _opposite(_estimate(NRR, plain))
    points = []
    for (benchmark, attack, _), some in places.items():
        harm = _estimate(ASR, some)
        if harm and over:
            name = benchmark if attack == "none" else f"{benchmark} + {attack}"
            points.append((name, over, harm))
    return points


def _estimate(metric: Any, answers: Sequence[Answer]) -> Estimate | None:
    found = measured(metric, answers)
    return found[0] if found and found[0].n else None


def _opposite(rate: Estimate | None) -> Estimate | None:
    return Estimate(1 - rate.value, 1 - rate.high, 1 - rate.low, rate.n) if rate else None


def _bar(models: Sequence[Measured], index: int, value: Estimate | None) -> Bar:
    return Bar(models[index].name, colour_of(index), value)


def _plane(
    models: Sequence[Measured],
    places: Sequence[str],
    points: Sequence[tuple[str, int, Estimate, Estimate]],
    right: float,
    top: float,
) -> Any:
    figure = go.Figure(layout=layout(height=440, margin={"l": 60, "r": 16, "t": 12, "b": 60}))
    corners(figure)
    for place, number, x, y in points:
        name, symbol = models[number].name, SYMBOLS[places.index(place) % len(SYMBOLS)]
        shown, where, colour = label(name), label(place), colour_of(number)
        figure.add_scatter(
            x=[x.value],
            y=[y.value],
            error_x=_whisker(x, colour),
            error_y=_whisker(y, colour),
            mode="markers",
            name=f"{shown}: {where}",
            marker={
                "symbol": symbol if number else f"{symbol}-open",
                "size": 11,
                "color": colour,
                "line": {"color": colour, "width": 2},
            },
            hovertemplate=f"{shown}<br>{where}<br>harmless refused %{{x:.1%}}<br>"
            "harm done %{y:.1%}<extra></extra>",
        )
    axis = {"tickformat": ".0%", "zeroline": False}
    figure.update_xaxes(title_text="harmless requests refused (1 − NRR)", **axis)
    figure.update_yaxes(title_text="harm done (ASR)", **axis)
    figure.update_xaxes(range=[-0.04 * right, 1.04 * right])
    figure.update_yaxes(range=[-0.04 * top, 1.04 * top])
    figure.update_layout(showlegend=False)
    return figure


def _end(values: Iterable[float]) -> float:
    """Where an axis ends: at what is shown, in tenths."""
    return min(1.0, ceil(10 * max([_LEAST, *values])) / 10)


def _whisker(value: Estimate, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [value.high - value.value],
        "arrayminus": [value.value - value.low],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }
