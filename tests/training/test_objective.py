"""The loss against figures worked out by hand, and the KL estimators against the exact value."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from cada.config.phase import Kl, Phase
from cada.training.logprobs import TokenStats, token_stats
from cada.training.objective import Normaliser, kl_estimate, policy_loss
from cada.training.samples import Sample
from tests.training.data import phase, sample

# Two completions, of two tokens and of one.
LOGPROBS = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64)
REFERENCE = torch.tensor([-1.5, -1.0, -0.5], dtype=torch.float64)


def two_samples(logprobs: tuple[float, ...] = (-1.0, -2.0, -0.5)) -> list[Sample]:
    return [
        sample((7, 2), advantage=0.5, logprobs=logprobs[:2]),
        sample((2,), advantage=-2.0, group=1, logprobs=logprobs[2:]),
    ]


def stats(logprob: Tensor = LOGPROBS, exact: Tensor | None = None) -> TokenStats:
    return TokenStats(logprob, torch.zeros_like(logprob), REFERENCE, exact)


def loss(how: Phase, samples: list[Sample] | None = None, exact: Tensor | None = None) -> float:
    chosen = samples or two_samples()
    return float(policy_loss(chosen, stats(exact=exact), how, Normaliser.of(chosen)))


def test_token_mean_divides_by_all_tokens() -> None:
    # −(0.5·(−1 − 2) − 2·(−0.5)) = 0.5, over three tokens.
    assert loss(phase(loss_aggregation="token_mean")) == pytest.approx(0.5 / 3)


def test_sequence_sum_divides_by_the_sequences() -> None:
    assert loss(phase(loss_aggregation="sequence_sum")) == pytest.approx(0.5 / 2)


def test_the_verdicts_tokens_count_more() -> None:
    first, second = two_samples()
    chosen = [replace(first, verdict_tokens=1), replace(second, verdict_tokens=1)]
    how = phase(verdict_weight=3)
    # −(0.5·(3·(−1) − 2) − 2·3·(−0.5)) = −0.5, over three tokens.
    assert loss(how, chosen) == pytest.approx(-0.5 / 3)
    assert loss(how, [first, second]) == pytest.approx(0.5 / 3)


def test_a_verdicts_own_advantage_stands_in_for_the_outputs_on_its_tokens() -> None:
    ids, logprobs = (7, 8, 9, 2), (-1.0, -2.0, -4.0, -8.0)
    one = replace(sample(ids, advantage=-1.0, logprobs=logprobs), verdict_tokens=2)
    other = replace(one, verdict_advantage=0.5)
    stated = stats(torch.tensor(logprobs * 2, dtype=torch.float64))
    how = phase(verdict_weight=3)
    found = float(policy_loss([one, other], stated, how, Normaliser.of([one, other])))
    plain = -(3 * 3 + 4 + 8)  # −(−1)·(3·(−1 − 2) − 4 − 8), over the eight tokens
    assert found == pytest.approx((plain + 0.5 * 3 * 3 - 4 - 8) / 8)


def test_the_token_that_opens_the_response_counts_more() -> None:
    ids, logprobs = (7, 8, 9, 2), (-1.0, -2.0, -4.0, -8.0)
    one = replace(sample(ids, advantage=1.0, logprobs=logprobs), verdict_tokens=1, response_at=2)
    stated = stats(torch.tensor(logprobs, dtype=torch.float64))
    how = phase(opening_weight=2, verdict_weight=10)
    found = float(policy_loss([one], stated, how, Normaliser.of([one])))
    assert found == pytest.approx((10 * 1 + 2 + 2 * 4 + 8) / 4)
    whole = replace(one, verdict_tokens=0, response_at=None)
    assert float(policy_loss([whole], stated, how, Normaliser.of([one]))) == pytest.approx(15 / 4)


def test_the_importance_ratio_is_truncated_and_carries_no_gradient() -> None:
    sampled = two_samples((-1.5, -4.0, -0.2))
    logprob = LOGPROBS.clone().requires_grad_()
    how = phase(loss_aggregation="sequence_sum", ratio_clip=1.5)
    found = policy_loss(sampled, stats(logprob), how, Normaliser.of(sampled))
    found.backward()  # type: ignore[no-untyped-call]
    # Ratios e^0.5 = 1.65 and e^2 are cut to 1.5; e^−0.3 stands.
    low = torch.tensor(-0.3, dtype=torch.float64).exp()
    expected = torch.stack([torch.tensor(-0.75), torch.tensor(-0.75), 2 * low]) / 2
    torch.testing.assert_close(logprob.grad, expected.double())
    assert float(found.detach()) == pytest.approx(float((expected * LOGPROBS).sum()))


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("k1", [0.5, -1.0, 0.0]),
        ("k2", [0.125, 0.5, 0.0]),
        ("k3", [2.718281828**-0.5 - 0.5, 2.718281828 - 2, 0.0]),
        ("exact", [0.3, 0.2, 0.1]),
    ],
)
def test_kl_estimators(estimator: str, expected: list[float]) -> None:
    given = stats(exact=torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64))
    found = kl_estimate(given, Kl(estimator=estimator))
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_kl_in_the_loss_is_added_with_its_weight() -> None:
    exact = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
    how = phase(kl={"beta": 0.5, "estimator": "exact", "place": "loss"})
    assert loss(how, exact=exact) == pytest.approx((0.5 + 0.5 * 0.6) / 3)


def test_kl_in_the_reward_lowers_each_sequence_and_has_no_gradient_of_its_own() -> None:
    logprob = LOGPROBS.clone().requires_grad_()
    how = phase(kl={"beta": 0.5, "estimator": "k1", "place": "reward"})
    chosen = two_samples()
    given = stats(logprob, torch.zeros_like(LOGPROBS))
    policy_loss(chosen, given, how, Normaliser.of(chosen)).backward()  # type: ignore[no-untyped-call]
    # Advantages 0.5 − 0.5·(0.5 − 1) and −2 − 0.5·0, on every token of their sequence.
    torch.testing.assert_close(
        logprob.grad, -torch.tensor([0.75, 0.75, -2.0], dtype=torch.float64) / 3
    )


def test_a_kl_term_without_a_reference_is_an_error() -> None:
    bare = TokenStats(LOGPROBS, LOGPROBS, None, None)
    with pytest.raises(ValueError, match="reference"):
        policy_loss(two_samples(), bare, phase(kl={"beta": 0.1}), Normaliser(3, 2))


def two_distributions() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    return p, q


def sampled_stats(n: int) -> tuple[TokenStats, float]:
    """Statistics of `n` tokens sampled from p, through the real path, and KL(p ‖ q)."""
    p, q = two_distributions()
    torch.manual_seed(1)
    targets = Categorical(logits=p).sample((n,))  # type: ignore[no-untyped-call]
    identity = torch.nn.Identity()
    found = token_stats(identity, p.expand(n, -1), targets, 1.0, (identity, q.expand(n, -1)))
    exact = kl_divergence(Categorical(logits=p), Categorical(logits=q))
    return found, float(exact)


def test_exact_kl_is_torchs() -> None:
    found, exact = sampled_stats(3)
    assert kl_estimate(found, Kl(estimator="exact")).tolist() == pytest.approx([exact] * 3)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_estimators_mean_approaches_the_exact_value(estimator: str) -> None:
    found, exact = sampled_stats(40_000)
    values = kl_estimate(found, Kl(estimator=estimator))
    error = float(values.std()) / 200
    assert abs(float(values.mean()) - exact) < 4 * error < 0.2 * exact
