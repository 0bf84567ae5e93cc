"""What a trained model's folder says of how it was trained to answer."""

import json
from pathlib import Path
from typing import Literal

from cada.config.recipe import Prompting
from cada.errors import CadaError
from cada.files import write_json

_FILE = "cada.json"


def save_prompting(folder: Path, prompting: Prompting) -> None:
    """Leave the prompting of a model's training beside its weights."""
    write_json(folder / _FILE, {"prompting": prompting.model_dump(mode="json")})


def prompting_of(model: str, style: Literal["headings", "think_tags"] | None = None) -> Prompting:
    """How a model was prompted in training, or in `style` where that is given.

    A model that says nothing of its training has the defaults.

    Raises:
        CadaError: what it says cannot be read.
    """
    path = Path(model) / _FILE
    if not path.is_file():
        return Prompting(style=style or "headings")
    try:
        own = json.loads(path.read_text(encoding="utf-8"))["prompting"]
        return Prompting.model_validate({**own, "style": style or own["style"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CadaError(
            "the model's prompting cannot be read",
            where=str(path),
            mend="Write the model anew, or remove the file to use the defaults",
        ) from error
