"""Loading and saving policies: every source, every mistake, LoRA, a full disk."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from cada.config.recipe import Lora
from cada.errors import CadaError
from cada.models.load import BUILTIN, Policy, load_policy, save_policy
from cada.rollout.transformers_engine import PlainEngine, SharedEngine
from cada.rollout.types import Prompt, Sampling
from tests.models.tiny import tiny_llama, tiny_mistral

IDS = torch.tensor([[1, 9690, 198, 28, 500, 77, 12000]])


def logits(model: object) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits  # type: ignore[operator,no-any-return]


def stirred(policy: Policy) -> Policy:
    """Adapters that no longer are the identity."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return policy


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to be damaged."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def test_a_folder(tiny_folder: Path) -> None:
    policy = load_policy(str(tiny_folder))
    assert policy.shared
    assert policy.system_role
    assert policy.stop_ids == (2,)
    assert policy.model.dtype == torch.float32
    assert not policy.model.training
    assert all(p.requires_grad for p in policy.model.parameters())


def test_lora_trains_the_adapters_alone(tiny_folder: Path) -> None:
    policy = load_policy(str(tiny_folder), lora=Lora(rank=2, alpha=4))
    trained = {n for n, p in policy.model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    torch.testing.assert_close(logits(policy.model), logits(load_policy(str(tiny_folder)).model))


def test_adapters_depend_on_the_seed_alone(tiny_folder: Path) -> None:
    def adapters(noise: int, seed: int) -> list[torch.Tensor]:
        torch.manual_seed(noise)
        policy = load_policy(str(tiny_folder), lora=Lora(rank=2, alpha=4), seed=seed)
        assert torch.initial_seed() == noise
        named = sorted(policy.model.named_parameters(), key=lambda pair: pair[0])
        return [parameter for name, parameter in named if "lora_A" in name]

    first, again, other = adapters(1, seed=5), adapters(2, seed=5), adapters(1, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_several_stop_tokens(copied: Path) -> None:
    config = copied / "generation_config.json"
    config.write_text(json.dumps({"eos_token_id": [0, 17]}))
    assert load_policy(str(copied)).stop_ids == (0, 17, 2)


def test_a_pad_token_is_found_where_there_is_none(copied: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(copied)
    policy = load_policy(str(copied))
    prompts = [Prompt("a", "none", (1, 9690), (5,)), Prompt("b", "none", (1, 9690), (5, 6, 7))]
    sampling = Sampling(4, temperature=0)
    plain = PlainEngine(policy).generate(prompts, 1, sampling, 0)
    shared = SharedEngine(policy).generate(prompts, 1, sampling, 0)
    assert [g[0].completion_ids for g in plain] == [g[0].completion_ids for g in shared]


def one_line(error: pytest.ExceptionInfo[CadaError], where: str) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{where}: ")
    assert error.value.mend
    return text


@pytest.mark.parametrize("source", ["no-such-owner/no-such-model", "no/such/folder/at/all"])
def test_a_missing_model(source: str) -> None:
    with pytest.raises(CadaError, match="could not be loaded") as error:
        load_policy(source)
    one_line(error, source)


def test_a_missing_gguf_file(tmp_path: Path) -> None:
    source = str(tmp_path / "none.gguf")
    with pytest.raises(CadaError, match="could not be loaded") as error:
        load_policy(source)
    one_line(error, source)


def test_a_gguf_file_that_is_none(tmp_path: Path) -> None:
    source = tmp_path / "text.gguf"
    source.write_text("These are words.\n" * 50)
    with pytest.raises(CadaError, match="could not be loaded") as error:
        load_policy(str(source))
    one_line(error, str(source))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match=r"no config\.json") as error:
        load_policy(str(tmp_path))
    one_line(error, str(tmp_path))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "{"),
        ("config.json", '{"model_type": "no-such-family"}'),
        ("model.safetensors", "cut"),
        ("model.safetensors", None),
        ("tokenizer.json", "{"),
    ],
)
def test_a_damaged_folder(copied: Path, file: str, text: str | None) -> None:
    if text is None:
        (copied / file).unlink()
    else:
        (copied / file).write_text(text)
    with pytest.raises(CadaError, match="could not be loaded") as error:
        load_policy(str(copied))
    one_line(error, str(copied))


