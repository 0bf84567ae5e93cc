"""One HTML file that needs no network and runs nothing but its own scripts.

Everything that a model or a request file wrote is escaped. A content security policy allows no
connection and only the scripts whose hashes it names, so that markup which got through all the
same would stay inert.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from cada.reporting.figures import to_json
from cada.reporting.tables import mode_name
from cada.reporting.transcripts import is_harmful_completion, is_right

_DRAW = """
const figures = %s;
for (const [id, figure] of Object.entries(figures)) {
  Plotly.newPlot(id, figure.data, figure.layout, {displayModeBar: false, responsive: true});
}
"""


def render_page(template: str, figures: Mapping[str, Any], **values: Any) -> str:
    """A template of this package as a page; each figure is drawn into the element of its name."""
    scripts = [get_plotlyjs(), _DRAW % to_json(figures)] if figures else []
    page = (
        _environment()
        .get_template(template)
        .render(
            policy=" ".join(f"'{_hash(s)}'" for s in scripts) or "'none'",
            scripts=[Markup(s) for s in scripts],
            **values,
        )
    )
    return page.lstrip()


@cache
def _environment() -> Environment:
    def source(name: str) -> str:
        return (files("cada.reporting") / name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        loader=FunctionLoader(source),
    )
    environment.filters["mode_name"] = mode_name
    environment.filters["tight"] = _tight
    environment.tests["right"] = is_right
    environment.tests["harmful_completion"] = is_harmful_completion
    return environment


def _tight(text: str) -> str:
    """The text with figures that no line break parts from their percent sign."""
    return text.replace(" %", "\u00a0%")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
