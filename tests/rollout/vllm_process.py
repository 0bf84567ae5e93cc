"""A real vLLM server, from an environment of its own: CADA_TEST_VLLM_PYTHON names its Python."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PYTHON = "CADA_TEST_VLLM_PYTHON"
_SMALL = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


@contextmanager
def vllm_serving(folder: Path) -> Iterator[str]:
    """Serve the model of a folder in float32 on a free port; its base URL."""
    if PYTHON not in os.environ:
        pytest.skip(f"{PYTHON} names no Python that has vLLM")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ[PYTHON], "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--logprobs-mode", "processed_logprobs"]
    command += ["--enforce-eager", "--max-model-len", "2048"]
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**own, **_SMALL},
        cwd="/",
    )
    assert process.stdout is not None
    try:
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "Application startup complete" in line:
                break
        else:
            pytest.fail("".join(seen))
        # or it would block when the pipe is full
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()
