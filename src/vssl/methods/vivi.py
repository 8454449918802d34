"""VIVI: video-induced visual invariances (Tschannen et al., CVPR 2020; docs/methods/vivi.md).

B videos, K shots, L frames per shot, D feature width; GB videos on all ranks.
"""

import logging
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vssl.backbones.base import Backbone
from vssl.distributed import gather_with_gradient
from vssl.errors import UserError
from vssl.heads import AttentionPool
from vssl.losses.pretext import rotate_four, rotation
from vssl.losses.triplet import batch_hard_soft_triplet, semihard_triplet
from vssl.methods.base import Method, view_for
from vssl.methods.critics import Critic, VideoCritic, critic_for, video_loss
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment
from vssl.views.plan import Recipe, View
from vssl.views.shots import Shots

AUGMENT = Augment(scale=(0.05, 1.0), hsv=1.0, per_frame="all")
IMAGE_AUGMENT = Augment(scale=(0.05, 1.0))
OPTIM = Optim(
    name="sgd",
    lr=0.1,
    reference_batch=8,
    momentum=0.9,
    weight_decay=1e-4,
    no_decay="norm_and_bias",
    schedule="steps",
    milestones=(90_000, 110_000),
    warmup=5_000,
    unit="step",
)


@dataclass(frozen=True)
class Triplet:
    """The triplet loss of VIVI-Ex.

    Args:
        flavour: Mining and margin.
        margin: Of "semihard".
        embed_dim: Width of the linear head.
        same_video_negatives: Whether other shots of the same video are negatives.
    """

    flavour: Literal["semihard", "batch_hard_soft"] = "semihard"
    margin: float = 0.5
    embed_dim: int = 1000
    same_video_negatives: bool = True


@dataclass(frozen=True)
class CoTraining:
    """Labelled images beside the videos.

    Args:
        images: Per video; 0: none.
        classes: Of the images.
        weight: gamma.
        autoaugment: Whether the images are cut, flipped and then changed by AutoAugment's ImageNet policy.
    """

    images: int = 0
    classes: int = 1000
    weight: float = 1.0
    autoaugment: bool = False


