"""Contrastive losses and regularisers: naive loops, closed forms, values without information."""

import math

import pytest
import torch
import torch.nn.functional as F

from cdrl.baselines.released.losses import released_content, released_emotion
from cdrl.losses.contrastive import info_nce, supervised_contrastive
from cdrl.losses.regularisers import cross_correlation, variance_floor
from cdrl.models.gradient_reversal import Adversary


def unit_vectors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return F.normalize(vectors, dim=-1)


def naive_info_nce(anchor, candidates, positive, temperature, valid):
    losses = []
    for sample in range(len(anchor)):
        total = 0.0
        for number in range(candidates.shape[1]):
            cosine = float(anchor[sample] @ candidates[sample, number])
            if valid[sample, number]:
                total += math.exp(cosine / temperature)
            if number == positive[sample]:
                numerator = math.exp(cosine / temperature)
        losses.append(-math.log(numerator / total))
    return torch.tensor(losses, dtype=torch.float64)


def naive_supervised_contrastive(embedding, labels, temperature):
    count = len(embedding)
    losses = []
    for anchor in range(count):
        total = 0.0
        for other in range(count):
            if other != anchor:
                total += math.exp(float(embedding[anchor] @ embedding[other]) / temperature)
        terms = []
        for other in range(count):
            if other != anchor and labels[other] == labels[anchor]:
                similarity = float(embedding[anchor] @ embedding[other]) / temperature
                terms.append(-math.log(math.exp(similarity) / total))
        losses.append(sum(terms) / len(terms) if terms else math.nan)
    return torch.tensor(losses, dtype=torch.float64)


def test_info_nce_agrees_with_a_loop():
    anchor = unit_vectors(6, 8)
    candidates = unit_vectors(6, 5, 8, seed=1)
    positive = torch.tensor([0, 1, 2, 3, 4, 0])
    valid = torch.rand(6, 5, generator=torch.Generator().manual_seed(2)) > 0.3
    valid[torch.arange(6), positive] = True
    expected = naive_info_nce(anchor, candidates, positive, 0.3, valid)
    assert torch.allclose(info_nce(anchor, candidates, positive, 0.3, valid), expected, atol=1e-10)


def test_constant_encoder_scores_log_n():
    same = F.normalize(torch.ones(4, 7), dim=1)
    assert info_nce(same, same, torch.arange(4), 0.07) == pytest.approx([math.log(4)] * 4, abs=1e-5)


def test_info_nce_does_not_depend_on_the_order_of_the_candidates():
    anchor = unit_vectors(4, 8)
    candidates = unit_vectors(4, 5, 8, seed=1)
    order = torch.tensor([3, 1, 4, 0, 2])
    straight = info_nce(anchor, candidates, torch.tensor([3, 3, 3, 3]), 0.2)
    reordered = info_nce(anchor, candidates[:, order], torch.zeros(4, dtype=torch.long), 0.2)
    assert torch.allclose(straight, reordered)


def test_info_nce_refuses_an_invalid_positive_and_a_batch_without_negatives():
    anchor = unit_vectors(2, 4)
    only_positives = torch.eye(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="positive is marked invalid"):
        info_nce(anchor, anchor, torch.arange(2), 0.5, ~only_positives)
    with pytest.raises(ValueError, match="no anchor has a negative"):
        info_nce(anchor, anchor, torch.arange(2), 0.5, only_positives)


def test_info_nce_has_a_right_gradient():
    anchor = unit_vectors(3, 4).requires_grad_()
    candidates = unit_vectors(3, 5, 4, seed=1)
    positive = torch.tensor([0, 2, 4])

    def loss(anchor):
        return info_nce(anchor, candidates, positive, 0.5)

    assert torch.autograd.gradcheck(loss, anchor)


def test_supervised_contrastive_agrees_with_a_loop():
    embedding = unit_vectors(7, 5)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 0])
    losses = supervised_contrastive(embedding, labels, 0.4)
    expected = naive_supervised_contrastive(embedding, labels, 0.4)
    assert torch.allclose(losses, expected, atol=1e-10, equal_nan=True)
    assert math.isnan(losses[5])


def test_supervised_contrastive_refuses_a_batch_without_positives():
    with pytest.raises(ValueError, match="no two samples"):
        supervised_contrastive(unit_vectors(3, 4), torch.arange(3), 0.1)


def test_released_content_loss_has_its_bounds_and_its_dead_zone():
    content = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    loss, _, _ = released_content(content, content, content)
    assert torch.allclose(loss, torch.ones(3))

    opposite = content.clone().requires_grad_()
    loss, _, _ = released_content(content, -opposite, content)
    loss.sum().backward()
    assert float(opposite.grad.abs().max()) == 0.0  # no gradient where the cosine is negative


def test_released_emotion_loss_of_a_constant_is_log_k_and_a_label_indexed_head_needs_no_image():
    same = F.normalize(torch.ones(2, 7, 16), dim=-1)
    assert released_emotion(same, same) == pytest.approx([math.log(7)] * 2, abs=1e-5)
    constants = torch.eye(7, 16).expand(2, -1, -1)  # what head i may answer without the image
    assert float(released_emotion(constants, constants).max()) < 1e-4


def test_cross_correlation_is_one_for_copies_and_small_for_noise():
    generator = torch.Generator().manual_seed(0)
    code = torch.randn(4000, 1, generator=generator)
    noise = torch.randn(4000, 1, generator=generator)
    assert float(cross_correlation(code, 3 * code + 1)) == pytest.approx(1, abs=1e-3)
    assert float(cross_correlation(code, noise)) < 0.003


def test_variance_floor_charges_a_collapsed_code_and_only_it():
    collapsed = torch.ones(50, 8)
    spread = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    assert float(variance_floor(collapsed, 0.5)) == pytest.approx(0.49, abs=1e-3)
    assert float(variance_floor(spread, 0.5)) == 0.0


def test_adversary_reverses_the_gradient_of_the_code_and_keeps_its_own():
    torch.manual_seed(0)
    adversary = Adversary(4, 3)
    code = torch.randn(5, 4)
    labels = torch.tensor([0, 1, 2, 0, 1])

    plain = code.clone().requires_grad_()
    F.cross_entropy(adversary.net(plain), labels).backward()
    plain_weight_gradient = adversary.net[0].weight.grad.clone()

    adversary.zero_grad()
    reversed_code = code.clone().requires_grad_()
    F.cross_entropy(adversary(reversed_code), labels).backward()
    assert torch.allclose(reversed_code.grad, -plain.grad)
    assert torch.allclose(adversary.net[0].weight.grad, plain_weight_gradient)
