"""Contrastive losses: functions of tensors, one value per sample, natural logarithm (nats)."""

import torch
import torch.nn.functional as F


def info_nce(
    anchor: torch.Tensor,
    candidates: torch.Tensor,
    positive: torch.Tensor,
    temperature: float,
    valid=None,
) -> torch.Tensor:
    """InfoNCE: -log softmax of the positive among the candidates (Eq. 4 of arXiv:1807.03748, cosine similarity).

    Args:
        anchor: (B, D), unit norm. candidates: (B, N, D) or (N, D), unit norm.
        positive: (B,) int64, which candidate is right.
        temperature: divides the cosines, > 0.
        valid: (B, N) bool; False leaves a candidate out (a false negative). The positive must be valid.

    Returns:
        (B,) nats. A constant encoder scores log N, N the number of valid candidates.

    Raises:
        ValueError: where a positive is marked invalid, or no negative is left in the whole batch: a broken sampler must
            not look like perfect training.

    Example:
        >>> e = torch.eye(3)
        >>> round(info_nce(e, e, torch.arange(3), 0.5)[0].item(), 4)   # log(1 + 2 exp(-2))
        0.2395
    """
    pattern = "bd,bnd->bn" if candidates.ndim == 3 else "bd,nd->bn"
    logits = torch.einsum(pattern, anchor, candidates) / temperature
    if valid is not None:
        rows = torch.arange(len(anchor), device=anchor.device)
        if not bool(valid[rows, positive].all()):
            raise ValueError("info_nce: a positive is marked invalid; mend the mask or the sampler")
        if not bool((valid.sum(1) > 1).any()):
            raise ValueError(
                "info_nce: no anchor has a negative left; mend the mask or the sampler"
            )
        logits = logits.masked_fill(~valid, float("-inf"))
    return F.cross_entropy(logits, positive, reduction="none")


def supervised_contrastive(
    embedding: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """SupCon, the mean over positives outside the logarithm (Eq. 2 of arXiv:2004.11362).

    Args:
        embedding: (B, D), unit norm. labels: (B,) int64; equal labels attract.

    Returns:
        (B,) nats, `nan` where an anchor has no positive (average with nanmean). A constant encoder scores log(B - 1).

    Raises:
        ValueError: where no anchor at all has a positive.
    """
    same = labels[:, None] == labels[None]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = same & ~itself
    if not bool(positive.any()):
        raise ValueError(
            "supervised_contrastive: no two samples of this batch share a label; mend the sampler"
        )
    logits = (embedding @ embedding.T / temperature).masked_fill(itself, float("-inf"))
    log_probability = logits - logits.logsumexp(1, keepdim=True)
    total = log_probability.masked_fill(~positive, 0).sum(1)
    return -total / torch.where(positive.any(1), positive.sum(1).float(), torch.nan)
