"""Our side: the functions that a training step calls, on given samples."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from cada.config.phase import Phase
from cada.models.load import Policy
from cada.models.shared_prefix import NAME
from cada.rollout.transformers_engine import SharedEngine
from cada.rollout.types import Prompt, Rollout, Sampling
from cada.training.logprobs import plain_hidden, shared_hidden, token_stats
from cada.training.objective import Normaliser, policy_loss
from cada.training.samples import Sample
from cada.training.update import update

# On the policy, no KL term, a sum over each completion: the loss of RLOO with num_iterations 1.
PHASE = Phase.model_validate(
    {
        "name": "bench",
        "steps": 1,
        "loss_context": "cases",
        "advantage": "leave_one_out",
        "loss_aggregation": "sequence_sum",
        "kl": {"beta": 0},
    }
)


class Ours:
    """A policy and what its update needs."""

    def __init__(self, policy: Policy, optimiser: Any, tokens: int) -> None:
        """`tokens` is the budget of one forward and backward pass."""
        self.policy = policy
        self.optimiser = optimiser
        self.tokens = tokens
        self.accelerator = Accelerator(cpu=policy.device.type == "cpu", mixed_precision="no")

    def update(self, samples: list[Sample], *, shared: bool = True) -> None:
        """One update; with `shared` false by the plain twin, one forward pass a sample."""
        self._enter(shared)
        tokens = self.tokens if shared else 1
        update(
            self.policy,
            self.optimiser,
            self.accelerator,
            samples,
            PHASE,
            None,
            tokens=tokens,
            max_grad_norm=1.0,
        )

    def gradients(
        self, samples: list[Sample], *, shared: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Summed log-probabilities `[N]` of the completions, and the loss's gradients."""
        self._enter(shared)
        model = self.policy.base
        model.zero_grad(set_to_none=True)
        path = shared_hidden if shared else plain_hidden
        targets = [t for s in samples for t in s.rollout.completion_ids]
        wanted = torch.tensor(targets, device=self.policy.device)
        stats = token_stats(model.get_output_embeddings(), path(model, samples), wanted, 1.0)
        policy_loss(samples, stats, PHASE, Normaliser.of(samples)).backward()  # type: ignore[no-untyped-call]
        found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        model.zero_grad(set_to_none=True)
        lengths = [len(s.rollout.completion_ids) for s in samples]
        parts = stats.logprob.detach().split(lengths)  # type: ignore[no-untyped-call]
        return torch.stack([p.sum() for p in parts]), found

    def sample(
        self, prompts: list[Prompt], group: int, sampling: Sampling, stop_ids: tuple[int, ...]
    ) -> list[Rollout]:
        """`group` completions a prompt, flattened; without stop tokens all of full length."""
        self._enter(True)
        own = self.policy.stop_ids
        self.policy.stop_ids = stop_ids
        try:
            found = SharedEngine(self.policy).generate(prompts, group, sampling, seed=0)
        finally:
            self.policy.stop_ids = own
        return [rollout for rollouts in found for rollout in rollouts]

    def _enter(self, shared: bool) -> None:
        self.policy.model.set_attn_implementation(NAME if shared else "sdpa")
        self.policy.model.eval()
