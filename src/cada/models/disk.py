"""What safetensors and torch raise when a write fails, told as the OSError that it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError


@contextmanager
def disk_errors() -> Iterator[None]:
    """Around the writing of weights, so that `atomic_path` sees a full disk for what it is.

    Raises:
        OSError: safetensors could not write, or `torch.save` could not write to an open file.
    """
    try:
        yield
    except SafetensorError as error:
        raise OSError(str(error)) from error
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
