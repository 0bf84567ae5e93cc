"""What the KL term refers to: the untrained policy, or the policy as a phase began."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from cada.config.phase import Phase
from cada.errors import CadaError
from cada.models.adapters import adapters_off
from cada.models.load import Policy
from cada.models.parallel import layers_of, shard
from cada.training.checkpoint import load_weights, save_reference
from cada.training.logprobs import hidden_states
from cada.training.samples import Sample


class Reference:
    """A frozen copy of the policy, or the base under its LoRA adapters."""

    def __init__(self, policy: Policy, *, copy_weights: bool) -> None:
        """Freeze the policy as it is now.

        `copy_weights` false uses the adapters' base (LoRA, reference `initial`): no second model.
        """
        self._policy = policy
        self._model: Any = None
        if copy_weights or not isinstance(policy.model, PeftModel):
            wrapped = copy.deepcopy(policy.model).eval().requires_grad_(False)
            self._model = wrapped.get_base_model() if isinstance(wrapped, PeftModel) else wrapped

    def shard(self, half: bool = False) -> None:
        """Split a copy's decoder over all processes; its head stays whole on each.

        The adapters' base is split with the policy.
        """
        if self._model is not None:
            shard(self._model.get_decoder(), layers_of(self._model), half)

    @torch.no_grad()
    def hidden(self, samples: list[Sample]) -> Tensor:
        """Hidden states `[N, E]` that predict the completion tokens."""
        with self._context():
            return hidden_states(self.model, samples, shared=self._policy.shared)

    @property
    def model(self) -> Any:
        """The causal model that computes the reference."""
        return self._policy.base if self._model is None else self._model

    def _context(self) -> AbstractContextManager[Any]:
        if self._model is None:
            return adapters_off(self._policy.model)
        return nullcontext()


class References:
    """The references of a run's phases, each made when it is there to be copied."""

    def __init__(self, policy: Policy, phases: Sequence[Phase], folder: Path) -> None:
        """`folder` keeps a phase's start on disk, so that a resumed run has it too."""
        self._policy = policy
        self._phases = phases
        self._folder = folder
        self._initial: Reference | None = None
        self._start: tuple[str, Reference] | None = None

    def make_initial(self) -> None:
        """Take the policy, still untrained, as a reference, where a phase asks for it."""
        wanted = any(p.kl.beta and p.kl.reference == "initial" for p in self._phases)
        if wanted and self._initial is None:
            self._initial = Reference(self._policy, copy_weights=False)

    def shard(self, half: bool) -> None:
        """Split them over all processes; the policy must still be whole and untrained.

        Raises:
            CadaError: a phase refers to its own start.
        """
        for number, phase in enumerate(self._phases):
            if phase.kl.beta and phase.kl.reference == "phase":
                raise CadaError(
                    "a phase's start cannot be the reference of weights that are sharded",
                    where=f"phases.{number}.kl.reference",
                    mend="Set it to `initial`, or launch without FSDP",
                )
        self.make_initial()
        if self._initial is not None:
            self._initial.shard(half)

    def of(self, phase: Phase, step: int) -> Reference | None:
        """The reference at a phase's step (from 0); None without a KL term."""
        if not phase.kl.beta:
            return None
        if phase.kl.reference == "initial":
            return self._initial
        if self._start is None or self._start[0] != phase.name:
            self._start = (phase.name, self._from_start(phase, step))
        return self._start[1]

    def _from_start(self, phase: Phase, step: int) -> Reference:
        model = self._policy.model
        path = self._folder / f"reference-{phase.name}.safetensors"
        if step == 0:
            save_reference(model, path)
            return Reference(self._policy, copy_weights=True)
        here = {n: p.detach().clone() for n, p in model.named_parameters()}
        load_weights(model, path)
        reference = Reference(self._policy, copy_weights=True)
        model.load_state_dict(here, strict=False)
        return reference
