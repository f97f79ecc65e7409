"""Fine-tuning: the options of a training against labels, the original, or both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import nn

from penjing import processes
from penjing.errors import PenjingError
from penjing.network.batch import kept_modes
from penjing.network.seeding import seeded
from penjing.recover.average import Average
from penjing.recover.distances import FeatureLoss, kept_units
from penjing.recover.features import chosen
from penjing.recover.loader import epoch_seed, length
from penjing.recover.losses import Goal
from penjing.recover.objective import Objective
from penjing.recover.optimizer import Optimizer, Schedule, optimizer_of, scheduled
from penjing.recover.sharded import sharded
from penjing.recover.step import Loss, RecoveryRecord, Situation, Step
from penjing.recover.training import Training

_APART = ("train", "sharded")
"""Options by which the weights do not follow."""


@dataclass(frozen=True)
class FineTune(Step):
    """Trains the cut model.

    Only parameters that ask for gradients are trained. The same seed gives the same weights on one machine,
    and so does a training that was interrupted and goes on from `situation.checkpoint`: bit for bit. (But for
    workers of a `DataLoader` with `persistent_workers=True` that draw random numbers.) Random numbers of an
    epoch follow from the seed and the epoch's number, those of a loader's own generator too.

    Several processes train on the same batches as one, each on its samples of every batch; statistics of
    batch norms, masks of dropouts and losses are those of the whole batch. A `DataLoader` with a
    `DistributedSampler` is used as it is: each process has batches of its own.

    Attributes:
        epochs: passes over `train`, at least 1.
        train: gives its batches anew at each pass: a list or a `DataLoader`, not a generator.
        lr: highest learning rate.
        loss: "label" (the job's `loss`, else cross-entropy), "teacher" (the original's outputs, no labels
            needed), "label+teacher", or a function (outputs, batch) -> scalar.
        optimizer: "adamw" or "sgd".
        momentum: of SGD.
        nesterov: whether SGD's momentum looks ahead.
        weight_decay: of matrices and kernels; scales and biases do not decay.
        schedule: how the rate goes on after warm-up: "cosine" or "linear" to zero, or "constant".
        warmup: share of the steps over which the rate rises, from 0 up to but not including 1.
        ema: decay of a moving average of the weights, which is then what is evaluated and kept, such as
            0.999; None for no average.
        label_smoothing: of penjing's own cross-entropy; a loss of the user's own does its own smoothing.
        mixup: alpha of the Beta distribution by which pairs of samples are blended; 0 for none. Inputs must
            be real numbers.
        temperature: of class scores compared with the teacher's.
        teacher_share: of the teacher's loss in "label+teacher".
        feature_weight: of the distance of inner features from the original's, which is added; 0 for none.
        features: patterns of the names of modules whose outputs are compared; None for the blocks.
        feature_loss: "similarity" between samples, "attention" to places: neither needs equal widths; or
            "units", the kept units themselves, which needs the plan of the run.
        attention_weight: of the distance of the last attention's map from the original's, which is added; 0
            for none.
        clip: largest norm of a step's gradient; None for no bound.
        keep: "best" evaluates after every epoch and keeps the best state, the one before training included;
            "last" evaluates nothing. Without `evaluate` it is always the last.
        patience: epochs without a better metric after which training stops; None to go through all.
        sharded: of several processes, each holds a part of the parameters, of the gradients and of the
            optimizer's state (FSDP2), and a part of the original: for what does not fit otherwise. Weights
            to keep are gathered at the end of every epoch. With one process it changes nothing.
        precision: "float32", or "bfloat16" for matrix products and convolutions (autocast): up to three times
            as quick on processors that have it. Weights are float32 in any case.
        seed: of shuffling, augmentation and dropout; None for the job's.
    """

    epochs: int
    train: Iterable[Any]
    lr: float = 1e-3
    loss: Goal | Loss = "label+teacher"
    weight_decay: float = 0.01
    temperature: float = 2.0
    teacher_share: float = 0.5
    clip: float | None = 1.0
    keep: Literal["best", "last"] = "best"
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int | None = None
    optimizer: Optimizer = "adamw"
    momentum: float = 0.9
    nesterov: bool = False
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    ema: float | None = None
    label_smoothing: float = 0.0
    mixup: float = 0.0
    feature_weight: float = 0.0
    features: Sequence[str] | None = None
    feature_loss: FeatureLoss = "similarity"
    attention_weight: float = 0.0
    patience: int | None = None
    sharded: bool = False

    def __post_init__(self) -> None:
        """Refuses what cannot be meant.

        Raises:
            PenjingError: PJ313, an option out of range.
        """
        for name, (sound, asked) in _ranges(self).items():
            if not sound:
                raise PenjingError("PJ313", f"FineTune({name}={getattr(self, name)!r}): {name} is {asked}")
        if isinstance(self.train, Iterator):
            raise PenjingError(
                "PJ313",
                "FineTune(train=...) is used up after one pass",
                because=f"`{type(self.train).__name__}` is an iterator",
                tries=["give a list or a DataLoader, which begin anew at every epoch"],
            )

    @processes.together()
    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Trains in place, on from where `situation.checkpoint` says that it was.

        Where the loss turns NaN or infinite on the way, training goes back to the end of the last epoch and
        on with half the learning rate; where it does so again, it stops with the best state so far. Notes
        say so. Where an error ends the training, the best state so far is put back, and what was written to
        the checkpoint stays.

        Raises:
            PenjingError: PJ307, the loss fails or is no scalar; PJ310, a batch does not fit; PJ311, there are
                none; PJ312, no loss is known for them; PJ313, an option does not suit the data or the job;
                PJ314, the loss is not finite from the beginning, or no parameter asks for gradients; PJ315,
                `evaluate` fails; PJ316, the loader does; PJ317, features or attention cannot be compared;
                PJ318, the progress is of another training; PJ319, the data hold NaN.
        """
        seed = situation.seed if self.seed is None else self.seed
        self._suits(situation)
        options = self._options(seed)
        with kept_modes(model, situation.original), seeded(epoch_seed(seed, 0)):
            situation.original.eval()
            batches = length(self.train)
            spread = self.sharded and processes.world() > 1
            trained = sharded(model) if spread else model
            teacher = sharded(situation.original) if spread and self._asks_teacher else situation.original
            factor = scheduled(self.schedule, batches * self.epochs, self.warmup)
            progress = Training(
                model=trained,
                shown=model,
                objective=self._objective(situation, teacher),
                optimizer=self._optimizer(trained),
                factor=lambda step: self.lr * factor(step),
                train=self.train,
                batches=batches,
                epochs=self.epochs,
                judge=situation.evaluate if self.keep == "best" else None,
                average=None if self.ema is None else Average(trained, self.ema),
                patience=self.patience,
                clip=self.clip,
                narrow=self.precision == "bfloat16",
                seed=seed,
                options=options,
                watch=situation.watch,
                checkpoint=situation.checkpoint,
            ).run()
        return RecoveryRecord(
            method="fine_tune",
            options=options,
            seconds=progress.history[-1].seconds,
            history=tuple(progress.history),
            notes=tuple(progress.notes),
        )

    def _suits(self, situation: Situation) -> None:
        if self.patience is not None and (situation.evaluate is None or self.keep == "last"):
            raise PenjingError(
                "PJ313",
                f"FineTune(patience={self.patience}) has nothing to wait for",
                because="epochs are compared by `evaluate`, which is missing or not asked for",
                tries=['give evaluate=, and keep="best"', "patience=None"],
            )
        if self.label_smoothing and self.loss != "teacher" and (callable(self.loss) or situation.loss):
            raise PenjingError(
                "PJ313",
                f"FineTune(label_smoothing={self.label_smoothing:g}) has no labels to smooth",
                because="the loss is your own function, which does its own smoothing",
                tries=["F.cross_entropy(..., label_smoothing=...) in that function", "leave loss= out"],
            )

    @property
    def _asks_teacher(self) -> bool:
        return self.loss in ("teacher", "label+teacher") or bool(self.feature_weight or self.attention_weight)

    def _objective(self, situation: Situation, teacher: nn.Module) -> Objective:
        names = chosen(situation.original, self.features) if self.feature_weight else []
        by_units = self.feature_weight and self.feature_loss == "units"
        return Objective(
            goal=self.loss,
            own=situation.loss,
            teacher=teacher,
            temperature=self.temperature,
            share=self.teacher_share,
            smoothing=self.label_smoothing,
            mixup=self.mixup,
            feature_weight=self.feature_weight,
            features=names,
            feature_loss=self.feature_loss,
            kept=kept_units(situation.net, situation.plan, names) if by_units else None,
            attention_weight=self.attention_weight,
            split=processes.split_already(self.train),
        )

    def _optimizer(self, model: nn.Module) -> Any:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not trained:
            raise PenjingError(
                "PJ314",
                "there is nothing to train",
                because="no parameter of the model asks for gradients",
                tries=["model.requires_grad_(True) before the cut"],
            )
        return optimizer_of(
            trained, self.optimizer, lr=self.lr, weight_decay=self.weight_decay, momentum=self.momentum,
            nesterov=self.nesterov,
        )  # fmt: skip

    def _options(self, seed: int) -> dict[str, Any]:
        """All but the data, as plain values."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _APART}
        given["loss"] = self.loss if isinstance(self.loss, str) else "own"
        given["features"] = None if self.features is None else list(self.features)
        return {**given, "seed": seed}


def _ranges(step: FineTune) -> dict[str, tuple[bool, str]]:
    """Option -> whether it is sound, and what is asked of it."""
    return {
        "epochs": (step.epochs >= 1, "at least 1"),
        "lr": (0 < step.lr < math.inf, "above 0"),
        "weight_decay": (0 <= step.weight_decay < math.inf, "0 or more"),
        "temperature": (0 < step.temperature < math.inf, "above 0"),
        "teacher_share": (0 <= step.teacher_share <= 1, "from 0 to 1"),
        "clip": (step.clip is None or 0 < step.clip < math.inf, "above 0, or None"),
        "precision": (step.precision in ("float32", "bfloat16"), '"float32" or "bfloat16"'),
        "keep": (step.keep in ("best", "last"), '"best" or "last"'),
        "loss": (
            callable(step.loss) or step.loss in ("label", "teacher", "label+teacher"),
            '"label", "teacher", "label+teacher" or a function (outputs, batch) -> scalar',
        ),
        "optimizer": (step.optimizer in ("adamw", "sgd"), '"adamw" or "sgd"'),
        "momentum": (0 <= step.momentum < 1, "from 0 up to, but not including, 1"),
        "nesterov": (not step.nesterov or step.momentum > 0, "for a momentum above 0"),
        "schedule": (
            step.schedule in ("cosine", "linear", "constant"),
            '"cosine", "linear" or "constant"',
        ),
        "warmup": (0 <= step.warmup < 1, "a share of the steps, from 0 up to, but not including, 1"),
        "ema": (step.ema is None or 0 < step.ema < 1, "between 0 and 1, such as 0.999, or None"),
        "label_smoothing": (0 <= step.label_smoothing < 1, "from 0 up to, but not including, 1"),
        "mixup": (0 <= step.mixup < math.inf, "0 or more"),
        "feature_weight": (0 <= step.feature_weight < math.inf, "0 or more"),
        "features": (not isinstance(step.features, str), "a list of patterns, or None"),
        "feature_loss": (
            step.feature_loss in ("similarity", "attention", "units"),
            '"similarity", "attention" or "units"',
        ),
        "attention_weight": (0 <= step.attention_weight < math.inf, "0 or more"),
        "patience": (step.patience is None or step.patience >= 1, "at least 1, or None"),
    }