def test_no_chat_template(copied: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(CadaError, match="no chat template") as error:
        load_policy(str(copied))
    one_line(error, str(copied))


def test_no_stop_token(copied: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(copied)
    (copied / "generation_config.json").unlink()
    config = json.loads((copied / "config.json").read_text())
    config["eos_token_id"] = None
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(CadaError, match="no stop token") as error:
        load_policy(str(copied))
    one_line(error, str(copied))


def test_an_unknown_builtin() -> None:
    with pytest.raises(CadaError, match="no such built-in") as error:
        load_policy("builtin:gpt-7")
    assert BUILTIN in one_line(error, "builtin:gpt-7")


def test_a_template_without_a_system_role(copied: Path) -> None:
    (copied / "chat_template.jinja").write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"
    )
    assert not load_policy(str(copied)).system_role


def test_a_sliding_window_loads_for_the_plain_path(copied: Path) -> None:
    tiny_mistral(len(AutoTokenizer.from_pretrained(copied))).save_pretrained(copied)
    policy = load_policy(str(copied))
    assert not policy.shared
    assert policy.model.config._attn_implementation != "cada"


def test_a_saved_policy_is_a_plain_model(tiny_folder: Path, tmp_path: Path) -> None:
    policy = load_policy(str(tiny_folder))
    with torch.no_grad():
        policy.model.model.norm.weight.mul_(1.5)
    save_policy(policy, tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(plain), logits(policy.model), rtol=0, atol=0)
    assert plain.config._attn_implementation != "cada"
    again = load_policy(str(tmp_path / "out"))
    assert again.tokenizer.chat_template == policy.tokenizer.chat_template
    assert again.stop_ids == policy.stop_ids
    assert again.shared


@pytest.mark.parametrize("tied", [True, False])
def test_adapters_are_merged_when_saved(tiny_folder: Path, tmp_path: Path, tied: bool) -> None:
    source = Path(shutil.copytree(tiny_folder, tmp_path / "source"))
    size = len(AutoTokenizer.from_pretrained(source))
    tiny_llama(size, tie_word_embeddings=tied).save_pretrained(source)
    policy = stirred(load_policy(str(source), lora=Lora(rank=2, alpha=4)))
    before = {n: p.clone() for n, p in policy.model.named_parameters()}
    expected = logits(policy.model)
    save_policy(policy, tmp_path / "out")
    assert not list((tmp_path / "out").glob("adapter*"))
    merged = load_policy(str(tmp_path / "out"))
    # base + adapter and their sum round differently in float32
    assert (logits(merged.model) - expected).abs().max() < 1e-4
    assert (logits(load_policy(str(source)).model) - expected).abs().max() > 1e-2
    for name, weight in policy.model.named_parameters():
        assert torch.equal(weight, before[name]), name


def test_adapters_are_kept_apart_when_asked(tiny_folder: Path, tmp_path: Path) -> None:
    policy = stirred(load_policy(str(tiny_folder), lora=Lora(rank=2, alpha=4)))
    save_policy(policy, tmp_path / "out", merge=False)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_saved_adapter_loads_as_the_adapted_model(tiny_folder: Path, tmp_path: Path) -> None:
    policy = stirred(load_policy(str(tiny_folder), lora=Lora(rank=2, alpha=4)))
    save_policy(policy, tmp_path / "out", merge=False)
    loaded = load_policy(str(tmp_path / "out"))
    torch.testing.assert_close(logits(loaded.model), logits(policy.model))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("adapter_config.json", b"{not json"),
        ("adapter_config.json", b"[]"),
        ("adapter_config.json", b"{}"),
        ("adapter_model.safetensors", b"cut off"),
        ("adapter_model.safetensors", None),
    ],
)
def test_a_damaged_adapter_is_told(
    tiny_folder: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    policy = load_policy(str(tiny_folder), lora=Lora(rank=2, alpha=4))
    save_policy(policy, tmp_path / "out", merge=False)
    if content is None:
        (tmp_path / "out" / name).unlink()
    else:
        (tmp_path / "out" / name).write_bytes(content)
    with pytest.raises(CadaError, match="could not be loaded") as error:
        load_policy(str(tmp_path / "out"))
    one_line(error, str(tmp_path / "out"))


def test_a_disk_that_runs_full_leaves_nothing_half_written(
    tiny_folder: Path, tmp_path: Path, small_files: None
) -> None:
    target = tmp_path / "runs" / "model"
    policy = load_policy(str(tiny_folder))
    with pytest.raises(CadaError, match="could not be written") as error:
        save_policy(policy, target)
    one_line(error, str(target))
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_exists_is_replaced_whole(tiny_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    save_policy(load_policy(str(tiny_folder)), target)
    assert not (target / "old.txt").exists()
    assert (target / "model.safetensors").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
