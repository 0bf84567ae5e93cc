"""Everything that inspect_ai may look up by its name; importing it registers it."""

from cada.evaluation.inspect.metrics import rates
from cada.evaluation.inspect.provider import cada
from cada.evaluation.inspect.scorers import judged
from cada.evaluation.inspect.solvers import attack, prompt, respond
from cada.evaluation.inspect.tasks import BENCHMARK_TASKS, requests

__all__ = [
    "BENCHMARK_TASKS",
    "attack",
    "cada",
    "judged",
    "prompt",
    "rates",
    "requests",
    "respond",
]
