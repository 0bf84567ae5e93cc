"""Our models as the harness's `LM`: prefixes shared by prompts are computed once.

Importing this module needs lm-evaluation-harness.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import torch
from jinja2 import TemplateError
from lm_eval.api.model import TemplateLM

from cada.errors import CadaError
from cada.evaluation.utility.responses import Response, Responses
from cada.models.load import Policy
from cada.prompting.deliberation import FormatStyle, parse
from cada.rollout.transformers_engine import make_engine
from cada.rollout.types import Engine, Prompt, Rollout, Sampling
from cada.training.logprobs import hidden_states
from cada.training.samples import Sample, microbatches

# Completions decoded at once, and tokens that they may fill: each row has its own few-shot
# examples in memory, unlike the packs of the safety benchmarks.
_ROWS = 64
_CACHED_TOKENS = 32_768
# Tokens of one forward pass in scoring.
_PASS = 4096

Progress = Callable[[int, int], None]


class PolicyLM(TemplateLM):  # type: ignore[misc]
    """A policy behind the harness's interface: greedy, with its chat template.

    Of a generated answer the harness sees the final response alone, cut at the task's stop
    strings; they are not looked for in the reasoning.
    """

    def __init__(
        self,
        policy: Policy,
        style: FormatStyle,
        max_tokens: int,
        responses: Responses | None = None,
        progress: Progress | None = None,
        engine: Engine | None = None,
    ) -> None:
        """Wrap a policy.

        Args:
            policy: the model under test.
            style: how its reasoning is marked.
            max_tokens: longest generated answer, reasoning included.
            responses: those known are not asked for again.
            progress: is told how many of the harness's requests have their response, of how many.
            engine: generates; our own where None.
        """
        super().__init__()
        self.policy = policy
        self.tokenizer = policy.tokenizer
        self.style = style
        self.sampling = Sampling(max_tokens, temperature=0.0)
        self.responses = Responses() if responses is None else responses
        self.progress = progress
        self.engine = engine or make_engine(policy, _ROWS)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a turn."""
        return self.policy.stop_ids[0]

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without a context."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name."""
        return str(self.tokenizer.name_or_path)

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids; a chat template writes its special tokens itself."""
        ids: list[int] = self.tokenizer(string, add_special_tokens=bool(add_special_tokens))[
            "input_ids"
        ]
        return ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text. As the harness's own models do it, a template that takes no
        system message gets none.

        Raises:
            CadaError: the template rejects the conversation.
        """
        bare = [message for message in chat_history if message["role"] != "system"]
        try:
            return self._rendered(chat_history, add_generation_prompt)
        except TemplateError:
            pass
        try:
            return self._rendered(bare, add_generation_prompt)
        except TemplateError as error:
            raise CadaError(
                f"the chat template rejects the conversation ({error})",
                where=self.tokenizer_name,
                mend="Mend the template",
            ) from error

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The final response to each request, up to the first of its stop strings."""
        asked = [self._asked(request.args) for request in requests]
        missing = [i for i, each in enumerate(asked) if self.responses.get(each) is None]
        prompts = [
            prompt
            for _, group in groupby(missing, key=lambda i: requests[i].task_name)
            for prompt in _share([self.tok_encode(asked[i][0]) for i in group])
        ]
        self._check(prompts, self.sampling.max_tokens)
        done = len(asked) - len(missing)
        for at, piece in self._pieces(prompts):
            groups = self.engine.generate(piece, 1, self.sampling, seed=0)
            self.responses.add(
                (asked[i], Response(rollout.text, rollout.finish_reason))
                for i, (rollout,) in zip(missing[at : at + len(piece)], groups, strict=True)
            )
            done += len(piece)
            self._tell(done, len(asked))
        return [self._final(request.args) for request in requests]

    def generated(self, args: tuple[str, dict[str, Any]]) -> Response:
        """All that the model gave to a request to generate."""
        return self._known(self._asked(args))

    def loglikelihood(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-probability in nats of each continuation, and whether it is the greedy one."""
        asked = [request.args for request in requests]
        missing = [i for i, each in enumerate(asked) if self.responses.get(each) is None]
        done = len(asked) - len(missing)
        for _, group in groupby(missing, key=lambda i: requests[i].task_name):
            piece = list(group)
            found = super().loglikelihood([requests[i] for i in piece], disable_tqdm=True)
            self.responses.add(
                (asked[i], Response(logprob=logprob, greedy=greedy))
                for i, (logprob, greedy) in zip(piece, found, strict=True)
            )
            done += len(piece)
            self._tell(done, len(asked))
        return [(r.logprob, r.greedy) for r in map(self._known, asked)]  # type: ignore[misc]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Perplexity of a whole text: none of our tasks asks for it."""
        raise NotImplementedError

    @torch.no_grad()
    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        prompts = _share([context for _, context, _ in requests])
        samples = []
        for i, (prompt, (_, _, continuation)) in enumerate(zip(prompts, requests, strict=True)):
            ids = tuple(continuation)
            self._check([prompt], len(ids))
            rollout = Rollout("", "none", prompt.ids, ids, (0.0,) * len(ids), "", "stop")
            samples.append(Sample(i, prompt, rollout, None))
        head = self.policy.base.get_output_embeddings()
        found: dict[int, tuple[float, bool]] = {}
        for batch in microbatches(samples, _PASS):
            hidden = hidden_states(self.policy.base, batch, shared=self.policy.shared)
            lengths = [len(s.rollout.completion_ids) for s in batch]
            rows = head(hidden).float().log_softmax(dim=-1).split(lengths)
            for sample, logprobs in zip(batch, rows, strict=True):  # [n, V]
                ids_ = torch.tensor(sample.rollout.completion_ids, device=logprobs.device)
                chosen = logprobs.gather(1, ids_[:, None]).sum()
                greedy = bool((logprobs.argmax(dim=-1) == ids_).all())
                found[sample.group] = (float(chosen), greedy)
        return [found[i] for i in range(len(requests))]

    def _final(self, args: tuple[str, dict[str, Any]]) -> str:
        text = final_response(self.generated(args).text or "", self.style)
        until = args[1].get("until") or []
        for stop in [until] if isinstance(until, str) else until:
            text = text.split(stop)[0] if stop else text
        return text

    def _asked(self, args: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
        """What a request to generate asks for, its longest answer included."""
        return args[0], {**args[1], "max_gen_toks": self.sampling.max_tokens}

    def _known(self, asked: Any) -> Response:
        response = self.responses.get(asked)
        assert response is not None
        return response

    def _rendered(self, messages: list[dict[str, str]], open_turn: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=open_turn,
            continue_final_message=not open_turn,
        )
        return text

    def _pieces(self, prompts: list[Prompt]) -> Iterator[tuple[int, list[Prompt]]]:
        """Prompts decoded together, with where they begin."""
        start, longest = 0, 0
        for at, prompt in enumerate(prompts):
            longest = max(longest, len(prompt.request_ids))
            rows = at + 1 - start
            width = longest + self.sampling.max_tokens
            if rows > 1 and (rows > _ROWS or rows * width > _CACHED_TOKENS):
                yield start, prompts[start:at]
                start, longest = at, len(prompt.request_ids)
        if start < len(prompts):
            yield start, prompts[start:]

    def _check(self, prompts: list[Prompt], more: int) -> None:
        """See that the model's context holds every prompt and what follows it.

        Raises:
            CadaError: it does not.
        """
        room = getattr(self.policy.base.config, "max_position_embeddings", None)
        longest = max((len(p.ids) for p in prompts), default=0)
        if prompts and room is not None and longest + more > room:
            raise CadaError(
                f"a prompt of {longest} tokens and {more} more do not fit into the model's "
                f"context of {room}",
                where=self.policy.source,
                mend="Lower --max-tokens, or leave this benchmark out",
            )

    def _tell(self, done: int, total: int) -> None:
        if self.progress:
            self.progress(done, total)


def final_response(text: str, style: FormatStyle) -> str:
    """An output without its reasoning; one that holds none is left as it is."""
    response = parse(text, style).response
    return text if response == text.strip() else response


def _share(prompts: list[list[int]]) -> list[Prompt]:
    """Prompts whose pack is all that they begin with alike; each keeps a token of its own."""
    shortest, first, last = min(map(len, prompts)), min(prompts), max(prompts)
    n = 0
    while n < shortest - 1 and first[n] == last[n]:
        n += 1
    return [Prompt("", "none", tuple(ids[:n]), tuple(ids[n:])) for ids in prompts]
