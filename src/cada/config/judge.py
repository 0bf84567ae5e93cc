"""Which judge decides, in a recipe or as one word on the command line. Imports without torch."""

from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from cada.config.section import Section
from cada.errors import CadaError

Kind = Literal[
    "refusal",
    "harm",
    "strongreject",
    "refusal_rubric",
    "wildguard",
    "llama_guard_3",
    "llama_guard_4",
    "harmbench",
    "strongreject_gemma",
]
HARM_ONLY = ("harm", "llama_guard_3", "llama_guard_4", "harmbench", "strongreject_gemma")
ASKS_A_CHAT_MODEL = ("strongreject", "refusal_rubric")


class _Calls(Section):
    """How a chat model is asked, and how far."""

    base_url: str | None = Field(
        default=None, description="A server that speaks OpenAI's protocol, for example of vLLM."
    )
    max_tokens: int = Field(default=512, ge=1, description="Longest reply, in tokens.")
    concurrency: int = Field(default=8, ge=1, description="Questions that are open at a time.")
    retries: int = Field(default=3, ge=0, description="Further attempts of one question.")
    timeout: int = Field(default=60, ge=1, description="Seconds that an attempt may take.")
    wait: float = Field(
        default=1.0, ge=0, description="Seconds before the second attempt; later waits double."
    )
    max_calls: int = Field(
        default=2000, ge=0, description="No more calls leave this machine, retries counted."
    )
    max_cost: float | None = Field(
        default=None, gt=0, description="No call is made that could exceed it; needs price."
    )
    price: tuple[float, float] | None = Field(
        default=None,
        description="Of a million input and output tokens, in the currency of max_cost.",
    )
    cache: Path | None = Field(
        default=None,
        description="A .jsonl file of replies; what is there costs nothing again. When null, a "
        "run's folder has its own, in which failures stay failures, so that a killed run goes on "
        "as it was; commands use the user's cache.",
    )

    @field_validator("price", mode="before")
    @classmethod
    def _as_one_word(cls, value: Any) -> Any:
        return value.split(":") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_a_price(self) -> Self:
        if self.max_cost is not None and self.price is None:
            raise ValueError("max_cost needs price, of a million input and output tokens")
        return self


class ChatOptions(_Calls):
    """Which chat model is asked over an API, and how far."""

    model: str = Field(
        description="inspect_ai's name (openai/gpt-4o-mini), or with base_url the name that the "
        "server knows."
    )
    temperature: float = Field(default=0.0, ge=0, description="0 decodes greedily.")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Sample from the likeliest tokens of this share."
    )


class JudgeOptions(_Calls):
    """A judge of final responses."""

    kind: Kind = Field(
        default="refusal",
        description="`refusal`: offline, free, the default; `harm`: offline, of answers to harmful "
        "requests alone. `strongreject` and `refusal_rubric` "
        "ask a chat model. The others run a classifier from the hub.",
    )
    model: str | None = Field(
        default=None,
        description="The chat model, by inspect_ai's name (openai/gpt-4o-mini), or with base_url "
        "by the server's. Of a classifier: hub id or folder, where it is not the usual one.",
    )
    sure: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The offline judge decides where its score is at least this, and the judge "
        "above the rest.",
    )
    template: Path | None = Field(
        default=None,
        description="A classifier's input format, with {prompt} or {behavior}, and {response} or "
        "{generation}; that of its model card when null.",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_a_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _names_a_model(self) -> "JudgeOptions":
        if self.kind in ASKS_A_CHAT_MODEL and self.model is None:
            raise ValueError(f"the judge {self.kind} needs the model that it asks")
        if self.kind in ("refusal", "harm") and self.sure is not None:
            raise ValueError("sure needs a second judge that is asked over an API or from the hub")
        return self

    @property
    def harm_only(self) -> bool:
        """Whether it judges answers to harmful requests alone."""
        return self.kind in HARM_ONLY

    @property
    def chat(self) -> ChatOptions | None:
        """The chat model, of a judge that asks one."""
        if self.kind not in ASKS_A_CHAT_MODEL:
            return None
        return ChatOptions(**self.model_dump(include=set(ChatOptions.model_fields)))


Options = TypeVar("Options", bound=_Calls)


def parse_judge(text: str) -> JudgeOptions:
    """The options in `KIND[,NAME=VALUE…]`, as in `strongreject,model=openai/gpt-4o-mini`.

    Raises:
        CadaError: an unknown kind, name or value.
    """
    kind, *pairs = text.split(",")
    mend = f"Write KIND[,NAME=VALUE…]; the kinds are {', '.join(get_args(Kind))}"
    return _read(JudgeOptions, {"kind": kind}, pairs, "--judge", mend)


def parse_chat(pairs: list[str], where: str) -> ChatOptions:
    """A chat model from pairs such as `model=openai/gpt-4o-mini`; `where` is the option's name.

    Raises:
        CadaError: an unknown name or value.
    """
    return _read(ChatOptions, {}, pairs, where, "Write model=NAME[,NAME=VALUE…]")


def _read(
    kind: type[Options], given: dict[str, str], pairs: list[str], where: str, mend: str
) -> Options:
    known = [name for name in kind.model_fields if name not in given]
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or name not in known:
            raise CadaError(
                f"{pair!r} is no option here",
                where=where,
                mend=f"Write NAME=VALUE; the names are {', '.join(known)}",
            )
        given[name] = value
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise CadaError(f"{name}: {reason}" if name else reason, where=where, mend=mend) from error
