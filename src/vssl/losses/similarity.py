"""Losses on a sample's similarities to a bank of anchors."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def anchor_log_probs(
    features: Float[Tensor, "b d"], bank: Float[Tensor, "k d"], temperature: float
) -> Float[Tensor, "b k"]:
    """Log of the distribution over anchors: log_softmax( bank f / |f| / temperature ).

    Args:
        features: One row per sample, before normalisation.
        bank: Anchors, taken as they are: their lengths count.
        temperature: > 0.
    """
    return F.log_softmax(F.normalize(features, dim=-1) @ bank.T / temperature, dim=-1)


def similarity_kl(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    bank: Float[Tensor, "k d"],
    student_temperature: float,
    teacher_temperature: float,
) -> Float[Tensor, ""]:
    """Similarity-based knowledge distillation (auxSKD; ISD): the student sees a bank as the teacher does.

        p_i = softmax(Q a_i / student_temperature),   t_i = softmax(Q b_i / teacher_temperature),   a, b unit length
        loss = 1/B sum_i KL(t_i || p_i) = 1/B sum_i sum_j t_ij (log t_ij - log p_ij)

    The teacher's entropy is part of the value. Gradient flows to the student alone.

    Args:
        student: a before normalisation.
        teacher: b before normalisation, row i of the same video as the student's row i.
        bank: Q; it does not hold the teacher's rows yet.
        student_temperature: > 0; the softer one.
        teacher_temperature: > 0; the sharper one.
    """
    predicted = anchor_log_probs(student, bank.detach(), student_temperature)
    target = anchor_log_probs(teacher.detach(), bank.detach(), teacher_temperature)
    return F.kl_div(predicted, target, reduction="batchmean", log_target=True)


def entropy_share(log_probs: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Mean entropy of the rows as a share of log K: 0 when a row has one anchor, 1 when all count alike."""
    return torch.special.entr(log_probs.exp()).sum(-1).mean() / math.log(log_probs.shape[-1])