class VIVI(Method):
    """Invariance within a shot, predictability between the shots of a video, and optionally labelled images.

        L = L_S + lambda L_V + gamma L_SUP   (vivi.md 2)

    L_S is a triplet loss whose identity is the shot (`ex`) or rotation prediction (`rot`); L_V the contrastive
    prediction of a shot, the pooled features of its frames, from those before it. Gradients flow through every term.

    Args:
        backbone: An image encoder.
        variant: "ex" or "rot".
        views: K and L; K = 2 has the two-MLP critic, K > 2 the LSTM.
        augment: Drawn for every frame on its own. The paper's rotation variant has no colour: hsv 0.
        optim: SGD, 0.1 per 256 frames: `reference_batch` is 256 / (K L) videos.
        video_weight: lambda; at 0 there is no critic.
        video_loss: "infonce"; "order": whether the shots of a video come forwards or backwards; "none": as lambda 0.
        pooling: Of the L frames of a shot: "mean", or "attention" (a learned weight per frame that starts at the mean).
        triplet: Of the variant "ex".
        critic: Of the video level.
        co: Co-training with labelled images.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        variant: Literal["ex", "rot"] = "ex",
        views: Shots = Shots(),
        augment: Augment = AUGMENT,
        optim: Optim = OPTIM,
        video_weight: float = 0.04,
        video_loss: Literal["infonce", "order", "none"] = "infonce",
        pooling: Literal["mean", "attention"] = "mean",
        triplet: Triplet = Triplet(),
        critic: Critic = Critic(),
        co: CoTraining = CoTraining(),
    ) -> None:
        super().__init__(backbone, optim)
        if video_weight < 0:
            raise UserError(f"video_weight={video_weight}", "a weight is not negative", "0 leaves the video level out.")
        if critic.symmetric and views.shots != 2:
            raise UserError("critic.symmetric=true", f"is for 2 shots, not {views.shots}", "Set views.shots to 2.")
        card, image = backbone.input, replace(IMAGE_AUGMENT, autoaugment=co.autoaugment)
        self.recipe = Recipe(
            sampler=views,
            views={"shots": view_for(backbone, augment)},
            images=co.images,
            image_view=View((image,), size=card.size, mean=card.mean, std=card.std) if co.images else None,
            image_classes=co.classes if co.images else 0,
        )
        if co.images and any(isinstance(m, nn.modules.batchnorm._NormBase) for m in backbone.modules()):
            logger.warning("co-training: batch norm mixes statistics of videos and images; use group norm")
        self.variant, self.video_weight, self.triplet, self.settings, self.co = (
            variant,
            video_weight,
            triplet,
            critic,
            co,
        )
        self.head = nn.Linear(backbone.dim, triplet.embed_dim if variant == "ex" else 4)
        self.critic: VideoCritic | None = None
        self.pool: AttentionPool | None = None
        if video_weight > 0 and video_loss != "none":
            self.critic = critic_for(views.shots, backbone.dim, critic, order=video_loss == "order")
            # only the video level would train it
            self.pool = AttentionPool((backbone.dim,), critic.hidden) if pooling == "attention" else None
        self.classifier = nn.Linear(backbone.dim, co.classes) if co.images else None

    def step(self, batch: Batch) -> StepOutput:
        """One forward pass over all frames (and rotations, and images), then the terms of the loss."""
        x = self.view(batch, "shots")  # (B, K, L, 3, H, W)
        frames = x.flatten(0, 2).unsqueeze(1)  # (B K L, 1, 3, H, W)
        rows = rotate_four(frames) if self.variant == "rot" else frames
        features, supervised = self._encode(rows, batch)
        upright = features[::4] if self.variant == "rot" else features
        shots = self._pooled(upright, x.shape[:3])  # (B, K, D)
        logs = {"detected_shots": batch.targets["detected"].float().mean()}
        loss = logs["frame_loss"] = self._frame_loss(features, x.shape[:3])
        if self.critic is not None:
            logs["video_loss"], logs["video_accuracy"] = video_loss(self.critic, shots, self.settings)
            loss = loss + self.video_weight * logs["video_loss"]
        if supervised is not None:
            labels = batch.images["label"].flatten()
            logs["image_loss"] = F.cross_entropy(supervised, labels)
            logs["image_accuracy"] = (supervised.argmax(-1) == labels).float().mean()
            loss = loss + self.co.weight * logs["image_loss"]
        return StepOutput(loss, {name: value.detach() for name, value in logs.items()}, shots.detach().mean(1))

    def pictures(self, batch: Batch) -> dict[str, Float[Tensor, "rows columns 3 h w"]]:
        """`frames_of_shots`: a row per video, K shots of L frames; a red line leads a shot, a grey one a mere part."""
        view, x = self.recipe.views["shots"], self.view(batch, "shots")
        mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (view.mean, view.std))
        sheet = x.mul(std).add(mean).clamp(0, 1)
        detected = batch.targets["detected"].view(-1, 1, 1, 1, 1).bool()
        line = torch.where(detected, x.new_tensor((1.0, 0.1, 0.1)).view(3, 1, 1), x.new_tensor(0.5))
        sheet[:, :, 0, :, :, : max(2, view.size // 16)] = line
        return {"frames_of_shots": sheet.flatten(1, 2)}

    def _pooled(self, features: Tensor, shape: torch.Size) -> Float[Tensor, "b k d"]:
        if self.pool is None:
            return features.unflatten(0, shape).mean(2).float()
        clips = features.unflatten(0, (-1, shape[2])).transpose(1, 2)  # (B K, D, L)
        return self.pool((clips[..., None, None],)).unflatten(0, shape[:2]).float()

    def _encode(self, rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Features of the video frames, and the classifier's logits of the labelled images; one encoder, one pass."""
        if self.classifier is None:
            return self.backbone(rows), None
        view = self.recipe.image_view
        assert view is not None
        pixels = batch.images["pixels"].flatten(0, 1).float().div_(255.0)  # (B I, 3, H, W)
        mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in (view.mean, view.std))
        images = ((pixels - mean) / std).unsqueeze(1)
        features = self.backbone(torch.cat([rows, images]))
        return features[: len(rows)], self.classifier(features[len(rows) :]).float()

    def _frame_loss(self, features: Tensor, shape: torch.Size) -> Tensor:
        """L_S; embeddings are gathered over ranks, so that every rank sees the same global loss."""
        out = self.head(features).float()
        if self.variant == "rot":
            return rotation(out)
        embeddings, _ = gather_with_gradient(out)
        videos, shots, frames = len(embeddings) // (shape[1] * shape[2]), shape[1], shape[2]
        shot = torch.arange(videos * shots, device=out.device).repeat_interleave(frames)
        video = shot // shots
        exclude = None if self.triplet.same_video_negatives else video[:, None] == video
        if self.triplet.flavour == "semihard":
            return semihard_triplet(embeddings, shot, self.triplet.margin, exclude)
        return batch_hard_soft_triplet(embeddings, shot, exclude)


logger = logging.getLogger(__name__)
