"""Tell whether a local model's weights are the ones of before."""

import hashlib
from pathlib import Path

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_BLOCK = 4096
_BLOCKS = 256


def fingerprint(model: str) -> str | None:
    """A digest of a folder's weights or of a GGUF file; None for a model that is not local.

    It reads every file's size and 256 blocks spread over it, not all of it: training moves every
    weight, and a model of 100 GB is told apart in a moment.
    """
    path = Path(model)
    if path.is_dir():
        files = sorted(f for pattern in _WEIGHTS for f in path.glob(pattern))
    elif path.is_file():
        files = [path]
    else:
        return None
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as handle:
            for at in range(0, size, max(_BLOCK, size // _BLOCKS)):
                handle.seek(at)
                digest.update(handle.read(_BLOCK))
    return digest.hexdigest()
