"""A running vLLM server, from its client's side: what it serves, completions, new weights.

The routes are vLLM's own: `/v1/completions` with token ids in and out, and of the development mode
(`VLLM_SERVER_DEV_MODE=1`) `/collective_rpc` with the workers' `reload_weights`,
`/reset_prefix_cache` and `/server_info`. Replies are untrusted.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from cada.config.rollout import VllmOptions
from cada.errors import CadaError
from cada.judging.chat import _KEY as KEY
from cada.rollout.types import Sampling

if TYPE_CHECKING:
    from openai import OpenAI

OLDEST = (0, 32)
"""The oldest vLLM that this was tried with: `reload_weights` changed from version to version."""

START = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs "
    "--generation-config vllm"
)
_PROBE = "How do I open the door? 1, 2, 3 … Ω"
T = TypeVar("T", bound=BaseModel)


class ServerLostError(CadaError):
    """No server answers any more, or it gave up what it was asked."""


class _StatusError(CadaError):
    """The server refused a request, with that status."""

    def __init__(self, what: str, status: int, where: str) -> None:
        super().__init__(what, where=where, mend="See the server's own messages")
        self.status = status


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Version(_Reply):
    version: str


class _Card(_Reply):
    id: str


class _Models(_Reply):
    data: list[_Card]


class _Tokens(_Reply):
    tokens: list[int]


class _Success(_Reply):
    success: bool


class _ModelConfig(_Reply):
    logprobs_mode: str


class _Device(_Reply):
    device: str


class _Config(_Reply):
    model_config_: _ModelConfig
    device_config: _Device

    model_config = ConfigDict(alias_generator=lambda name: name.rstrip("_"), extra="ignore")


class _Info(_Reply):
    vllm_config: _Config


class _Logprobs(_Reply):
    token_logprobs: list[float]


class Choice(_Reply):
    """One completion, as the server gives it: the stop token is among the ids."""

    index: int
    token_ids: list[int]
    logprobs: _Logprobs
    finish_reason: str


class _Completion(_Reply):
    choices: list[Choice]


class VllmServer:
    """A client of one server. It may be used by many threads at once."""

    def __init__(self, options: VllmOptions) -> None:
        """Nothing is sent yet.

        Raises:
            CadaError: the package openai is missing.
        """
        self.options = options
        self.url = options.base_url.rstrip("/")
        self.root = self.url.removesuffix("/v1")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise CadaError(
                f"{self.url!r} is no address",
                where="rollout.vllm.base_url",
                mend="Write it as http://HOST:PORT/v1",
            )
        self.client = _client(options, self.url)
        self.model = options.model or ""
        self.device: str | None = None
        """What the server computes on, once it was checked."""

    def check(self, encode: Callable[[str], Sequence[int]] | None = None) -> None:
        """See that a server is there, can do what is needed and serves the policy's kind of model.

        Args:
            encode: the policy's tokenizer, without special tokens.

        Raises:
            CadaError: it is not so.
        """
        version = self._get("/version", _Version, "no vLLM is there").version
        if tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < OLDEST:
            raise CadaError(
                f"the server runs vLLM {version}",
                where=self.url,
                mend=f"Install {'.'.join(map(str, OLDEST))} or newer",
            )
        self._choose_model()
        info = self._get("/server_info?config_format=json", _Info, "it lacks the development mode")
        self.device = info.vllm_config.device_config.device
        mode = info.vllm_config.model_config_.logprobs_mode
        if mode != "processed_logprobs":
            raise CadaError(
                f"the server gives {mode}, and training needs processed_logprobs: those of the "
                "distribution that is sampled from",
                where=self.url,
                mend=f"Start it with: {START}",
            )
        if encode is not None:
            body = {"model": self.model, "prompt": _PROBE, "add_special_tokens": False}
            if self._post("/tokenize", body, _Tokens).tokens != list(encode(_PROBE)):
                raise self._other_model("its tokenizer is not the recipe's model's")

    def complete(self, ids: Sequence[int], how: "Sampled") -> list[Choice]:
        """Completions of one prompt, in order of their number.

        Raises:
            ServerLostError: no server answers, or it gave up the prompt.
            CadaError: it refuses the prompt, or its reply is none.
        """
        body = {"model": self.model, "prompt": list(ids), "return_token_ids": True}
        try:
            found = self._post("/v1/completions", body | how.parameters(), _Completion)
        except _StatusError as error:
            if error.status >= 500:
                raise self._lost(error.what) from error
            raise
        choices = sorted(found.choices, key=lambda choice: choice.index)
        for choice in choices:
            if choice.finish_reason not in ("stop", "length"):
                raise self._lost(f"a prompt was given up: {choice.finish_reason}")
            values = choice.logprobs.token_logprobs
            if not choice.token_ids or len(choice.token_ids) != len(values):
                raise self._strange(f"{len(choice.token_ids)} tokens, {len(values)} log-probs")
        if [choice.index for choice in choices] != list(range(how.samples)):
            raise self._strange(f"{len(choices)} completions where {how.samples} were asked for")
        return choices

    def reload(self, folder: Path) -> None:
        """Let every worker read its weights anew from a folder, and forget what is cached.

        Raises:
            CadaError: it could not.
        """
        path = str(folder.resolve())
        body = {"method": "reload_weights", "kwargs": {"weights_path": path}}
        try:
            self._post("/collective_rpc", body, _Reply, retries=0)
        except _StatusError as error:
            raise CadaError(
                f"the server could not take the new weights ({error.what})",
                where=self.url,
                mend=f"See that it serves the recipe's model and sees the folder {path} (or set "
                "rollout.vllm.weights to one that both see)",
            ) from error
        if not self._post("/reset_prefix_cache", {}, _Success).success:
            raise CadaError(
                "the server could not empty its prefix cache, for it still works on other requests",
                where=self.url,
                mend="Keep others from using this server while it trains",
            )

    def _choose_model(self) -> None:
        served = [card.id for card in self._get("/v1/models", _Models, "no vLLM is there").data]
        if self.options.model is None and len(served) == 1:
            self.model = served[0]
        if self.model not in served:
            asked = repr(self.model) if self.model else "one model alone"
            raise self._other_model(f"it serves {', '.join(served)}, and not {asked}")

    def _get(self, path: str, kind: type[T], missing: str) -> T:
        """A reply of that kind; `missing` is what it means that there is no such route."""
        try:
            return self._ask(lambda c: c.get(self.root + path, cast_to=object), kind)
        except _StatusError as error:
            if error.status != 404:
                raise
            raise CadaError(missing, where=self.url, mend=f"Start it with: {START}") from error

    def _post(
        self, path: str, body: dict[str, Any], kind: type[T], retries: int | None = None
    ) -> T:
        options = {} if retries is None else {"max_retries": retries}
        return self._ask(
            lambda c: c.post(self.root + path, body=body, cast_to=object, options=options), kind
        )

    def _ask(self, call: "Callable[[OpenAI], object]", kind: type[T]) -> T:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        try:
            return kind.model_validate(call(self.client))
        except ValidationError as error:
            raise self._strange(_first(error)) from error
        except APIConnectionError as error:
            raise self._lost(_cause(error)) from error
        except APIStatusError as error:
            if error.status_code in (401, 403):
                raise CadaError(
                    "the key is refused", where=self.url, mend=f"Set {KEY} to the server's key"
                ) from error
            raise _StatusError(_told(error), error.status_code, self.url) from error
        except OpenAIError as error:
            raise self._strange(" ".join(str(error).split())) from error

    def _lost(self, reason: str) -> ServerLostError:
        return ServerLostError(
            f"no vLLM server answers ({reason})",
            where=self.url,
            mend=f"Start it with: {START}; the same command then goes on",
        )

    def _strange(self, reason: str) -> CadaError:
        return CadaError(
            f"this is no reply of a vLLM server ({reason})",
            where=self.url,
            mend=f"Use vLLM {'.'.join(map(str, OLDEST))} or newer, or mend the address",
        )

    def _other_model(self, reason: str) -> CadaError:
        return CadaError(
            f"the server serves another model: {reason}",
            where=self.url,
            mend="Start it with the recipe's model, or set rollout.vllm.model",
        )


@dataclass(frozen=True)
class Sampled:
    """How the completions of one prompt are sampled: how many, how, and from which seed.

    Completion i draws from seed + i, as vLLM has it.
    """

    samples: int
    sampling: Sampling
    seed: int
    stop_ids: Sequence[int]

    def parameters(self) -> dict[str, Any]:
        """By vLLM's names, for its SamplingParams or the body of a request.

        Everything that bends the policy is named, or the server's defaults would come from the
        model's generation config. The stop tokens are the policy's alone.
        """
        return {
            "n": self.samples,
            "max_tokens": self.sampling.max_tokens,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": self.seed,
            "logprobs": 0,
            "stop_token_ids": list(self.stop_ids),
            "ignore_eos": True,
        }


def _client(options: VllmOptions, url: str) -> "OpenAI":
    try:
        from openai import OpenAI
    except ModuleNotFoundError as error:
        raise CadaError(
            "talking to a vLLM server needs the package openai",
            where="rollout.engine",
            mend="Install it with: pip install 'cada-align[vllm]'",
        ) from error
    return OpenAI(
        base_url=url,
        api_key=os.environ.get(KEY, "none"),
        max_retries=options.retries,
        timeout=options.timeout,
    )


def _told(error: Any) -> str:
    """The server's own words."""
    body = error.body
    told = body.get("message") if isinstance(body, dict) else None
    said = f": {' '.join(told.split())}" if isinstance(told, str) else ""
    return f"status {error.status_code}{said}"


def _cause(error: BaseException) -> str:
    text = str(error.__cause__ or error)
    return " ".join(text.split()) or type(error).__name__


def _first(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
