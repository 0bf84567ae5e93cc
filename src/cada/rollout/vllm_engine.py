"""Sample with vLLM (Kwon et al. 2023): on a server of its own, or in this process.

Either has a copy of the policy that is given each update's weights, and a prefix cache of its own:
packs and requests are prefilled once there too. Log-probabilities are those of the distribution
that is sampled from. They are rounded otherwise than the trainer's and depend on what else is
sampled at the time, so that a run does not come out bit by bit alike.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from cada.config.rollout import VllmOptions
from cada.errors import CadaError
from cada.models.load import Policy, plain_weights, save_policy
from cada.models.parallel import Processes
from cada.rollout.encode import Encoder
from cada.rollout.types import EngineLostError, OutsideEngine, Prompt, Rollout, Sampling
from cada.rollout.vllm_server import OLDEST, Choice, Sampled, ServerLostError, VllmServer

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def make_vllm_engine(
    policy: Policy, options: VllmOptions, folder: Path, progress: Progress | None = None
) -> OutsideEngine:
    """The engine that the options ask for.

    Args:
        policy: what is sampled from.
        options: how.
        folder: where weights are written on their way, unless the options say.
        progress: is told how many completions of how many are there.

    Raises:
        CadaError: vLLM or its server is not there, or not of the kind that is needed.
    """
    if options.mode == "colocated":
        return ColocatedEngine(policy, options, folder, progress)
    return ServerEngine(policy, options, folder, progress)


def check_vllm(options: VllmOptions) -> None:
    """See that vLLM or its server is there, before anything else takes long.

    Raises:
        CadaError: it is not, or not of the kind that is needed.
    """
    if options.mode == "colocated":
        import_vllm()
    else:
        VllmServer(options).check()


class _VllmEngine:
    """What both engines hold."""

    def __init__(
        self,
        policy: Policy,
        options: VllmOptions,
        folder: Path,
        progress: Progress | None = None,
    ) -> None:
        self.policy = policy
        self.options = options
        self.folder = options.weights or folder
        self.progress = progress
        self.encoder = Encoder(policy.tokenizer)

    def _how(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[Sampled]:
        """How each prompt is sampled: from its own seed, or one of the call's."""
        random = Random(seed)
        drawn = [random.getrandbits(56) for _ in prompts]
        return [
            Sampled(samples, sampling, own if p.seed is None else p.seed, self.policy.stop_ids)
            for p, own in zip(prompts, drawn, strict=True)
        ]

    def _tell(self, done: int, total: int) -> None:
        if self.progress:
            self.progress(done, total)


class ServerEngine(_VllmEngine):
    """Samples on a vLLM server, which may have an environment and a machine of its own.

    The server reads new weights from a folder that both see.
    """

    def __init__(
        self,
        policy: Policy,
        options: VllmOptions,
        folder: Path,
        progress: Progress | None = None,
    ) -> None:
        """See that the server is there.

        Raises:
            CadaError: it is not, or it serves another model.
        """
        super().__init__(policy, options, folder, progress)
        self.server = VllmServer(options)
        self.server.check(
            lambda text: policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        )
        if self.server.device == "cpu" and _trains_a_tied_head(policy):
            raise CadaError(
                "vLLM on a CPU keeps the output head that it was started with where it is tied to "
                "the embeddings, and this run trains them",
                where="rollout.vllm",
                mend="Train adapters (lora), serve on a GPU, or sample with transformers",
            )

    def take_weights(self) -> None:
        """Write the policy's weights, and let the server read them.

        Raises:
            CadaError: the folder cannot be written, or the server cannot read it.
        """
        processes = Processes()
        save_policy(self.policy, self.folder)
        if processes.main:
            self.server.reload(self.folder)
        processes.wait()

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """`samples` completions a prompt, in the prompts' order.

        Raises:
            EngineLostError: the server is gone; what it still gave is in the error.
            CadaError: it refuses a prompt.
        """
        how = self._how(prompts, samples, sampling, seed)
        had: dict[int, list[Rollout]] = {}
        with ThreadPoolExecutor(min(self.options.concurrency, max(len(prompts), 1))) as pool:
            asked = {
                pool.submit(self.server.complete, p.ids, h): i
                for i, (p, h) in enumerate(zip(prompts, how, strict=True))
            }
            lost: CadaError | None = None
            for future in as_completed(asked):
                if future.cancelled():
                    continue
                place = asked[future]
                try:
                    choices = future.result()
                except CadaError as error:
                    lost = lost or error
                    for other in asked:
                        other.cancel()
                    continue
                had[place] = [self._rollout(prompts[place], choice) for choice in choices]
                self._tell(len(had) * samples, len(prompts) * samples)
        if isinstance(lost, ServerLostError):
            kept = f"{lost.what}; {len(had)} of {len(prompts)} prompts are sampled and kept"
            raise EngineLostError(kept, had, where=lost.where, mend=lost.mend or "") from lost
        if lost is not None:
            raise lost
        return [had[place] for place in range(len(prompts))]

    def _rollout(self, prompt: Prompt, choice: Choice) -> Rollout:
        return self.encoder.rollout(
            prompt, choice.token_ids, choice.logprobs.token_logprobs, self.policy.stop_ids
        )


