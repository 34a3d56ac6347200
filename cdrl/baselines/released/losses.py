"""The losses of the release, for comparison.

The docstrings say what they measure and where they have no gradient.
"""

import torch
import torch.nn.functional as F


def released_content(
    anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """CCRL's loss as released: (1 - s+) + s-, s the cosine of flattened maps, clamped to [0, 1].

    No temperature, no other candidate; a negative cosine has no gradient.

    Args:
        anchor: (B, ...) content maps.
        positive: (B, ...); in the release it shares the anchor's audio vector.
        negative: (B, ...).

    Returns:
        Loss in [0, 2], s+ and s-, each (B,); a constant encoder scores 1.
    """
    flat_anchor = anchor.flatten(1)
    flat_positive = positive.flatten(1)
    flat_negative = negative.flatten(1)

    positive_cosine = F.cosine_similarity(flat_anchor, flat_positive, dim=1).clamp(0, 1)
    negative_cosine = F.cosine_similarity(flat_anchor, flat_negative, dim=1).clamp(0, 1)

    return 1 - positive_cosine + negative_cosine, positive_cosine, negative_cosine


def released_emotion(
    image: torch.Tensor, text: torch.Tensor, temperature: float = 0.07
) -> torch.Tensor:
    """CERL's loss as released: text i against the images of all labels of the same tuple.

    Args:
        image: (B, K, D), unit norm; row k belongs to label k, and in the release to head k.
        text: (B, K, D), unit norm; row k belongs to label k.
        temperature: divides the cosines, > 0.

    Returns:
        (B,) nats; ln K where all images are the same. But each head can put a constant at the text
        of its own label, so the loss falls without any image.
    """
    cosines = torch.einsum("bkd,bjd->bkj", text, image)
    logits = cosines / temperature

    labels = torch.arange(image.shape[1], device=image.device)
    labels = labels.expand(len(image), -1)

    losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")

    return losses.mean(1)


def released_content_guidance(source: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The content term of the release's generator: -log of the cosine, clamped to [0, 1].

    Binary cross entropy against 1, at most 100; a negative cosine has no gradient.

    Args:
        source: (B, ...) content maps of frames.
        output: (B, ...) of the edited frames, under the SAME sound.

    Returns:
        (B,); 0 for equal maps, log 2 = 0.693 for a cosine of one half.
    """
    cosine = F.cosine_similarity(source.flatten(1), output.flatten(1), dim=1)
    cosine = cosine.clamp(0, 1)
    return F.binary_cross_entropy(cosine, torch.ones_like(cosine), reduction="none")


def released_emotion_guidance(
    reference: torch.Tensor, output: torch.Tensor, prompt: torch.Tensor
) -> torch.Tensor:
    """The emotion term of the release's generator: 1 - cos(reference * T, output * T).

    The heads are not used.

    Args:
        reference: (B, D) image features of the frozen CLIP.
        output: (B, D) image features of the edited frames.
        prompt: (B, D) T, the learnt prompt of the target label.

    Returns:
        (B,) in [0, 2]; T squared weights the dimensions, so a prompt of ones gives the plain
        cosine.
    """
    return 1 - F.cosine_similarity(reference * prompt, output * prompt, dim=1)
