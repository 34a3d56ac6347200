"""Contrastive losses and regularisers against naive loops, closed forms and their no-information values."""

import math

import pytest
import torch
import torch.nn.functional as F

from cdrl.baselines.released.losses import released_content, released_emotion
from cdrl.losses.contrastive import info_nce, supervised_contrastive
from cdrl.losses.regularisers import cross_covariance, variance_floor
from cdrl.models.adversary import Adversary


def points(*shape, seed=0):
    return F.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64),
        dim=-1,
    )


def naive_info_nce(anchor, candidates, positive, temperature, valid):
    out = []
    for b in range(len(anchor)):
        scores = [
            float(anchor[b] @ candidates[b, n]) / temperature for n in range(candidates.shape[1])
        ]
        total = sum(math.exp(s) for n, s in enumerate(scores) if valid[b, n])
        out.append(-math.log(math.exp(scores[positive[b]]) / total))
    return torch.tensor(out, dtype=torch.float64)


def test_info_nce_agrees_with_a_loop():
    anchor, candidates = points(6, 8), points(6, 5, 8, seed=1)
    positive = torch.tensor([0, 1, 2, 3, 4, 0])
    valid = torch.rand(6, 5, generator=torch.Generator().manual_seed(2)) > 0.3
    valid[torch.arange(6), positive] = True
    expected = naive_info_nce(anchor, candidates, positive, 0.3, valid)
    assert torch.allclose(info_nce(anchor, candidates, positive, 0.3, valid), expected, atol=1e-10)


def test_constant_encoder_scores_log_n():
    same = F.normalize(torch.ones(4, 7), dim=1)
    assert info_nce(same, same, torch.arange(4), 0.07) == pytest.approx([math.log(4)] * 4, abs=1e-5)


def test_info_nce_does_not_depend_on_the_order_of_the_candidates():
    anchor, candidates = points(4, 8), points(4, 5, 8, seed=1)
    order = torch.tensor([3, 1, 4, 0, 2])
    straight = info_nce(anchor, candidates, torch.tensor([3, 3, 3, 3]), 0.2)
    assert torch.allclose(
        straight, info_nce(anchor, candidates[:, order], torch.zeros(4, dtype=torch.long), 0.2)
    )


def test_info_nce_refuses_an_invalid_positive_and_a_batch_without_negatives():
    anchor = points(2, 4)
    with pytest.raises(ValueError, match="positive is marked invalid"):
        info_nce(anchor, anchor, torch.arange(2), 0.5, ~torch.eye(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="no anchor has a negative"):
        info_nce(anchor, anchor, torch.arange(2), 0.5, torch.eye(2, dtype=torch.bool))


def test_info_nce_has_a_right_gradient():
    anchor, candidates = points(3, 4).requires_grad_(), points(3, 5, 4, seed=1)
    assert torch.autograd.gradcheck(
        lambda a: info_nce(a, candidates, torch.tensor([0, 2, 4]), 0.5), anchor
    )


def test_supervised_contrastive_agrees_with_a_loop():
    code, labels, expected = points(7, 5), torch.tensor([0, 0, 1, 1, 1, 2, 0]), []
    for i in range(7):
        total = sum(math.exp(float(code[i] @ code[k]) / 0.4) for k in range(7) if k != i)
        terms = [
            -math.log(math.exp(float(code[i] @ code[k]) / 0.4) / total)
            for k in range(7)
            if k != i and labels[k] == labels[i]
        ]
        expected.append(sum(terms) / len(terms) if terms else math.nan)
    found = supervised_contrastive(code, labels, 0.4)
    assert torch.allclose(
        found, torch.tensor(expected, dtype=torch.float64), atol=1e-10, equal_nan=True
    )
    assert math.isnan(found[5])


def test_supervised_contrastive_refuses_a_batch_without_positives():
    with pytest.raises(ValueError, match="no two samples"):
        supervised_contrastive(points(3, 4), torch.arange(3), 0.1)


def test_released_content_loss_has_its_bounds_and_its_dead_zone():
    one = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(released_content(one, one, one)[0], torch.ones(3))
    away = one.clone().requires_grad_()
    released_content(one, -away, one)[0].sum().backward()
    assert float(away.grad.abs().max()) == 0.0  # no gradient where the cosine is negative


def test_released_emotion_loss_of_a_constant_is_log_k_and_a_label_indexed_head_needs_no_image():
    same = F.normalize(torch.ones(2, 7, 16), dim=-1)
    assert released_emotion(same, same) == pytest.approx([math.log(7)] * 2, abs=1e-5)
    constants = torch.eye(7, 16).expand(2, -1, -1)  # what head i may answer without looking
    assert float(released_emotion(constants, constants).max()) < 1e-4


def test_cross_covariance_is_one_for_copies_and_small_for_noise():
    generator = torch.Generator().manual_seed(0)
    code = torch.randn(4000, 1, generator=generator)
    assert float(cross_covariance(code, 3 * code + 1)) == pytest.approx(1, abs=1e-3)
    assert float(cross_covariance(code, torch.randn(4000, 1, generator=generator))) < 0.003


def test_variance_floor_charges_a_collapsed_code_and_only_it():
    assert float(variance_floor(torch.ones(50, 8), 0.5)) == pytest.approx(0.49, abs=1e-3)
    assert (
        float(variance_floor(torch.randn(500, 8, generator=torch.Generator().manual_seed(0)), 0.5))
        == 0.0
    )


def test_adversary_turns_the_gradient_of_the_code_and_keeps_its_own():
    torch.manual_seed(0)
    adversary, code = Adversary(4, 3), torch.randn(5, 4)
    labels = torch.tensor([0, 1, 2, 0, 1])
    plain, turned = code.clone().requires_grad_(), code.clone().requires_grad_()
    F.cross_entropy(adversary.net(plain), labels).backward()
    own = adversary.net[0].weight.grad.clone()
    adversary.zero_grad()
    F.cross_entropy(adversary(turned), labels).backward()
    assert torch.allclose(turned.grad, -plain.grad) and torch.allclose(
        adversary.net[0].weight.grad, own
    )