class ColocatedEngine(_VllmEngine):
    """Samples with vLLM in this process, beside the policy; weights stay in memory."""

    def __init__(
        self,
        policy: Policy,
        options: VllmOptions,
        folder: Path,
        progress: Progress | None = None,
    ) -> None:
        """Start vLLM with the policy as it is now.

        Raises:
            CadaError: vLLM is missing or too old, does not know the model or lacks memory, or there
                are many processes.
        """
        super().__init__(policy, options, folder, progress)
        if Processes().count > 1:
            raise CadaError(
                "vLLM in the trainer's process goes with one process",
                where="rollout.vllm.mode",
                mend="Use `server`, or launch one process",
            )
        vllm = import_vllm()
        save_policy(policy, self.folder)
        extra = {} if options.max_model_len is None else {"max_model_len": options.max_model_len}
        try:
            self.llm = vllm.LLM(
                model=str(self.folder.resolve()),
                dtype="bfloat16" if policy.device.type == "cuda" else "float32",
                gpu_memory_utilization=options.gpu_memory_utilization,
                enable_prefix_caching=True,
                logprobs_mode="processed_logprobs",
                generation_config="vllm",
                **extra,
            )
        except (ValueError, RuntimeError) as error:
            raise CadaError(
                f"vLLM does not start ({_line(error)})",
                where="rollout.vllm",
                mend="Change gpu_memory_utilization or max_model_len, or use `mode: server`",
            ) from error
        self._sampling_params: Any = vllm.SamplingParams

    def take_weights(self) -> None:
        """Load the policy's weights into vLLM's model, and empty its prefix cache.

        Raises:
            CadaError: vLLM could not.
        """
        weights = _checkpoint_weights(self.policy)
        try:
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        except (ValueError, RuntimeError, KeyError) as error:
            raise CadaError(
                f"vLLM could not take the new weights ({_line(error)})",
                where="rollout.vllm",
                mend="Use `mode: server`, or sample with transformers",
            ) from error
        if self.policy.device.type == "cpu" and self.policy.base.config.tie_word_embeddings:
            self.llm.apply_model(_pack_head)
        self.llm.reset_prefix_cache()

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """`samples` completions a prompt, in the prompts' order."""
        if not prompts:
            return []
        how = self._how(prompts, samples, sampling, seed)
        outputs = self.llm.generate(
            [{"prompt_token_ids": list(p.ids)} for p in prompts],
            [self._sampling_params(**h.parameters(), detokenize=False) for h in how],
            use_tqdm=False,
        )
        self._tell(len(prompts) * samples, len(prompts) * samples)
        return [
            [self._rollout(prompt, made) for made in sorted(out.outputs, key=lambda o: o.index)]
            for prompt, out in zip(prompts, outputs, strict=True)
        ]

    def _rollout(self, prompt: Prompt, made: Any) -> Rollout:
        ids = list(made.token_ids)
        values = [step[token].logprob for step, token in zip(made.logprobs, ids, strict=True)]
        return self.encoder.rollout(prompt, ids, values, self.policy.stop_ids)


def import_vllm() -> Any:
    """vLLM, set up to run in this process.

    Raises:
        CadaError: it is missing or too old.
    """
    # Its engine would run in a process of its own, where tensors cannot be handed to.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    oldest = ".".join(map(str, OLDEST))
    try:
        import vllm
    except ImportError as error:
        raise CadaError(
            f"vLLM is not to be had here ({_line(error)})",
            where="rollout.vllm.mode",
            mend=f"Install it (pip install 'vllm>={oldest}'), or use `mode: server` with a vLLM in "
            "an environment of its own",
        ) from error
    if tuple(vllm.__version_tuple__[:2]) < OLDEST:
        raise CadaError(
            f"vLLM {vllm.__version__} is installed",
            where="rollout.vllm.mode",
            mend=f"Install {oldest} or newer",
        )
    return vllm


def _trains_a_tied_head(policy: Policy) -> bool:
    """Whether training changes embeddings that are the output head too."""
    embeddings = policy.base.get_input_embeddings()
    trained = any(weight.requires_grad for weight in embeddings.parameters())
    return trained and bool(policy.base.config.tie_word_embeddings)


def _pack_head(model: Any) -> None:
    """Make vLLM's copy of a tied output head anew.

    On a CPU vLLM 0.32 multiplies by a packed copy, and `reload_weights` leaves the one of a tied
    head as it was.
    """
    model.lm_head.quant_method.process_weights_after_loading(model.lm_head)


@torch.no_grad()
def _checkpoint_weights(policy: Policy) -> Iterator[tuple[str, Tensor]]:
    """The policy's weights by the names that they have in a checkpoint, which vLLM knows."""
    from transformers.core_model_loading import revert_weight_conversion

    state: dict[str, Tensor] = revert_weight_conversion(policy.base, plain_weights(policy))
    items: Iterable[tuple[str, Tensor]] = state.items()
    yield from ((name, value.detach()) for name, value in items)


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
