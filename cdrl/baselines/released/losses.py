"""The losses of the release, for comparison: what they measure, and where they have no gradient, stands in the docstrings."""

import torch
import torch.nn.functional as F


def released_content(
    anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """CCRL's loss as released: (1 - s+) + s-, s = cosine of the flattened maps, clamped to [0, 1].

    No temperature, no other candidate; where a cosine is negative there is no gradient.

    Args:
        anchor, positive, negative: (B, ...) content; in the release the positive shares the anchor's audio vector.

    Returns:
        loss in [0, 2], s+ and s-, each (B,); a constant encoder scores 1.
    """
    flat = [x.flatten(1) for x in (anchor, positive, negative)]
    near, far = (F.cosine_similarity(flat[0], other, dim=1).clamp(0, 1) for other in flat[1:])
    return 1 - near + far, near, far


def released_emotion(
    image: torch.Tensor, text: torch.Tensor, temperature: float = 0.07
) -> torch.Tensor:
    """CERL's loss as released: text i against the image of label i and those of the other labels of the same tuple.

    Args:
        image, text: (B, K, D), unit norm; row k belongs to label k, and so did, in the release, the head that made it.

    Returns:
        (B,) nats; ln K where all images are the same: but a head for each label can put its constant at its own text,
        so that the loss falls without any image.
    """
    logits = torch.einsum("bkd,bjd->bkj", text, image) / temperature
    labels = torch.arange(image.shape[1], device=image.device).expand(len(image), -1)
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)


def released_content_guidance(source: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """What the release's generator minimises of CCRL: -log of the cosine of two content maps, clamped to [0, 1].

    Binary cross entropy against 1, at most 100; where the cosine is negative there is no gradient.

    Args:
        source, output: (B, ...) content maps of two frames under the SAME sound.

    Returns:
        (B,); 0 for equal maps, log 2 = 0.693 for a cosine of one half.
    """
    cosine = F.cosine_similarity(source.flatten(1), output.flatten(1), dim=1).clamp(0, 1)
    return F.binary_cross_entropy(cosine, torch.ones_like(cosine), reduction="none")


def released_emotion_guidance(
    reference: torch.Tensor, output: torch.Tensor, prompt: torch.Tensor
) -> torch.Tensor:
    """What the release's generator minimises of CERL: 1 - cos(reference * T, output * T); the heads are not used.

    Args:
        reference, output: (B, D) image features of the frozen CLIP. prompt: (B, D) T, the learnt prompt of the wanted label.

    Returns:
        (B,) in [0, 2]: a cosine whose dimensions are weighted by T squared, so that a prompt of ones gives the plain one.
    """
    return 1 - F.cosine_similarity(reference * prompt, output * prompt, dim=1)
