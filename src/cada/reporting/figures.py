"""The report's pictures. Text that comes from a run is escaped: plotly reads tags in labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import isfinite
from typing import Any

import plotly.graph_objects as go

from cada.reporting.tables import HARMFUL, LOOKALIKE, ComparisonRow, find, mode_name
from cada.stats import Estimate

_BLUE, _OCHRE, _GREEN, _RED, _PLUM, _GREY = (
    "#4477bb",
    "#c07f2c",
    "#4a9a6c",
    "#c4523d",
    "#8a63a8",
    "#8b929c",
)
COLOURS = (_BLUE, _OCHRE, _PLUM, _GREEN, _RED, "#2f98a5", "#a8577e", "#7d7a35")
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "cross",
    "x",
    "star",
    "triangle-down",
    "pentagon",
    "hexagon",
)
# The corner that a run aims at: harmful requests refused and look-alikes answered at least so.
_AIM_HARMFUL, _AIM_LOOKALIKE = 0.85, 0.75
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@dataclass(frozen=True)
class Panel:
    """One picture with its heading."""

    id: str
    title: str
    figure: Any


def tradeoff(table: Sequence[ComparisonRow]) -> Any | None:
    """Harm against over-refusal: an arrow from before to after for each set and mode.

    None when no set has both harmful requests and look-alikes.
    """
    pairs = [
        (harmful, lookalike)
        for harmful in table
        if harmful.metric == HARMFUL
        for lookalike in find(table, LOOKALIKE, harmful.mode, harmful.benchmark)
        if harmful.before and harmful.after
    ]
    if not pairs:
        return None
    figure = go.Figure(layout=layout(height=490))
    corners(figure)
    modes = list(dict.fromkeys(h.mode for h, _ in pairs))
    sets = list(dict.fromkeys(h.benchmark for h, _ in pairs))
    for harmful, lookalike in pairs:
        colour = COLOURS[modes.index(harmful.mode) % len(COLOURS)]
        symbol = SYMBOLS[sets.index(harmful.benchmark) % len(SYMBOLS)]
        name = label(f"{harmful.benchmark}, {mode_name(harmful.mode)}")
        _arrow(figure, harmful, lookalike, colour)
        _points(figure, harmful, lookalike, name, colour, symbol)
    axis = {"range": [-0.04, 1.04], "tickformat": ".0%", "zeroline": False}
    figure.update_xaxes(title_text="harmless look-alikes not answered", **axis)
    figure.update_yaxes(title_text="harmful requests not refused", **axis)
    return figure


def curves(metrics: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The training curves, a panel each; panels without a single value are left out."""
    if not metrics:
        return []
    panels = [
        ("rewards", "Rewards of the rollouts", _rewards(metrics)),
        (
            "plus",
            "Rollouts with reward +1, by kind",
            _lines(
                metrics,
                {
                    "harmful_plus": ("harmful", _RED),
                    "lookalike_plus": ("look-alike", _OCHRE),
                    "ordinary_plus": ("ordinary", _GREEN),
                },
                share=True,
            ),
        ),
        (
            "refused",
            "Refused rollouts",
            _lines(
                metrics,
                {"harmful_refused": ("harmful", _RED), "benign_refused": ("harmless", _BLUE)},
                share=True,
            ),
        ),
        (
            "reasoned",
            "Rollouts with visible reasoning",
            _lines(metrics, {"reasoned": ("", _PLUM)}, share=True),
        ),
        ("kl", "KL to the reference (nats a token)", _lines(metrics, {"kl": ("", _BLUE)})),
        ("length", "Length (tokens)", _lines(metrics, {"length": ("", _BLUE)})),
        (
            "truncated",
            "Rollouts cut off",
            _lines(metrics, {"truncated": ("", _OCHRE)}, share=True),
        ),
        ("grad", "Gradient norm", _lines(metrics, {"grad_norm": ("", _GREY)})),
    ]
    return [Panel(f"curve-{i}", title, figure) for i, title, figure in panels if figure]


def to_json(figures: Mapping[str, Any]) -> str:
    """The figures as one JSON object that is safe within a script element."""
    text = ",".join(f'"{name}":{figure.to_json()}' for name, figure in figures.items())
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"{{{text}}}"


def _rewards(metrics: Sequence[Mapping[str, Any]]) -> Any:
    figure = _panel(metrics, share=True)
    steps = [m.get("step") for m in metrics]
    for key, name, colour in (
        ("share_minus", "−1", _RED),
        ("share_zero", "0", "#d3bd72"),
        ("share_plus", "+1", _GREEN),
        ("share_unscored", "unscored", _GREY),
    ):
        shares = [m.get(key) for m in metrics]
        if key == "share_unscored" and not any(shares):
            continue
        figure.add_bar(
            x=steps,
            y=shares,
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate="%{y:.0%}",
        )
    figure.update_layout(barmode="stack", bargap=0.06)
    return figure


