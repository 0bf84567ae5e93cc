"""One update over several processes on one machine, over gloo."""

import os
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

from cada.config.phase import Phase
from cada.config.recipe import Lora
from cada.models.adapters import add_adapters
from cada.models.load import Policy
from cada.models.parallel import Root, full, layers_of, replicate, shard
from cada.training.references import Reference
from cada.training.samples import Sample
from cada.training.update import update
from tests.models.tiny import policy_of, tiny_llama, tiny_mistral

Case = dict[str, Any]
Job = tuple[Case, list[Sample], Phase, str]


class WideNorm(nn.Module):
    """RMSNorm in the weights' own precision; Llama's computes in float32 whatever they are."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.variance_epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.eps)
        scaled: Tensor = self.weight * hidden * scale
        return scaled


def make_policy(case: Case) -> Policy:
    """A tiny policy in float64, all of it."""
    model = tiny_mistral() if case.get("plain") else tiny_llama(tie_word_embeddings=case["tied"])
    model = model.double()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                setattr(parent, name, WideNorm(child))
    policy = policy_of(model)
    if case.get("lora"):
        policy.model = add_adapters(policy.model, Lora(rank=4, alpha=8), 1, seed=3).double()
        draw = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, weight in policy.model.named_parameters():
                if "lora_B" in name:
                    noise = torch.randn(weight.shape, generator=draw, dtype=weight.dtype)
                    weight.copy_(0.1 * noise)
    return policy


def make_reference(policy: Policy, case: Case) -> Reference | None:
    """The adapters' base, or a copy that the policy has left."""
    if not case["kl"]:
        return None
    reference = Reference(policy, copy_weights=not case.get("lora"))
    if not case.get("lora"):
        draw = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in policy.model.parameters():
                weight.add_(0.02 * torch.randn(weight.shape, generator=draw, dtype=weight.dtype))
    return reference


def step(case: Case, samples: list[Sample], phase: Phase, how: str) -> dict[str, Any]:
    """One step of plain gradient descent: its figures, and the gradients it took."""
    policy = make_policy(case)
    reference = make_reference(policy, case)
    accelerator = Accelerator(cpu=True)
    root: nn.Module = Root(policy.model)
    if how == "ddp":
        root = replicate(Root(policy.model), accelerator)
    if how == "fsdp2":
        shard(root, layers_of(policy.base))
        if reference is not None and not case.get("lora"):
            reference.shard()
    weights = dict(policy.model.named_parameters())
    before = {n: full(p.detach()).clone() for n, p in weights.items()}
    trained = [p for p in weights.values() if p.requires_grad]
    result = update(
        policy,
        torch.optim.SGD(trained, lr=1.0),
        accelerator,
        samples,
        phase,
        reference,
        tokens=case["tokens"],
        max_grad_norm=1e9,
        root=root,
    )
    moved = {n: before[n] - full(p.detach()) for n, p in weights.items()}
    return {"result": result, "gradient": moved}


def run(count: int, jobs: dict[str, Job], folder: Path) -> list[dict[str, dict[str, Any]]]:
    """Every job in `count` processes; what each process found, by the job's name."""
    plain = {name: (case, some, wanted.model_dump(), how) for name, (case, some, wanted, how)
             in jobs.items()}  # fmt: skip
    spawn(  # type: ignore[no-untyped-call]
        _worker, (count, plain, str(folder)), nprocs=count
    )
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _worker(rank: int, count: int, jobs: dict[str, Any], folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count
    )
    found = {
        name: step(case, samples, Phase.model_validate(wanted), how)
        for name, (case, samples, wanted, how) in jobs.items()
    }
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()
