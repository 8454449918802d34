"""auxSKD: similarity-based knowledge distillation (Dadashzadeh et al., CVPRW 2022; docs/methods/auxskd.md)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from vssl.backbones.base import Backbone
from vssl.bank import Bank
from vssl.distributed import gather
from vssl.ema import Ema, Momentum
from vssl.errors import UserError
from vssl.heads import mlp
from vssl.losses.similarity import anchor_log_probs, entropy_share, similarity_kl
from vssl.methods.base import Method, feature_std, view_for
from vssl.methods.vspp import AUGMENT, OPTIM
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment
from vssl.views.plan import Recipe
from vssl.views.samplers import PacedClips

VIEWS = PacedClips(clips=2, pace_across="different", segment_across="different", lookahead=3)


class AuxSKD(Method):
    """A student sees a bank of past clips as its EMA teacher does, from another clip of the same video.

        L = 1/B sum_i KL( softmax(Q b_i / 0.02) || softmax(Q a_i / 0.1) ) + w CE(pace of the student's clip)

    a = unit(predictor(linear(backbone(clip 1)))), b = unit(teacher's linear(backbone(clip 2))), w = 0  (auxskd.md 2.3)

    Args:
        backbone: A 3-D encoder of width D.
        views: Which frames: clip 0 is the student's, clip 1 the teacher's.
        augment: Official, as VSPP's; drawn independently for the two clips.
        optim: Official, as VSPP's.
        predictor: Whether the student has one: Linear(D/4, 2D) - BN - ReLU - Linear(2D, D/4).
        bank_size: K, a multiple of the global batch.
        bank_init: "rows": unit rows; "columns": unit columns, as in the official code.
        student_temperature: Of the student's softmax.
        teacher_temperature: Of the teacher's softmax.
        momentum: Of the teacher.
        joint_pretext_weight: w; the official code's first upload had the term commented out.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        views: PacedClips = VIEWS,
        augment: Augment = AUGMENT,
        optim: Optim = OPTIM,
        predictor: bool = True,
        bank_size: int = 15360,
        bank_init: Literal["rows", "columns"] = "rows",
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.02,
        momentum: Momentum = Momentum(0.999, "constant"),
        joint_pretext_weight: float = 0.0,
    ) -> None:
        super().__init__(backbone, optim)
        if views.clips != 2:
            rule = "the student sees one clip and the teacher another"
            raise UserError(f"views.clips={views.clips}", rule, "Set views.clips=2.")
        for name, value in (("student", student_temperature), ("teacher", teacher_temperature)):
            if value <= 0:
                raise UserError(f"{name}_temperature={value}", "must be positive", "Try 0.1 and 0.02.")
        embed_dim = backbone.dim // 4
        self.recipe = Recipe(views, {"clips": view_for(backbone, augment)})
        self.project = nn.Linear(backbone.dim, embed_dim)
        self.predict = mlp(embed_dim, 2 * backbone.dim, embed_dim, bias=True) if predictor else nn.Identity()
        self.teacher_backbone = Ema(backbone, momentum)
        self.teacher_project = Ema(self.project, momentum)
        self.bank = Bank(bank_size, embed_dim, init=bank_init)
        # without a weight it would get no gradient, which DDP does not allow
        self.pace = nn.Linear(backbone.dim, views.paces) if joint_pretext_weight else None
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.joint_pretext_weight = joint_pretext_weight
        self._keys: list[Tensor] = []

    def teachers(self) -> list[tuple[Ema, nn.Module]]:
        """Encoder and projection have a teacher copy, the predictor has none."""
        return [(self.teacher_backbone, self.backbone), (self.teacher_project, self.project)]

    def setup(self, stage: str) -> None:
        """Refuse a batch that does not divide the bank before anything is written."""
        super().setup(stage)
        if stage == "fit":
            self.bank.check(self.data.batch_size)
            self._keys.clear()

    def step(self, batch: Batch) -> StepOutput:
        """Similarities to the bank, which does not hold this step's keys yet; keys are gathered over ranks."""
        clips = self.view(batch, "clips")  # (B, 2, T, C, H, W)
        features = self.backbone(clips[:, 0])
        student = self.predict(self.project(features))
        with torch.no_grad():
            teacher = self.teacher_project.teacher(self.teacher_backbone.teacher(clips[:, 1]))
        anchors = self.bank.rows
        student, teacher = student.to(anchors.dtype), teacher.to(anchors.dtype)
        with torch.autocast(self.device.type, enabled=False):  # it would take the similarities to half precision
            loss = similarity_kl(student, teacher, anchors, self.student_temperature, self.teacher_temperature)
            entropy = entropy_share(anchor_log_probs(teacher, anchors, self.teacher_temperature))
        self._keys.append(gather(F.normalize(teacher, dim=-1))[0])
        logs = {"teacher_entropy": entropy, "student_std": feature_std(student.detach())}
        if self.pace is not None:
            pace, logits = batch.targets["pace"][:, 0], self.pace(features).float()
            loss = loss + self.joint_pretext_weight * F.cross_entropy(logits, pace)
            logs["pace_accuracy"] = (logits.argmax(-1) == pace).float().mean()
        return StepOutput(loss, logs, features.detach())

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Put the keys of the whole step, all accumulated micro-batches, into the bank: a step never meets its own."""
        super().on_before_optimizer_step(optimizer)
        for keys in self._keys:
            self.bank.put(keys)
        self._keys.clear()
