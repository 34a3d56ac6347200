"""Contrastive losses, one value per sample, natural logarithm (nats).

CCRL combines its terms in `cdrl.representation.ccrl`, CERL in `cdrl.representation.cerl`.
"""

import torch
import torch.nn.functional as F


def info_nce(
    anchor: torch.Tensor,
    candidates: torch.Tensor,
    positive: torch.Tensor,
    temperature: float,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """InfoNCE: -log softmax of the positive among the candidates.

    Eq. 4 of arXiv:1807.03748, with the cosine as similarity.

    Args:
        anchor: (B, D), unit norm.
        candidates: (B, N, D) or (N, D), unit norm.
        positive: (B,) int64, index of the right candidate.
        temperature: divides the cosines, > 0.
        valid: (B, N) bool; False leaves a candidate out (a false negative). The positive is valid.

    Returns:
        (B,) nats. A constant encoder scores log N, N the number of valid candidates.

    Raises:
        ValueError: a positive is marked invalid, or no negative is left in the whole batch: a
            broken sampler must not look like perfect training.

    Example:
        >>> e = torch.eye(3)
        >>> round(info_nce(e, e, torch.arange(3), 0.5)[0].item(), 4)   # log(1 + 2 exp(-2))
        0.2395
    """
    if candidates.ndim == 3:
        cosines = torch.einsum("bd,bnd->bn", anchor, candidates)
    else:
        cosines = torch.einsum("bd,nd->bn", anchor, candidates)
    logits = cosines / temperature
    if valid is not None:
        _check_valid(valid, positive)
        logits = logits.masked_fill(~valid, float("-inf"))
    return F.cross_entropy(logits, positive, reduction="none")


def _check_valid(valid: torch.Tensor, positive: torch.Tensor) -> None:
    """Refuse a mask without the positives, or without any negative."""
    samples = torch.arange(len(valid), device=valid.device)
    positive_is_valid = valid[samples, positive]
    if not bool(positive_is_valid.all()):
        raise ValueError("info_nce: a positive is marked invalid; mend the mask or the sampler")

    has_negative = valid.sum(1) > 1
    if not bool(has_negative.any()):
        raise ValueError("info_nce: no anchor has a negative left; mend the mask or the sampler")


def supervised_contrastive(
    embedding: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """SupCon, with the mean over positives outside the logarithm.

    Eq. 2 of arXiv:2004.11362.

    Args:
        embedding: (B, D), unit norm.
        labels: (B,) int64; samples of equal labels attract each other.
        temperature: divides the cosines, > 0.

    Returns:
        (B,) nats, `nan` for an anchor without a positive (average with nanmean). A constant encoder
        scores log(B - 1).

    Raises:
        ValueError: no anchor at all has a positive.
    """
    same_label = labels[:, None] == labels[None]
    same_sample = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = same_label & ~same_sample
    has_positive = positive.any(1)
    if not bool(has_positive.any()):
        raise ValueError(
            "supervised_contrastive: no two samples of this batch share a label; mend the sampler"
        )

    logits = embedding @ embedding.T / temperature
    logits = logits.masked_fill(same_sample, float("-inf"))
    log_probability = logits - logits.logsumexp(1, keepdim=True)
    total = log_probability.masked_fill(~positive, 0).sum(1)

    count = positive.sum(1).float()
    count = torch.where(has_positive, count, torch.nan)
    return -total / count
