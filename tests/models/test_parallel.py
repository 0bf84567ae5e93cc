"""What a launcher asks for, and whether it is to be had."""

import pytest

from cada.errors import CadaError
from cada.models.parallel import precision, wants_shards


@pytest.mark.parametrize("asked", ["bf16", "fp16", "fp8"])
def test_precision_that_a_cpu_lacks_is_told(asked: str) -> None:
    with pytest.raises(CadaError, match=f"{asked} is asked for") as error:
        precision("cpu", "no", asked, {"avx512_bf16": False})
    assert "--mixed_precision no" in str(error.value)


def test_fp16_is_refused_wherever_it_is_asked_for() -> None:
    with pytest.raises(CadaError, match="fp16"):
        precision("cuda", "bf16", "fp16", {})


@pytest.mark.parametrize("asked", [None, "no"])
def test_a_launcher_that_asks_for_nothing_changes_nothing(asked: str | None) -> None:
    assert precision("cuda", "bf16", asked, {}) == "bf16"
    assert precision("cpu", "no", asked, {}) == "no"


def test_a_cpu_that_has_bf16_takes_it() -> None:
    assert precision("cpu", "no", "bf16", {"avx512_bf16": True}) == "bf16"


def test_fsdp_1_is_refused_and_fsdp_2_taken() -> None:
    assert wants_shards({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"})
    assert not wants_shards({})
    with pytest.raises(CadaError, match="FSDP 1"):
        wants_shards({"ACCELERATE_USE_FSDP": "true"})
