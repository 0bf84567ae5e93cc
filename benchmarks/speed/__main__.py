"""The command line.

python -m benchmarks.speed update
python -m benchmarks.speed gpu --random llama3-8b --device cuda --rows 8
"""

import json
import sys
from importlib.metadata import version
from typing import Annotated, Any

import torch
import typer
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from benchmarks.speed.cases import CASES, ON_A_CPU, Bench, memory_case, peak_of
from benchmarks.speed.clock import keep_memory, machine
from benchmarks.speed.peer import bare_tokenizer
from cada.models.load import BUILTIN, Policy, _try_shared, load_policy

# Random weights in the shapes of real models, and two small ones to try the code on.
RANDOM: dict[str, dict[str, Any]] = {
    "llama3-8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
        "max_position_embeddings": 8192,
    },
    "small": {
        "vocab_size": 8192,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 4096,
    },
    "tiny": {
        "vocab_size": 256,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    },
}


def random_policy(name: str, device: str, dtype: torch.dtype) -> Policy:
    """A policy with random weights, made on the device."""
    torch.manual_seed(0)
    config = LlamaConfig(**RANDOM[name], bos_token_id=1, eos_token_id=2, pad_token_id=2)
    with torch.device(device):
        model = LlamaForCausalLM._from_config(config, dtype=dtype).eval()
    shared = _try_shared(model)
    tokenizer = bare_tokenizer(config.vocab_size)
    return Policy(model, tokenizer, name, (2,), shared, device=torch.device(device))


def main(
    case: Annotated[str, typer.Argument(help=f"One of {', '.join(CASES)}, or all.")] = "all",
    model: Annotated[str, typer.Option(help="Any model that `cada align` takes.")] = BUILTIN,
    random: Annotated[str, typer.Option(help=f"Random weights: {', '.join(RANDOM)}.")] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    repeats: Annotated[int, typer.Option(help="Repetitions; the median is told.")] = 3,
    minutes: Annotated[float, typer.Option(help="No repetition begins that would pass it.")] = 8,
    rows: Annotated[int, typer.Option(help="Rows of one of TRL's passes.")] = 2,
    tokens: Annotated[int, typer.Option(help="Tokens of one of our passes.")] = 4096,
    part: Annotated[int, typer.Option(help="Groups that TRL updates on, scaled; 0 all.")] = 4,
    threads: Annotated[int, typer.Option(help="Threads of the CPU; 0 all.")] = 0,
    scale: Annotated[float, typer.Option(help="Factor of all lengths, for a quick try.")] = 1.0,
    continuous: Annotated[bool, typer.Option(help="Rollouts: continuous batching too.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep freed memory for both sides (CPU).")] = True,
    dtype: Annotated[str, typer.Option(help="float32, float64 or bfloat16.")] = "",
    side: Annotated[str, typer.Option(help="Internal: one side of the memory case.")] = "",
) -> None:
    """Print one JSON line a case."""
    if case != "all" and case not in CASES:
        raise typer.BadParameter(f"there is no case {case!r}: choose from {', '.join(CASES)}")
    if random and random not in RANDOM:
        raise typer.BadParameter(f"there is no shape {random!r}: choose from {', '.join(RANDOM)}")
    logging.set_verbosity_error()
    if threads:
        torch.set_num_threads(threads)
    kept = keep and device == "cpu" and case != "memory" and keep_memory()
    kind = getattr(torch, dtype or ("bfloat16" if device == "cuda" else "float32"))
    arguments = _shared_arguments()
    if case == "memory" and not side:  # this process holds no model while the others are measured
        print(json.dumps(_rounded(memory_case(Bench(None, None, arguments=arguments), case))))  # type: ignore[arg-type]
        return
    if random:
        policy = random_policy(random, device, kind)
    else:
        policy = load_policy(model, device=device, dtype=kind)
    # Both sides' default. Nothing moves: every repetition does the same work.
    weights = policy.base.parameters()
    optimiser = torch.optim.AdamW(weights, lr=0.0, weight_decay=0.0, fused=True)
    bench = Bench(
        policy,
        optimiser,
        repeats=repeats,
        minutes=minutes,
        rows=rows,
        tokens=tokens,
        part=part or None,
        scale=scale,
        continuous=continuous,
        arguments=arguments,
    )
    if side:
        print(peak_of(bench, case, side))
        return
    about = {
        "model": random or model,
        "dtype": str(kind).removeprefix("torch."),
        "keeps_memory": kept,
        "versions": {n: version(n) for n in ("torch", "transformers", "trl")},
        **machine(),
    }
    for name in ON_A_CPU if case == "all" else [case]:
        print(json.dumps(_rounded(CASES[name](bench, name)) | about), flush=True)


def _shared_arguments() -> list[str]:
    """This command's options, without the case: each side of the memory case takes them."""
    return [a for a in sys.argv[1:] if a not in CASES and a != "all"]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    typer.run(main)
