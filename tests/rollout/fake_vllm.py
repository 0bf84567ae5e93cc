"""A small server that speaks vLLM's protocol, with a real model behind it, and fails as asked.

The replies have the shape of vLLM 0.32's.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from cada.config.rollout import VllmOptions
from cada.models.load import Policy
from cada.rollout.transformers_engine import SharedEngine
from cada.rollout.types import Prompt, Rollout, Sampling

Reply = tuple[int, Any]


@dataclass
class FakeVllm:
    """Serves a policy of its own.

    `deaf` says that it took new weights and does not. After `answers` completions, if that is
    given, it drops every connection.
    """

    policy: Policy
    name: str = "tiny"
    version: str = "0.32.0"
    logprobs_mode: str = "processed_logprobs"
    development: bool = True
    device: str = "cuda"
    deaf: bool = False
    busy: bool = False
    answers: int | None = None
    key: str | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    resets: int = 0
    twist: Any = None
    url: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def options(self, **changes: Any) -> VllmOptions:
        """How a client reaches it."""
        return VllmOptions(base_url=self.url, retries=0, timeout=60, **changes)

    @contextmanager
    def running(self) -> Iterator["FakeVllm"]:
        """Serve until the block ends."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._reply(outer.get(self.path))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"] or 0)) or "{}")
                if self.path.startswith("/v1") and outer.refuses(self.headers["authorization"]):
                    self._reply((401, {"error": "Unauthorized"}))
                    return
                with outer._lock:
                    self._reply(outer.post(self.path, body))

            def _reply(self, reply: Reply | None) -> None:
                if reply is None:
                    self.close_connection = True
                    return
                data = json.dumps(reply[1]).encode()
                self.send_response(reply[0])
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def refuses(self, authorization: str | None) -> bool:
        """Whether the key is not its own."""
        return self.key is not None and authorization != f"Bearer {self.key}"

    def get(self, path: str) -> Reply:
        """What a GET gives."""
        config = {
            "model_config": {"model": self.name, "logprobs_mode": self.logprobs_mode},
            "device_config": {"device": self.device},
        }
        card = {"id": self.name, "object": "model", "root": "/models/tiny", "max_model_len": 2048}
        routes = {
            "/version": {"version": self.version},
            "/v1/models": {"object": "list", "data": [card]},
        }
        if self.development:
            routes["/server_info?config_format=json"] = {"vllm_config": config, "vllm_env": {}}
        return (200, routes[path]) if path in routes else _missing()

    def post(self, path: str, body: dict[str, Any]) -> Reply | None:
        """What a POST gives; None drops the connection."""
        if path == "/v1/completions":
            return self._complete(body)
        if path == "/tokenize":
            ids = self.policy.tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]
            return 200, {"count": len(ids), "max_model_len": 2048, "tokens": ids}
        if path == "/collective_rpc" and self.development:
            return self._reload(body)
        if path == "/reset_prefix_cache" and self.development:
            self.resets += not self.busy
            return 200, {"success": not self.busy}
        return _missing()

    def _reload(self, body: dict[str, Any]) -> Reply:
        assert body["method"] == "reload_weights"
        file = Path(body["kwargs"]["weights_path"]) / "model.safetensors"
        if not file.is_file():
            return _error(500, "Call to collective_rpc method failed: no such repo")
        if not self.deaf:
            left = self.policy.model.load_state_dict(load_file(file), strict=False)
            assert not left.unexpected_keys
        return 200, {"results": [None]}

    def _complete(self, body: dict[str, Any]) -> Reply | None:
        if body["model"] != self.name:
            return _error(404, f"The model `{body['model']}` does not exist.")
        if self.answers is not None and len(self.bodies) >= self.answers:
            return None
        self.bodies.append(body)
        if len(body["prompt"]) + body["max_tokens"] > 2048:
            return _error(400, "This model's maximum context length is 2048 tokens.")
        prompt = Prompt("x", "none", (), tuple(body["prompt"]), seed=body["seed"])
        how = Sampling(body["max_tokens"], body["temperature"], body["top_p"])
        ((*rollouts,),) = SharedEngine(self.policy).generate([prompt], body["n"], how, 0)
        whole = {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1,
            "model": self.name,
            "choices": [_choice(i, r, body) for i, r in enumerate(rollouts)],
            "usage": {"prompt_tokens": len(prompt.ids), "completion_tokens": 1, "total_tokens": 1},
            "kv_transfer_params": None,
        }
        return 200, self.twist(whole) if self.twist else whole


def _choice(index: int, rollout: Rollout, body: dict[str, Any]) -> dict[str, Any]:
    ids, values = list(rollout.completion_ids), list(rollout.logprobs)
    tokens = [f"t{i}" for i in ids]
    return {
        "index": index,
        "text": rollout.text,
        "logprobs": {
            "text_offset": list(range(len(ids))),
            "token_logprobs": values,
            "tokens": tokens,
            "top_logprobs": [{t: v} for t, v in zip(tokens, values, strict=True)],
        },
        "finish_reason": rollout.finish_reason,
        "stop_reason": ids[-1] if rollout.finish_reason == "stop" else None,
        "token_ids": ids if body.get("return_token_ids") else None,
        "prompt_logprobs": None,
        "prompt_token_ids": list(body["prompt"]),
    }


def _error(status: int, message: str) -> Reply:
    return status, {"error": {"message": message, "type": "E", "param": None, "code": status}}


def _missing() -> Reply:
    return 404, {"detail": "Not Found"}
