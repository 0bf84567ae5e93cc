"""A small server that speaks OpenAI's chat protocol and fails in the ways that servers fail."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str], str | int]
DROP, HANG, BROKEN = -1, -2, -3


class ChatServer:
    """Answers with what `answer` makes of the prompt: a text, a status, or one of the failures."""

    def __init__(self, answer: Answer) -> None:
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                prompt = str(body["messages"][-1]["content"])
                with outer._lock:
                    outer.prompts.append(prompt)
                    outer.bodies.append(body)
                    outer.keys.append(self.headers["authorization"])
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                try:
                    self._reply(answer(prompt), body["model"])
                finally:
                    with outer._lock:
                        outer._now -= 1

            def _reply(self, said: str | int, model: str) -> None:
                if said == DROP:
                    self.close_connection = True
                    return
                if said == HANG:
                    outer._closing.wait()
                    self.close_connection = True
                    return
                status = said if isinstance(said, int) and said > 0 else 200
                data = b"<html>" if said == BROKEN else outer.body(said, model)
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @staticmethod
    def body(said: str | int, model: str) -> bytes:
        """A chat completion in OpenAI's format, or an error."""
        if isinstance(said, int):
            return json.dumps({"error": {"message": f"status {said}"}}).encode()
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        whole = {"id": "1", "object": "chat.completion", "created": 1, "model": model}
        return json.dumps({**whole, "choices": [choice], "usage": usage}).encode()

    @contextmanager
    def running(self) -> Iterator["ChatServer"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()