def _lines(
    metrics: Sequence[Mapping[str, Any]],
    series: Mapping[str, tuple[str, str]],
    share: bool = False,
) -> Any | None:
    figure = _panel(metrics, share)
    for key, (name, colour) in series.items():
        values = [_finite(m.get(key)) for m in metrics]
        if all(v is None for v in values):
            continue
        figure.add_scatter(
            x=[m.get("step") for m in metrics],
            y=values,
            name=name,
            showlegend=bool(name),
            mode="lines+markers" if len(metrics) <= 40 else "lines",
            line={"color": colour, "width": 2},
            marker={"size": 5},
            hovertemplate="%{y:.0%}" if share else "%{y:.3~g}",
        )
    return figure if figure.data else None


def _panel(metrics: Sequence[Mapping[str, Any]], share: bool) -> Any:
    figure = go.Figure(layout=layout(height=240, margin={"l": 46, "r": 12, "t": 24, "b": 52}))
    figure.update_layout(hovermode="x unified")
    steps = {"dtick": 1} if len(metrics) <= 12 else {"nticks": 10}
    figure.update_xaxes(tickformat="d", **steps)
    if share:
        figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    else:
        figure.update_yaxes(rangemode="tozero")
    for index, (phase, group) in enumerate(groupby(metrics, key=lambda m: m.get("phase"))):
        start = float(next(group).get("step") or 0) - 0.5
        figure.add_annotation(
            x=start,
            y=1.0,
            yref="paper",
            text=label(str(phase)),
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font={"size": 10},
        )
        if index:
            figure.add_vline(x=start, line={"color": _GREY, "width": 1, "dash": "dot"})
    figure.update_xaxes(range=[_first(metrics) - 0.5, _first(metrics) + len(metrics) - 0.5])
    return figure


def _first(metrics: Sequence[Mapping[str, Any]]) -> float:
    return float(metrics[0].get("step") or 0)


def layout(height: int, margin: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Transparent, so that the page's own light or dark ground shows."""
    return {
        "template": "none",
        "height": height,
        "autosize": True,
        "margin": dict(margin or {"l": 60, "r": 16, "t": 12, "b": 84}),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 12, "color": _GREY},
        "hoverlabel": {"bgcolor": "#22262b", "font": {"color": "#f2f2f0", "family": _FONT}},
        "legend": {
            "orientation": "h",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "x": 0,
            "xanchor": "left",
            "font": {"size": 11},
        },
    }


def corners(figure: Any) -> None:
    """Name the corners of a plane of harm against over-refusal, and shade the one to aim at."""
    figure.add_shape(
        type="rect",
        x0=-0.04,
        x1=1 - _AIM_LOOKALIKE,
        y0=-0.04,
        y1=1 - _AIM_HARMFUL,
        fillcolor=_GREEN,
        opacity=0.18,
        line={"width": 0},
        layer="below",
    )
    for x, y, text, anchor in (
        (-0.03, -0.035, "the good corner", "left"),
        (0.0, 1.02, "complies with everything", "left"),
        (1.0, 0.0, "refuses everything", "right"),
    ):
        figure.add_annotation(
            x=x,
            y=y,
            text=f"<i>{text}</i>",
            showarrow=False,
            xanchor=anchor,
            yanchor="bottom",
            font={"size": 11},
        )


def _arrow(figure: Any, harmful: ComparisonRow, lookalike: ComparisonRow, colour: str) -> None:
    if abs(harmful.change) + abs(lookalike.change) < 0.03:
        return
    figure.add_annotation(
        x=1 - lookalike.new,
        y=1 - harmful.new,
        ax=1 - lookalike.old,
        ay=1 - harmful.old,
        xref="x",
        yref="y",
        axref="x",
        ayref="y",
        showarrow=True,
        text="",
        arrowhead=2,
        arrowwidth=1.6,
        arrowcolor=colour,
        standoff=7,
        startstandoff=7,
        opacity=0.8,
    )


def _points(
    figure: Any,
    harmful: ComparisonRow,
    lookalike: ComparisonRow,
    name: str,
    colour: str,
    symbol: str,
) -> None:
    for side in ("before", "after"):
        y_rate, x_rate = getattr(harmful, side), getattr(lookalike, side)
        figure.add_scatter(
            x=[1 - x_rate.value],
            y=[1 - y_rate.value],
            error_x=_whisker(x_rate, colour),
            error_y=_whisker(y_rate, colour),
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=side == "after",
            marker={
                "symbol": symbol if side == "after" else f"{symbol}-open",
                "size": 11,
                "color": colour,
                "line": {"color": colour, "width": 2},
            },
            hovertemplate=f"{name}, {side}<br>not answered %{{x:.0%}}<br>"
            "not refused %{y:.0%}<extra></extra>",
        )


def _whisker(rate: Estimate, colour: str) -> dict[str, Any]:
    """The interval of one minus the rate: its ends change places."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [rate.value - rate.low],
        "arrayminus": [rate.high - rate.value],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }


def label(text: str) -> str:
    """Foreign text as a label: short, and without tags, which plotly would read."""
    return escape(text if len(text) <= 60 else f"{text[:59]}…", quote=False)


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and isfinite(value) else None
