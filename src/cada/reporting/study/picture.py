"""The trade-off as an SVG file: harm against over-refusal, a point a cell.

Written by hand and not by plotly: a page of Markdown needs a still picture, the same bytes from the
same numbers, and plotly needs a browser for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil

from cada.reporting.figures import COLOURS
from cada.stats import Estimate

_WIDTH, _HEIGHT = 760, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 24, 56
_LEAST = 0.3  # an axis shows at least so much
_GREY = "#70777f"


@dataclass(frozen=True)
class Point:
    """A cell: the share of harmless requests refused, and harm, with their intervals."""

    name: str
    refused: Estimate
    harm: Estimate


def svg(points: Sequence[Point]) -> str:
    """The picture; down is less harm, left is more help."""
    right = _end([p.refused.high for p in points])
    top = _end([p.harm.high for p in points])
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(value: float) -> str:
        return f"{_LEFT + width * value / right:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + height * (1 - value / top):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" font-family="system-ui, sans-serif" font-size="12" '
        f'fill="{_GREY}">',
        "<title>Harm done against harmless requests refused</title>",
        f'<rect x="0" y="0" width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for share in _ticks(right):
        parts.append(_line(x(share), y(0), x(share), y(top), "#e4e7ea"))
        parts.append(_text(x(share), str(_HEIGHT - _BOTTOM + 18), f"{share:.0%}", "middle"))
    for share in _ticks(top):
        parts.append(_line(x(0), y(share), x(right), y(share), "#e4e7ea"))
        parts.append(_text(str(_LEFT - 8), f"{float(y(share)) + 4:.1f}", f"{share:.0%}", "end"))
    parts.append(_text(x(right / 2), str(_HEIGHT - 14), "harmless requests refused (1 − NRR)",
                       "middle"))  # fmt: skip
    middle = f"{_TOP + height / 2:.1f}"
    parts.append(
        f'<text x="16" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 16 {middle})">harm done</text>'
    )
    parts.append(_text(str(_LEFT + 6), f"{float(y(0)) - 6:.1f}", "the good corner", "start", True))
    for number, point in enumerate(points):
        colour = COLOURS[number % len(COLOURS)]
        px, py = x(point.refused.value), y(point.harm.value)
        parts.append(_line(x(point.refused.low), py, x(point.refused.high), py, colour))
        parts.append(_line(px, y(point.harm.low), px, y(point.harm.high), colour))
        parts.append(_mark(px, py, number, colour))
        at = _TOP + 10 + 22 * number
        parts.append(_mark(str(_WIDTH - _RIGHT + 18), str(at), number, colour))
        parts.append(_text(str(_WIDTH - _RIGHT + 32), str(at + 4), point.name, "start"))
    return "\n".join([*parts, "</svg>", ""])


def _mark(x: str, y: str, number: int, colour: str) -> str:
    """Colours come again after eight cells, and squares then stand for circles."""
    if number < len(COLOURS):
        return f'<circle cx="{x}" cy="{y}" r="5.5" fill="{colour}"/>'
    left, top = float(x) - 5, float(y) - 5
    return f'<rect x="{left:.1f}" y="{top:.1f}" width="10" height="10" fill="{colour}"/>'


def _line(x1: str, y1: str, x2: str, y2: str, colour: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="1.2"/>'


def _text(x: str, y: str, text: str, anchor: str, italic: bool = False) -> str:
    style = ' font-style="italic"' if italic else ""
    shown = escape(text, quote=True)
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{style}>{shown}</text>'


def _end(values: Sequence[float]) -> float:
    """Where an axis ends: at what is shown, in tenths."""
    return min(1.0, ceil(10 * max([_LEAST, *values])) / 10)


def _ticks(end: float) -> list[float]:
    step = 0.1 if end <= 0.6 else 0.2
    return [n * step for n in range(int(end / step + 1e-9) + 1)]
