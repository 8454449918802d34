"""VITO: contrastive learning over frames of one video (Parthasarathy et al., 2022/23; docs/methods/vito.md)."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from vssl.backbones.base import Backbone
from vssl.distributed import gather
from vssl.ema import Ema, Momentum
from vssl.errors import UserError
from vssl.heads import AttentionPool, mlp
from vssl.losses.contrastive import info_nce
from vssl.methods.base import Method
from vssl.optim import Optim
from vssl.types import Batch, StepOutput
from vssl.views.augment import Augment
from vssl.views.plan import Recipe, View
from vssl.views.samplers import WindowFrames


@dataclass(frozen=True)
class ByolAugment:
    """BYOL's two augmentations with VITO's crop: rows 0 and 2 are A1, row 1 is A2 (vito.md 4).

    Args:
        min_crop: Smallest crop area; VITO 0.4, images 0.08.
        size: Crop side in pixels; None: what the backbone's card says.
        flip: Probability of a horizontal flip.
        jitter: Probability of colour jitter.
        brightness, contrast, saturation, hue: Largest change.
        grey: Probability of greyscale.
        blur: Probability of a blur, A1 and A2.
        solarise: Probability of solarising, A1 and A2.
    """

    min_crop: float = 0.4
    size: int | None = None
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur: tuple[float, float] = (1.0, 0.1)
    solarise: tuple[float, float] = (0.0, 0.2)

    def rows(self) -> tuple[Augment, Augment]:
        """A1 and A2; rows of a view take them in turn, so a third row is A1 again."""
        first = Augment(
            crop="area",
            scale=(self.min_crop, 1.0),
            interpolation="bicubic",
            flip=self.flip,
            jitter=self.jitter,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
            jitter_style="byol",
            grey=self.grey,
            blur=self.blur[0],
            solarise=self.solarise[0],
        )
        return first, replace(first, blur=self.blur[1], solarise=self.solarise[1])


@dataclass(frozen=True)
class Projector:
    """Widths of the two-layer projector (BYOL's; not in VITO's text)."""

    hidden: int = 4096
    out: int = 256


class Head(nn.Module):
    """Pooling over the scales, then the projector: feature maps to projections (N, P)."""

    def __init__(self, map_dims: tuple[int, ...], *, attention_hidden: int | None, projector: Projector) -> None:
        super().__init__()
        self.pool = None if attention_hidden is None else AttentionPool(map_dims, attention_hidden)
        self.project = mlp(sum(map_dims), projector.hidden, projector.out)

    def forward(self, maps: tuple[Tensor, ...]) -> Float[Tensor, "n p"]:
        """Project the pooled scales."""
        return self.project(
            torch.cat([m.mean(dim=(2, 3, 4)) for m in maps], -1) if self.pool is None else self.pool(maps)
        )


OPTIM = Optim(
    name="lars", lr=0.3, reference_batch=256, weight_decay=1e-6, no_decay="norm_and_bias", schedule="cosine", warmup=10
)


class VITO(Method):
    """InfoNCE between an online network and its EMA teacher over frames of one video, pooled by attention.

        L = sum_{i != j} mean_b InfoNCE(z^i_b; z'^j_b, {z'_n}),  temperature 0.1   (vito.md 2)

    Args:
        backbone: An image encoder with feature maps.
        views: Which frames.
        augment: BYOL's pipeline with VITO's crop.
        optim: LARS, 0.3 x batch / 256, ten epochs of warm-up, cosine.
        projector: Widths of the projector.
        pooling: "attention" (VITO) or "mean" (with scales=1: MoCLR).
        scales: How many of the last stages are pooled and concatenated.
        attention_hidden: Hidden width of the attention scorer.
        predictor: "mlp" puts BYOL's and DetCon's predictor, of the projector's widths, behind the online projector
            alone; the text has none.
        negatives: "all_views": every view of the other videos; "cross_view": only the view that is predicted.
        temperature: Of the softmax.
        momentum: Of the teacher.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        views: WindowFrames = WindowFrames(),
        augment: ByolAugment = ByolAugment(),
        optim: Optim = OPTIM,
        projector: Projector = Projector(),
        pooling: Literal["attention", "mean"] = "attention",
        scales: int = 2,
        attention_hidden: int = 512,
        predictor: Literal["none", "mlp"] = "none",
        negatives: Literal["all_views", "cross_view"] = "all_views",
        temperature: float = 0.1,
        momentum: Momentum = Momentum(),
    ) -> None:
        super().__init__(backbone, optim)
        if views.views < 2:
            raise UserError(f"views.views={views.views}", "the loss is between views of a video", "Try views.views=3.")
        if not 1 <= scales <= len(backbone.map_dims):
            raise UserError(f"scales={scales}", f"this encoder has {len(backbone.map_dims)} scales", "Try scales=2.")
        card = backbone.input
        view = View(augment.rows(), size=augment.size or card.size, mean=card.mean, std=card.std)
        self.recipe = Recipe(sampler=views, views={"frames": view})
        self.head = Head(
            backbone.map_dims[-scales:],
            attention_hidden=attention_hidden if pooling == "attention" else None,
            projector=projector,
        )
        self.teacher_backbone = Ema(backbone, momentum)
        self.teacher_head = Ema(self.head, momentum)
        # the teacher has none: it is what makes the two sides differ
        self.predict = mlp(projector.out, projector.hidden, projector.out) if predictor == "mlp" else nn.Identity()
        self.scales = scales
        self.negatives: Literal["all_views", "cross_view"] = negatives
        self.temperature = temperature

    def teachers(self) -> list[tuple[Ema, nn.Module]]:
        """Encoder, pooling and projector all have a teacher copy."""
        return [(self.teacher_backbone, self.backbone), (self.teacher_head, self.head)]

    def step(self, batch: Batch) -> StepOutput:
        """All ordered pairs of views; targets are gathered over ranks."""
        frames = self.view(batch, "frames")  # (B, V, 1, C, H, W)
        rows = frames.flatten(0, 1)
        maps = self.backbone.maps(rows, last=self.scales)
        online = self.predict(self.head(maps))
        with torch.no_grad():
            target = self.teacher_head.teacher(self.teacher_backbone.teacher.maps(rows, last=self.scales))
        online, target = (z.float().unflatten(0, frames.shape[:2]) for z in (online, target))  # (B, V, P)
        keys, offset = gather(target)  # (G B, V, P)
        with torch.autocast(self.device.type, enabled=False):  # it would take the logits back to half precision
            loss = pairwise_loss(online, keys, offset, negatives=self.negatives, temperature=self.temperature)
        agree = F.cosine_similarity(online[:, 0].detach(), target[:, 1], dim=-1).mean()
        pooled = maps[-1].detach().mean(dim=(2, 3, 4)).unflatten(0, frames.shape[:2]).mean(1)
        return StepOutput(loss, {"positive_cosine": agree}, pooled)

    def pictures(self, batch: Batch) -> dict[str, Float[Tensor, "rows columns 3 h w"]]:
        """`attention`: per view its frame, then the frame as each scale's mask lights it; no mask, no picture."""
        if self.head.pool is None:
            return {}
        frames = self.view(batch, "frames")
        rows, view = frames.flatten(0, 1), self.recipe.views["frames"]
        maps = self.backbone.maps(rows, last=self.scales)
        mean, std = (rows.new_tensor(values).view(3, 1, 1) for values in (view.mean, view.std))
        pixels = rows[:, 0].mul(std).add(mean).clamp(0, 1)  # (B V, 3, H, W)
        lit = [pixels]
        for scale, mask in zip(maps, self.head.pool.masks(maps), strict=True):
            mask = mask / mask.amax(dim=-1, keepdim=True)
            light = F.interpolate(
                mask.unflatten(-1, scale.shape[-2:])[:, None], size=pixels.shape[-2:], mode="bilinear"
            )
            lit.append(pixels * light)
        return {"attention": torch.stack(lit, 1).unflatten(0, frames.shape[:2]).flatten(1, 2)}


