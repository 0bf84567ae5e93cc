"""The recipe behind a run, as advice on what to change in it needs it."""

from typing import Any

from cada.reporting.load import RunData

# A baseline's fields for those of the phase that it amounts to.
_SAME = {"steps": "epochs", "requests_per_step": "requests"}


def phase(run: RunData, name: Any = None) -> dict[str, Any]:
    """The phase of that name; the last one when there is none."""
    return next((p for p in run.phases if p.get("name") == name), run.phases[-1])


def place(run: RunData, name: Any = None) -> str:
    """That phase as an override names it: `phases.reinforce`."""
    return "baseline" if run.baseline else f"phases.{phase(run, name).get('name')}"


def shares(run: RunData) -> str:
    """Where the shares of the kinds of requests stand."""
    return "baseline.benign_share" if run.baseline else f"{place(run)}.shares"


def setting(run: RunData, field: str, name: Any = None) -> str:
    """A field of that phase and its value: `phases.reinforce.steps (it is 8)`."""
    if run.baseline:
        field = _SAME.get(field, field)
        if field == "kl.beta":  # what keeps it near its start
            dpo = run.baseline.get("kind") == "dpo"
            training = run.config.get("training") or {}
            decay = f"training.weight_decay (it is {training.get('weight_decay')})"
            return f"baseline.beta (it is {run.baseline.get('beta')})" if dpo else decay
        return f"baseline.{field} (it is {run.baseline.get(field)})"
    value: Any = phase(run, name)
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return f"{place(run, name)}.{field} (it is {value})"


def benign_share(run: RunData) -> float:
    """The share of harmless requests in the last phase."""
    shares = phase(run).get("shares") or {}
    return float(shares.get("lookalike", 0)) + float(shares.get("ordinary", 0))


def centres_on_groups(run: RunData, name: Any) -> bool:
    """Whether that phase's rewards are centred within each request's rollouts."""
    return phase(run, name).get("advantage") in ("group", "leave_one_out")


def teach_the_format(run: RunData) -> str:
    """What makes a model reason before it answers."""
    if run.baseline:
        return (
            "Learn from chains that reason (baseline.data: chains, baseline.filter: "
            f"refused_and_reasoned), and longer: raise {setting(run, 'steps')}."
        )
    distil = next((p.get("name") for p in run.phases if p.get("positive_only")), None)
    if distil is None:
        return (
            "Centred rewards do not teach the format on the bare request: put a phase in front "
            "that distils whole +1 rollouts (positive_only: true, rollout_mode: cases, "
            "loss_context: bare)."
        )
    return (
        f"Distil longer first: raise {setting(run, 'steps', distil)} or "
        f"{setting(run, 'learning_rate', distil)}, and keep reward.reasoning: substantive, so that "
        "filler earns nothing."
    )
