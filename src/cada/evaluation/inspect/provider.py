"""A model in memory as an inspect_ai provider: `--model cada/FOLDER`."""

from typing import TYPE_CHECKING, Any

from inspect_ai.model import modelapi

from cada.evaluation.inspect.names import told_in_one_line

if TYPE_CHECKING:
    from inspect_ai.model import ModelAPI

NAME = "cada"


def is_ours(api: Any) -> bool:
    """Whether a model is one in memory, on our engine."""
    return type(api).__name__ == "LocalAPI" and type(api).__module__.startswith("cada.")


# inspect_ai knows providers by their name alone, without the package's
@modelapi(name=NAME)
def cada() -> "type[ModelAPI]":
    """The provider's class; torch is loaded with it."""
    with told_in_one_line():
        from cada.evaluation.inspect.local_api import LocalAPI

    return LocalAPI
