"""The model card: what the model is, how it was made, and what it is not."""

import re
from pathlib import Path
from typing import Any

import yaml

from cada.judging.known import agreement
from cada.reporting.diagnose import Level, diagnose
from cada.reporting.headline import headline
from cada.reporting.load import RunData
from cada.reporting.tables import comparison, markdown_table

_BUILTIN = "builtin:smollm2-135m"
_BUILTIN_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_PAPER = (
    "Jin, Wu, Che et al., *Reasoning over Precedents Alongside Statutes: Case-Augmented "
    "Deliberative Alignment for LLM Safety*, ACL 2026, arXiv 2601.08000"
)


def model_card(run: RunData) -> str:
    """The card in Markdown, with the metadata block that model hubs read."""
    table, diagnoses = comparison(run.rows), diagnose(run)
    top = headline(run, table, diagnoses)
    name = run.folder.resolve().name
    findings = "".join(f"- **{d.title}.** {d.text}\n" for d in diagnoses if d.level != Level.GOOD)
    sections = [
        f"# {name}\n\n{top.sentence}\n\n{top.verdict}".rstrip() + "\n",
        _made(run),
        "## Before and after\n\nGreedy decoding; 95 % intervals (Wilson's for rates); changes in "
        f"points, or in nats for the canary.\n\n{markdown_table(table)}",
        f"## Known troubles of this run\n\n{findings}" if findings else "",
        _use(run),
        _limits(run),
        _licence(run),
    ]
    return f"---\n{_metadata(run)}---\n\n" + "\n".join(s for s in sections if s)


def _metadata(run: RunData) -> str:
    base = _hub_id(run)
    data: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0" if run.config.get("model") == _BUILTIN else "other",
        "tags": ["safety", "alignment", "deliberative-alignment", "cada"],
    }
    if base:
        data["base_model"] = base
    return yaml.safe_dump(data, sort_keys=False)


def _made(run: RunData) -> str:
    config = run.config
    lines = [
        "## How it was made\n",
        f"- Base model: {_base(run)}",
        f"- Method: {_method(run)}",
        f"- Casebook: `{config.get('casebook')}`; seed: {config.get('seed')}; weights trained: "
        + ("LoRA adapters" if config.get("lora") else "all"),
        f"- Steps taken: {len(run.metrics)}",
    ]
    if run.stopped:
        lines.append(f"- Stopped early at {run.stopped}")
    lines += [
        "\n| phase | steps | sampled under | loss on | requests × rollouts | learning rate | KL |",
        "|---|---:|---|---|---|---:|---:|",
        *(_phase(p) for p in run.phases),
    ]
    versions = run.environment.get("packages") or {}
    shown = ", ".join(f"{k} {v}" for k, v in versions.items() if v)
    if shown:
        lines.append(f"\nMade with {shown}.")
    return "\n".join(lines) + "\n"


def _method(run: RunData) -> str:
    if run.baseline is None:
        return (
            f"case-augmented deliberative alignment ({_PAPER}), as cada-align does it. "
            "The model samples answers to harmful and harmless requests, a judge looks at the "
            "final response, and reasoned right answers are rewarded."
        )
    kind = {"sft": "supervised fine-tuning", "dpo": "direct preference optimisation"}
    data = {
        "direct_refusal": "one fixed refusal of harmful requests",
        "chains": f"the model's own chains under mode `{run.baseline.get('rollout_mode')}`",
    }
    return (
        f"{kind[run.baseline['kind']]} (TRL) on {data[run.baseline['data']]}: a baseline of "
        f"case-augmented deliberative alignment ({_PAPER})."
    )


def _phase(phase: dict[str, Any]) -> str:
    bare = phase.get("loss_context") == "bare"
    cells = [
        phase.get("name"),
        phase.get("steps"),
        f"mode `{phase.get('rollout_mode')}`",
        "the bare request" if bare else "the sampling prompt",
        f"{phase.get('requests_per_step')} × {phase.get('rollouts_per_request')}",
        phase.get("learning_rate"),
        (phase.get("kl") or {}).get("beta"),
    ]
    return f"| {' | '.join(str(c).replace('|', chr(92) + '|') for c in cells)} |"


def _use(run: RunData) -> str:
    if run.config.get("lora") and not run.config.get("merge_lora", True):
        kind = "This folder holds adapters; PEFT puts them on the base model."
    else:
        kind = "This folder holds a plain model: weights, tokenizer and chat template."
    return f"""## How to use it

{kind} No code, rule or case is needed in the prompt. The answer opens with the model's reasoning;
show users the part after the final-response marker.

```console
$ cada chat {run.folder / "model"}
```
"""


def _limits(run: RunData) -> str:
    judges = sorted({str(r.get("judge")) for r in run.rows if r["benchmark"] != "canary"})
    told = "; ".join(f"{name} {agreement(name) or ''}".strip() for name in judges)
    sets = sorted({str(r["benchmark"]) for r in run.rows if r["benchmark"] != "canary"})
    return f"""## Intended use and limits

For research on safety training and over-refusal, and as a start for a policy of your own. Not a
safeguard to rely on by itself.

- It was measured on {", ".join(sets)} only. The embedded sets are small, written for this project
  and close to the training requests; expect worse figures on other requests.
- No jailbreak, long conversation or other language than that of the sets was tried, unless a row
  above names it.
- The judge was {told}. A judge by rules knows refusals by their words: it does not see a harmful
  answer in polite clothes, and it does not check whether an answer is true.
- The shown reasoning is what the model was rewarded for writing. It need not be why it answers so.
"""


def _licence(run: RunData) -> str:
    if run.config.get("model") == _BUILTIN:
        return "## Licence\n\nThe base model is under Apache-2.0, and so are these weights.\n"
    return (
        "## Licence\n\nThese weights derive from the base model, whose licence applies. The "
        "casebook and the embedded requests are under Apache-2.0; for request files of your own "
        "see their terms.\n"
    )


def _base(run: RunData) -> str:
    hub_id = _hub_id(run)
    shown = f"`{run.config.get('model')}`"
    return f"{shown} ({hub_id})" if hub_id and hub_id != run.config.get("model") else shown


def _hub_id(run: RunData) -> str | None:
    """The base model's id on the hub, or None where it was a folder or a file."""
    model = str(run.config.get("model"))
    if model == _BUILTIN:
        return _BUILTIN_HUB_ID
    looks_like_one = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model)
    return model if looks_like_one and not Path(model).exists() else None
