"""Memory of a run, part by part, in bytes. Imports without torch.

The activations are those that a decoder of Llama's kind saves for its gradients: counted from what
autograd keeps, per token and layer, and not from a rule of thumb.
"""

from collections import Counter
from dataclasses import dataclass

from cada.planning.shape import ModelShape
from cada.planning.tokens import DecodeTokens, PassTokens
from cada.training.limits import KEPT_BYTES, LOGIT_ROWS

# Interpreter, libraries and the files a run reads; on a GPU, the driver's context.
_PROCESS = {"cpu": 600_000_000, "cuda": 600_000_000}


@dataclass(frozen=True)
class Part:
    """So many bytes for something, held `when`.

    `always`; all through an `update`, and there at its `loss` or in the layers' `backward` pass
    besides; or while `sampling`.
    """

    name: str
    when: str
    bytes: int


def peak(parts: list[Part]) -> int:
    """The most that is held at once: what always is, and the largest of the stages."""
    held = Counter[str]()
    for part in parts:
        held[part.when] += part.bytes
    update = held["update"] + max(held["loss"], held["backward"])
    return held["always"] + max(update, held["sampling"])


def parts_of(
    shape: ModelShape,
    *,
    device: str,
    references: int,
    kl: bool,
    update: PassTokens,
    decode: DecodeTokens,
    checkpointing: bool,
) -> list[Part]:
    """Every part of a run's memory.

    Args:
        shape: the model's sizes.
        device: `cpu` or `cuda`; weights and everything else lie there.
        references: second copies of the model for the KL term.
        kl: whether the loss has a KL term.
        update: the largest micro-batch.
        decode: the largest batch of rows.
        checkpointing: whether layers are computed again in the backward pass.
    """
    process = Part("process", "always", _PROCESS[device])
    parts = [
        process,
        Part("weights", "always", shape.weight_bytes + shape.adapter_bytes),
        Part("reference", "always", references * (shape.weight_bytes + shape.adapter_bytes)),
        Part("optimiser", "always", 2 * shape.trained_bytes),
        Part("gradients", "update", shape.trained_bytes),
        Part("activations", "update", activations(shape, update, checkpointing)),
        Part("logits", "loss", _logits(shape, update, kl)),
        Part("layer at work", "backward", _at_work(shape, update, checkpointing)),
        Part("prefill", "sampling", _prefill(shape, decode)),
        Part("keys and values", "sampling", keys_and_values(shape, decode)),
        Part("sampled logits", "sampling", 4 * 4 * decode.rows * shape.vocabulary),
    ]
    if shape.wide and shape.adapted_bytes:
        parts.append(Part("merged adapters", "sampling", shape.adapted_bytes))
    if not shape.wide and shape.full:
        parts.append(Part("cast weights", "update", shape.weight_bytes // 2))
    return [p for p in parts if p.bytes]


def activations(shape: ModelShape, update: PassTokens, checkpointing: bool) -> int:
    """What is kept from the forward pass for the backward pass."""
    element = 4 if shape.wide else 2
    ends = update.tokens * 2 * shape.hidden * 4 + 3 * update.outputs * shape.hidden * 4
    if checkpointing:
        return shape.layers * update.tokens * shape.hidden * element + ends
    return shape.layers * _layer(shape, update) + ends


def _layer(shape: ModelShape, update: PassTokens) -> int:
    """What one layer keeps."""
    joined = 2 * shape.keys * (4 if shape.wide else 2) * update.joined
    return update.tokens * _kept_per_token(shape) + joined


def _at_work(shape: ModelShape, update: PassTokens, checkpointing: bool) -> int:
    """The gradients inside the layer that is at work, and what it has to compute again."""
    own = update.tokens * 2 * (shape.inner + shape.hidden) * (4 if shape.wide else 2)
    return own + (_layer(shape, update) if checkpointing else 0)


def _kept_per_token(shape: ModelShape) -> int:
    """Bytes that one layer saves for a token's gradient.

    Both norms' inputs are saved in float32; then the linear layers' inputs, which only trained
    weights or adapters need, the queries, keys and values, attention's output, and the gate, its
    activation, the other half and their product.
    """
    e, q, k, i, r = shape.hidden, shape.queries, shape.keys, shape.inner, shape.rank
    norms = 4 * 2 * e
    if shape.full:
        norms += 4 * 2 * e  # their gains are trained
    if shape.wide:
        return norms + 4 * (2 * e + 3 * q + 2 * k + 4 * i + 7 * r)
    attended = 2 * (2 * q + 2 * k)
    if shape.full:  # autocast copies the input of every linear layer anew
        return norms + attended + 2 * (5 * e + 4 * i)
    # the adapters are float32, and PEFT copies the input of every adapted layer to it
    return norms + attended + 2 * 3 * i + 4 * (5 * e + q + i + 7 * r)


def _logits(shape: ModelShape, update: PassTokens, kl: bool) -> int:
    """A chunk of logits, how often it exists at once; of a trained head its gradient besides.

    Such a head keeps whole chunks of probabilities where there is no KL term.
    """
    rows = min(LOGIT_ROWS, update.outputs)
    row = 4 * shape.vocabulary
    held = row * rows * (5 if kl else 3)
    if not shape.full:
        return held
    chunks = KEPT_BYTES // (row * rows) if rows else 0
    kept = 0 if kl else row * min(update.outputs, chunks * rows)
    return held + row * shape.hidden + kept


def keys_and_values(shape: ModelShape, decode: DecodeTokens) -> int:
    """The prefixes' keys and values, held once, and every row's own columns."""
    element = 4 if shape.wide or shape.full else 2
    own = decode.rows * decode.columns
    prefixes = decode.prefilled if shape.shared else 0
    return 2 * shape.layers * shape.keys * element * (prefixes + own)


def _prefill(shape: ModelShape, decode: DecodeTokens) -> int:
    """The layer at work while the prompts are read."""
    element = 4 if shape.wide or shape.full else 2
    floats = 3 * shape.inner + 3 * shape.hidden + 2 * shape.queries + 2 * shape.keys
    return decode.prefilled * floats * element
