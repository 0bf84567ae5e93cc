"""Shell scripts that start a trainer."""

import shlex
from collections.abc import Sequence

from cada.export.plan import Plan

_HEAD = """\
#!/usr/bin/env bash
# Train phase {phase} with {what}.
# More settings can be given as arguments; they come last and win.
set -euo pipefail
HERE="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
[ -n "${{MODEL:-}}" ] || MODEL={model}
[ -n "${{OUT:-}}" ] || OUT={out}
NODES="${{NODES:-1}}"
GPUS="${{GPUS:-8}}"  # of each node
TENSOR_PARALLEL="${{TENSOR_PARALLEL:-1}}"  # of an inference engine
ENGINES="${{ENGINES:-$((NODES * GPUS / TENSOR_PARALLEL))}}"  # of inference
exec "${{PYTHON:-python3}}"{program}{arguments} \\
  "$@"
"""


def script(
    plan: Plan, program: Sequence[str], arguments: Sequence[Sequence[str]], what: str
) -> str:
    """A bash script that runs a Python program with these arguments, a line for each group.

    An argument may end in one of the script's variables (`$HERE`, `$MODEL`, `$OUT`, `$NODES`,
    `$GPUS`, `$TENSOR_PARALLEL`, `$ENGINES`); every other dollar sign is taken as it is.
    """
    return _HEAD.format(
        phase=repr(plan.phase.name),
        what=what,
        model=shlex.quote(plan.recipe.model),
        out=shlex.quote(f"{plan.recipe.output}-{plan.trainer}"),
        program="".join(f" {shlex.quote(each)}" for each in program),
        arguments="".join(f" \\\n  {' '.join(map(_quoted, group))}" for group in arguments),
    )


_VARIABLES = ("$HERE", "$MODEL", "$OUT", "$NODES", "$GPUS", "$TENSOR_PARALLEL", "$ENGINES")


def _quoted(argument: str) -> str:
    """The argument in quotes that leave the script's own variables to the shell."""
    for variable in _VARIABLES:
        before, found, after = argument.partition(variable)
        if found:
            return f'"{_escaped(before)}{variable}{_escaped(after)}"'
    return shlex.quote(argument)


def _escaped(text: str) -> str:
    """A text that means itself within double quotes."""
    return "".join(f"\\{c}" if c in '\\"$`' else c for c in text)
