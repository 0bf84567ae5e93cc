"""Names under which inspect_ai finds what this package offers, and errors as it tells them."""

from collections.abc import Iterator
from contextlib import contextmanager

from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.package import get_installed_package_name

from cada.errors import CadaError

_PACKAGE = "cada"


def named(name: str) -> str:
    """`name` so that it is registered as `cada/NAME`.

    inspect_ai puts the import package's name before what lies in site-packages or is installed
    editable from a distribution of the same name. Ours is another one (`cada-align`), so that an
    editable install would get no prefix.
    """
    return name if get_installed_package_name(named) else f"{_PACKAGE}/{name}"


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Bad input as the error that inspect_ai prints without a traceback."""
    try:
        yield
    except CadaError as error:
        raise PrerequisiteError(str(error).replace("[", r"\[")) from error