def pairwise_loss(
    online: Float[Tensor, "b v p"],
    keys: Float[Tensor, "n v p"],
    offset: int,
    *,
    negatives: Literal["all_views", "cross_view"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Sum over ordered pairs (i, j), i != j, of InfoNCE from online view i to target view j (vito.md 2).

    Args:
        online: This rank's projections.
        keys: Target projections of all ranks.
        offset: Row of `keys` that belongs to row 0 of `online`.
        negatives: Which views of the other videos; other views of the same video never are.
        temperature: Of the softmax.
    """
    batch, num_views, _ = online.shape
    own = torch.arange(batch, device=online.device) + offset
    total = online.new_zeros(())
    for i in range(num_views):
        for j in range(num_views):
            if i == j:
                continue
            if negatives == "cross_view":
                total = total + info_nce(online[:, i], keys[:, j], own, temperature)
            else:
                exclude = siblings(own, len(keys), num_views, j)
                total = total + info_nce(online[:, i], keys.flatten(0, 1), own * num_views + j, temperature, exclude)
    return total


def siblings(own: Tensor, num_videos: int, num_views: int, j: int) -> Bool[Tensor, "b n"]:
    """True at every view but `j` of a query's own video, in the (video, view) order of the flattened keys."""
    column = torch.arange(num_videos * num_views, device=own.device)
    return (column // num_views == own[:, None]) & (column % num_views != j)
