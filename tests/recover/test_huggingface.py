from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from penjing.errors import PenjingError
from penjing.recover import HuggingFace, Situation
from tests.recover.test_resume import same

pytest.importorskip("accelerate")


def bert(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=8, num_labels=2,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def sentences(count: int = 64) -> list[dict[str, Tensor]]:
    """Whether a sentence begins with a word of the first half of the vocabulary."""
    words = torch.randint(20, (count, 6), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": (row[0] < 10).long()} for row in words]


def accuracy(model: nn.Module) -> float:
    data = sentences()
    with torch.no_grad():
        scores = model.eval()(input_ids=torch.stack([one["input_ids"] for one in data])).logits
    return float((scores.argmax(1) == torch.stack([one["labels"] for one in data])).float().mean())


def maker(folder: Path, **options: Any) -> Any:
    def make(model: nn.Module, original: nn.Module) -> transformers.Trainer:
        arguments = transformers.TrainingArguments(
            output_dir=str(folder), report_to=[], use_cpu=True, logging_strategy="epoch", save_strategy="no",
            disable_tqdm=True, per_device_train_batch_size=16,
            **{"num_train_epochs": 6, "learning_rate": 1e-2, **options},
        )  # fmt: skip
        return transformers.Trainer(model=model, args=arguments, train_dataset=sentences())

    return make


@pytest.mark.parametrize("narrow", [False, True], ids=["float32", "bfloat16"])
def test_trainer_trains_the_model_in_place(tmp_path: Path, narrow: bool) -> None:
    model = bert(1).eval()
    record = HuggingFace(maker(tmp_path, bf16=narrow)).apply(model, Situation(bert()))
    assert accuracy(model) > 0.9 > accuracy(bert(1))
    assert not model.training
    assert "forward" not in vars(model), "mixed precision is off again"
    assert [epoch.epoch for epoch in record.history] == [1, 2, 3, 4, 5, 6]
    assert record.options["trainer"] == "Trainer"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_trainer_puts_frozen_parameters_and_random_numbers_back(tmp_path: Path) -> None:
    model = bert(1)
    model.bert.embeddings.requires_grad_(False)
    situation, before = Situation(bert()), torch.get_rng_state()
    HuggingFace(maker(tmp_path, num_train_epochs=1)).apply(model, situation)
    assert torch.equal(before, torch.get_rng_state())
    words = model.bert.embeddings.word_embeddings.weight
    assert torch.equal(words, bert(1).bert.embeddings.word_embeddings.weight)
    assert not words.requires_grad
    assert not same(model, bert(1))


def test_trainer_of_another_model_is_refused(tmp_path: Path) -> None:
    make = maker(tmp_path)
    with pytest.raises(PenjingError, match="another model") as caught:
        HuggingFace(lambda model, original: make(bert(1), original)).apply(bert(1), Situation(bert()))
    assert caught.value.code == "PJ331"
    with pytest.raises(PenjingError, match="is given no Trainer"):
        HuggingFace(lambda model, original: model).apply(bert(1), Situation(bert()))


def test_trainer_that_fails_leaves_the_weights_as_they_were(tmp_path: Path) -> None:
    class Failing(transformers.TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
            raise OSError("the disk is gone")

    def make(model: nn.Module, original: nn.Module) -> transformers.Trainer:
        trainer = maker(tmp_path)(model, original)
        trainer.add_callback(Failing())
        return trainer

    model = bert(1)
    with pytest.raises(PenjingError, match="PJ330") as caught:
        HuggingFace(make).apply(model, Situation(bert()))
    assert caught.value.because == "OSError: the disk is gone"
    assert same(model, bert(1))


def test_trainer_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(PenjingError, match="PJ333") as caught:
        HuggingFace(maker(tmp_path)).apply(bert(1), Situation(bert()))
    assert "penjing[huggingface]" in caught.value.tries[0]
