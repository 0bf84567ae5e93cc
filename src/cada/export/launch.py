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
MODEL="${{MODEL:-{model}}}"
OUT="${{OUT:-{out}}}"
NODES="${{NODES:-1}}"
GPUS="${{GPUS:-8}}"  # of each node
TENSOR_PARALLEL="${{TENSOR_PARALLEL:-1}}"  # of an inference engine
ENGINES="${{ENGINES:-$((NODES * GPUS / TENSOR_PARALLEL))}}"  # of inference
exec "${{PYTHON:-python3}}"{program}{arguments} \\
  "$@"
"""


def script(plan: Plan, program: Sequence[str], arguments: Sequence[str], what: str) -> str:
    """A bash script that runs a Python program with these arguments.

    An argument may end in one of the script's variables (`$HERE`, `$MODEL`, `$OUT`, `$NODES`,
    `$GPUS`, `$TENSOR_PARALLEL`, `$ENGINES`); every other dollar sign is taken as it is.
    """
    return _HEAD.format(
        phase=repr(plan.phase.name),
        what=what,
        model=_default(plan.recipe.model),
        out=_default(f"{plan.recipe.output}-{plan.trainer}"),
        program="".join(f" {shlex.quote(each)}" for each in program),
        arguments="".join(f" \\\n  {_quoted(each)}" for each in arguments),
    )


_VARIABLES = ("$HERE", "$MODEL", "$OUT", "$NODES", "$GPUS", "$TENSOR_PARALLEL", "$ENGINES")


def _quoted(argument: str) -> str:
    """The argument in quotes that leave the script's own variables to the shell."""
    for variable in _VARIABLES:
        before, found, after = argument.partition(variable)
        if found:
            return f'{shlex.quote(before) if before else ""}"{variable}"' + (
                shlex.quote(after) if after else ""
            )
    return shlex.quote(argument)


def _default(value: str) -> str:
    """A text as a variable's default, within double quotes and braces."""
    return "".join(f"\\{c}" if c in '\\"$`}' else c for c in value)
