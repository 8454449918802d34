"""iBoot: regression of clips to a frozen image network (Saleh et al., 2022; reconstructed: docs/methods/iboot.md)."""

import logging
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vssl.backbones.base import Backbone
from vssl.backbones.inflate import inflate
from vssl.backbones.target import RANDOM, ImageTarget
from vssl.bank import Bank
from vssl.distributed import gather
from vssl.ema import Ema
from vssl.errors import UserError
from vssl.heads import mlp
from vssl.losses.contrastive import info_nce
from vssl.losses.regression import constant_regression, cosine_regression
from vssl.losses.similarity import similarity_kl
from vssl.methods.base import Method, view_for
from vssl.methods.byol import Byol, EmaVideo
from vssl.methods.sequential import encode_in_turn
from vssl.methods.targets import Centre, FeatureCache, Targets, aggregate, pairs
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment, center
from vssl.views.plan import Recipe, View
from vssl.views.stills import ClipsWithFrames

logger = logging.getLogger(__name__)

AUGMENT = Augment(
    scale=(0.2, 0.766), jitter=0.8, brightness=0.6, contrast=0.6, saturation=0.6, hue=0.15, grey=0.2, blur=0.5
)
OPTIM = Optim(
    name="lars",
    lr=0.6,
    reference_batch=64,
    weight_decay=1e-6,
    no_decay="norm_and_bias",
    schedule="cosine_whole",
    warmup=35,
    warmup_from=1e-3 / 0.6,
)
_TEMPERATURE = {"cosine": 0.5, "infonce": 0.1}


@dataclass(frozen=True)
class KlBank:
    """The bank of `loss=kl_bank`: auxSKD's loss with the image network as the teacher.

    Args:
        size: K; a multiple of the global batch.
        student_temperature: Of the prediction's distribution over the bank.
        teacher_temperature: Of the target's.
    """

    size: int = 15360
    student_temperature: float = 0.1
    teacher_temperature: float = 0.02


