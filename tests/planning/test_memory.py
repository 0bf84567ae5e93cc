"""Memory foreseen against what the tensors of an update really take."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoTokenizer

from cada.config.recipe import Lora
from cada.models.adapters import trained_weights
from cada.models.load import load_config, load_policy
from cada.planning.memory import parts_of, peak
from cada.planning.shape import shape_of
from cada.planning.tokens import DecodeTokens, passes
from cada.training.update import update
from tests.models.tiny import tiny_llama
from tests.planning.live import Live
from tests.training.data import forest_samples, phase

_BUDGET = 1024


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("rank", [32, 0])
def test_an_update_takes_what_is_foreseen(
    builtin_folder: Path, tmp_path: Path, rank: int, again: bool
) -> None:
    shape = {"num_hidden_layers": 8, "hidden_size": 256, "intermediate_size": 1024}
    tiny_llama(4096, **shape).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(builtin_folder).save_pretrained(tmp_path)
    lora = Lora(rank=rank, alpha=2 * rank) if rank else None
    policy = load_policy(str(tmp_path), lora=lora, device="cpu", dtype=torch.float32)
    samples = forest_samples([100] * 20, packs=1, requests=1, pack_tokens=20)
    adam = torch.optim.AdamW(trained_weights(policy.model).values(), lr=1e-5, fused=True)
    accelerator = Accelerator(cpu=True)
    optimiser = accelerator.prepare_optimizer(adam)

    def step() -> None:
        update(
            policy,
            optimiser,
            accelerator,
            samples,
            phase(),
            None,
            tokens=_BUDGET,
            max_grad_norm=1.0,
            recompute=again,
        )

    step()  # the optimiser's moments are there from now on
    always = list(policy.model.parameters())
    always += [v for state in adam.state.values() for v in state.values()]
    with Live(always) as live:
        step()
    foreseen = parts_of(
        shape_of(load_config(str(tmp_path))[0], lora=lora, phases=1, wide=True),
        device="cpu",
        references=0,
        kl=False,
        update=max(passes(samples, _BUDGET), key=lambda p: p.tokens),
        decode=DecodeTokens(0, 0, 0, 0, 0, 0, 0),
        checkpointing=again,
    )
    of_update = [p for p in foreseen if p.when not in ("always", "sampling")]
    assert peak(of_update) == pytest.approx(live.peak, rel=0.25)