class IBoot(Method):
    """A clip predicts what a frozen image network says of its frames and of those of the video's other clips.

        z_t = unit(mean_f unit(g(x_t[f]))),   L = mean_o mean_t |unit(W f(x_o) + b) - z_t|^2   (iboot.md 2)

    Args:
        backbone: A 3-D encoder.
        target: The frozen image network g, with the card of its weights.
        views: rho clips and their frames.
        augment: Of the clips; the teacher's frames have their crop and flip, and no photometry.
        optim: SlowFast's rho-BYOL recipe: LARS, 0.6 x batch / 64, 35 epochs of warm-up into a cosine over the run.
        targets: Aggregation, pairing, centring, crop and cache.
        loss: "l2" 2 - 2 cos; "cosine" -cos / temperature; "mse" of the raw prediction to the unit target; "infonce"
            over the batch's targets of the same clip; "kl_bank" auxSKD's similarities to a bank of targets.
        temperature: Of "cosine" (None: 0.5) and "infonce" (None: 0.1).
        bank: Of "kl_bank".
        head: "linear"; "mlp" with one hidden layer and batch norm; "mlp+predictor" with BYOL's predictor behind.
        hidden: Hidden width of "mlp" and the predictor.
        ema_video: rho-BYOL on a second head.
        init: "inflate" starts slow_r50 from a 2-D ResNet-50.
        init_weights: Its file; None: the target's.
        sequential: Encode one clip after the other and compute activations again in the backward pass: the memory of
            one clip for any rho, for a third more time; batch statistics are then of one clip each.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        target: ImageTarget,
        views: ClipsWithFrames = ClipsWithFrames(),
        augment: Augment = AUGMENT,
        optim: Optim = OPTIM,
        targets: Targets = Targets(),
        loss: Literal["l2", "cosine", "mse", "infonce", "kl_bank"] = "l2",
        temperature: float | None = None,
        bank: KlBank = KlBank(),
        head: Literal["linear", "mlp", "mlp+predictor"] = "linear",
        hidden: int = 4096,
        ema_video: EmaVideo = EmaVideo(),
        init: Literal["random", "inflate"] = "random",
        init_weights: str | None = None,
        sequential: bool = False,
    ) -> None:
        super().__init__(backbone, optim)
        if views.clips < 2 and (targets.clips == "cross" or ema_video.weight):
            raise UserError("views.clips=1", "there is no other clip to predict", "Try views.clips=2.")
        self.recipe = _recipe(backbone, target, views, augment, targets)
        if init == "inflate":
            inflate(backbone, init_weights or target.weights)
            if init_weights:  # the target's own labels count already
                self.begins_with(init_weights)
        self.target, self.targets, self.views = target, targets, views
        self.head = _head(head, backbone.dim, hidden, target.dim)
        self.centre = None if targets.centring == "none" else Centre(target.dim, targets.centring, targets.momentum)
        self.cache = None if targets.cache is None else FeatureCache(targets.cache, f"{target.digest} {target.spec()}")
        self.bank = Bank(bank.size, target.dim) if loss == "kl_bank" else None
        self.kl = bank
        self.loss: Literal["l2", "cosine", "mse", "infonce", "kl_bank"] = loss
        self.temperature = temperature or _TEMPERATURE.get(loss, 1.0)
        self.branch = Byol(backbone, ema_video) if ema_video.weight else None
        self.sequential = sequential
        if target.weights == RANDOM:
            logger.warning("image target %s is not trained: a control, not a teacher", target.title)

    def teachers(self) -> list[tuple[Ema, nn.Module]]:
        """Of the video branch, where there is one; the image network never moves."""
        if self.branch is None:
            return []
        return [(self.branch.teacher_backbone, self.backbone), (self.branch.teacher_project, self.branch.project)]

    def frozen(self) -> dict[str, dict[str, Any]]:
        """The image network: a control of every comparison."""
        spec = self.target.spec()
        if self.target.weights != RANDOM:  # the file of the same name may be another one by then
            spec["init_args"]["sha256"] = self.target.digest
        return {f"ImageTarget {self.target.title}": spec}

    def get_extra_state(self) -> Tensor:
        """SHA-256 of the image network, in place of its weights."""
        return torch.frombuffer(bytearray.fromhex(self.target.digest), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse to continue with another image network."""
        if bytes(state.tolist()).hex() != self.target.digest:
            rule = f"is not the image target of the checkpoint (SHA-256 {bytes(state.tolist()).hex()})"
            raise UserError(self.target.weights, rule, "Give the weights file that the run began with.")

    def step(self, batch: Batch) -> StepOutput:
        """Regress every clip to its targets."""
        clips = self.view(batch, "clips")  # (B, V, T, C, H, W)
        targets = self.image_targets(batch)  # (B, V, A, D_g)
        if self.sequential:
            features = encode_in_turn(self.backbone, clips)  # (B, V, D)
        else:
            features = self.backbone(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        predictions = self.head(features.flatten(0, 1)).unflatten(0, features.shape[:2]).float()
        with torch.autocast(self.device.type, enabled=False):
            loss = self._regress(predictions, targets)
        own = F.cosine_similarity(predictions.detach()[:, :, None], targets, dim=-1).mean()
        logs = {"target_cosine": own, "constant_loss": constant_regression(targets.flatten(0, 2))}
        if self.branch is not None:
            video = self.branch(features, clips)
            logs["video_loss"] = video.detach()
            loss = loss + self.branch.weight * video
        return StepOutput(loss, logs, features.detach().mean(1))

    @torch.no_grad()
    def image_targets(self, batch: Batch) -> Float[Tensor, "b v a d"]:
        """What the image network says of every clip: unit vectors, centred where that is switched on."""
        if self.targets.photometric:
            batch = batch._replace(params=batch.params | {"stills": self._photometry(batch.params["clips"])})
        if self.cache is None:
            frames = self.target.frames(self.view(batch, "stills").flatten(0, 2))
        else:
            pixels = batch.views["stills"].flatten(0, 2)
            frames = self.cache(pixels, lambda rows: self.target.frames(self._normalised(pixels[rows])))
        shape = (-1, self.views.clips, self.views.teacher_frames)
        targets = aggregate(frames.float().unflatten(0, shape), self.targets.aggregate)
        return targets if self.centre is None else self.centre(targets)

    def _normalised(self, pixels: Tensor) -> Tensor:
        mean, std = (torch.tensor(v, device=pixels.device).view(3, 1, 1) for v in (self.target.mean, self.target.std))
        return pixels.float().div_(255.0).sub_(mean).div_(std)

    def _photometry(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """The clips' numbers, (B, V, T or 1, ...), for the stills, (B, V F, 1, ...)."""
        scale = self.target.size / self.recipe.views["clips"].size  # a blur is drawn in pixels
        chosen = {}
        for name, value in params.items():
            at = self.views.positions() if value.shape[2] > 1 else [0] * self.views.teacher_frames
            picked = value[:, :, at].flatten(1, 2).unsqueeze(2)
            chosen[name] = picked * scale if name == "sigma" else picked
        return chosen

    def _regress(self, predictions: Float[Tensor, "b v d"], targets: Float[Tensor, "b v a d"]) -> Float[Tensor, ""]:
        """The loss over all allowed pairs of an online clip and a target clip."""
        online, own = pairs(predictions.shape[1], self.targets.clips)
        if self.loss == "infonce":
            keys, offset = gather(targets)
            rows = torch.arange(len(targets), device=targets.device) + offset
            terms = [
                info_nce(predictions[:, o], keys[:, t, a], rows, self.temperature)
                for o, t in zip(online, own, strict=True)
                for a in range(targets.shape[2])
            ]
            return torch.stack(terms).mean()
        target = targets[:, own].flatten(0, 2)
        prediction = predictions[:, online, None].expand(-1, -1, targets.shape[2], -1).flatten(0, 2)
        if self.bank is not None:
            temperatures = (self.kl.student_temperature, self.kl.teacher_temperature)
            loss = similarity_kl(prediction, target, self.bank.rows.clone(), *temperatures)
            if self.training:
                self.bank.put(gather(targets[:, 0, 0])[0])
            return loss
        if self.loss == "mse":
            return F.mse_loss(prediction, target)
        loss = cosine_regression(prediction, target)
        return loss if self.loss == "l2" else (loss / 2 - 1) / self.temperature


def _recipe(
    backbone: Backbone, target: ImageTarget, views: ClipsWithFrames, augment: Augment, targets: Targets
) -> Recipe:
    if augment.per_frame == "all" and targets.crop == "same":
        rule = "the teacher's frames cannot take over boxes that differ within a clip"
        raise UserError("augment.per_frame=all", rule, "Use augment.per_frame=photometry, or targets.crop=own.")
    clips = view_for(backbone, augment)
    cut = center() if targets.crop == "center" else replace(augment, **_NO_PHOTOMETRY)
    like = "clips" if targets.crop == "same" else None
    stills = View((cut,), target.size, target.input.mean, target.input.std, like, counted=False)
    return Recipe(sampler=views, views={"clips": clips, "stills": stills})


_NO_PHOTOMETRY: dict[str, Any] = {"hsv": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0, "solarise": 0.0}


def _head(kind: str, dim: int, hidden: int, out: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(dim, out)
    first = mlp(dim, hidden, out)
    return first if kind == "mlp" else nn.Sequential(first, mlp(out, hidden, out))
