"""Losses against a naive float64 twin, their gradients, and their limits."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from models import losses
from models.recipes import RECIPES, Recipe, Term

BATCH, CLASSES = 7, 5


def draw(seed: int, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Returns student and teacher logits float64 [7, 5] and labels [7], the last one unknown."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        scale * torch.randn(BATCH, CLASSES, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    labels[-1] = losses.LABEL_NONE
    return student, teacher, labels


def softmax(row: list[float], tau: float) -> list[float]:
    top = max(row)
    powers = [math.exp((z - top) / tau) for z in row]
    return [power / sum(powers) for power in powers]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def twin_kl(student: Tensor, teacher: Tensor, tau: float, is_reversed: bool) -> float:
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p_s, p_t = softmax(s, tau), softmax(t, tau)
        total += kl(p_s, p_t) if is_reversed else kl(p_t, p_s)
    return tau * tau * total / len(student)


def twin_dkd(
    student: Tensor, teacher: Tensor, labels: Tensor, tau: float, beta: float, is_reversed: bool
) -> float:
    total, count = 0.0, 0
    for s, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        if y < 0:
            continue
        count += 1
        p, q = softmax(t, tau), softmax(s, tau)
        if is_reversed:
            p, q = q, p
        target = kl([p[y], 1.0 - p[y]], [q[y], 1.0 - q[y]])
        rest_p = [v / (1.0 - p[y]) for k, v in enumerate(p) if k != y]
        rest_q = [v / (1.0 - q[y]) for k, v in enumerate(q) if k != y]
        total += target + beta * kl(rest_p, rest_q)
    return tau * tau * total / count


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
def test_every_loss_is_its_naive_twin(seed: int, tau: float) -> None:
    student, teacher, labels = draw(seed)

    def near(value: Tensor, expected: float) -> bool:
        return abs(float(value) - expected) <= 1e-10 * max(1.0, abs(expected))

    assert near(losses.forward_kl(student, teacher, tau), twin_kl(student, teacher, tau, False))
    assert near(losses.reverse_kl(student, teacher, tau), twin_kl(student, teacher, tau, True))
    for swapped in (False, True):
        found = losses.decoupled(student, teacher, labels, tau, beta=2.0, is_reversed=swapped)
        assert near(found, twin_dkd(student, teacher, labels, tau, 2.0, swapped))
    terms = (Term("forward", 0.9, tau), Term("reverse", 0.4, 2.0 * tau))
    both = Recipe("", 0.0, terms).loss(student, teacher, labels, done=1.0)
    expected = 0.9 * twin_kl(student, teacher, tau, False)
    expected += 0.4 * twin_kl(student, teacher, 2.0 * tau, True)
    assert near(both, expected)
    known = [(s, y) for s, y in zip(student.tolist(), labels.tolist(), strict=True) if y >= 0]
    entropy = -sum(math.log(softmax(s, 1.0)[y]) for s, y in known) / len(known)
    assert near(losses.cross_entropy(student, labels), entropy)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    student, teacher, labels = draw(11)
    recipe = RECIPES[name]

    def loss(z: Tensor) -> Tensor:
        return recipe.loss(z, teacher, labels, done=0.5)

    assert gradcheck(loss, (student.requires_grad_(),), eps=1e-6, atol=1e-7)


def test_closed_form_of_the_gradient_of_the_reverse() -> None:
    # tau p_s (r - <p_s, r>) / B with r = log p_s - log p_t
    student, teacher, _ = draw(3)
    tau = 3.0
    student.requires_grad_()
    losses.reverse_kl(student, teacher, tau).backward()

    log_s = torch.log_softmax(student.detach() / tau, dim=-1)
    r = log_s - torch.log_softmax(teacher / tau, dim=-1)
    p = log_s.exp()
    expected = tau * p * (r - (p * r).sum(dim=-1, keepdim=True)) / BATCH
    assert student.grad is not None
    assert torch.allclose(student.grad, expected, atol=1e-14)


def test_a_recipe_whose_reverse_weighs_nothing_learns_what_distillation_does_to_the_bit() -> None:
    student, teacher, labels = draw(16)
    kd = RECIPES["kd"]
    weightless = Recipe("", kd.cross_entropy, (*kd.terms, Term("reverse", 0.0, 4.0)))
    results = []
    for recipe in (kd, weightless):
        z = student.float().requires_grad_()
        loss = recipe.loss(z, teacher.float(), labels, done=1.0)
        loss.backward()
        assert z.grad is not None
        results.append((loss.detach(), z.grad))

    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_logits_of_plus_and_minus_ten_thousand_stay_finite(dtype: torch.dtype) -> None:
    # Student and teacher are sure of different classes, of the same one, and of nothing.
    sure = 1e4 * (2.0 * torch.eye(CLASSES) - 1.0)
    student = torch.cat([sure, sure, -sure]).to(dtype)
    teacher = torch.cat([sure.roll(1, dims=0), sure, sure]).to(dtype)
    labels = torch.arange(len(student)) % CLASSES
    for name, recipe in RECIPES.items():
        z = student.clone().requires_grad_()
        loss = recipe.loss(z, teacher, labels, done=1.0)
        loss.backward()
        assert bool(torch.isfinite(loss)), name
        assert z.grad is not None
        assert bool(torch.isfinite(z.grad).all()), name


def test_equal_logits_give_neither_loss_nor_gradient() -> None:
    student, _, labels = draw(6)
    for recipe in RECIPES.values():
        z = student.clone().requires_grad_()
        loss = recipe.loss(z, student, labels, done=1.0)
        loss = loss - recipe.cross_entropy * losses.cross_entropy(z, labels)
        if recipe.terms:
            loss.backward()
            assert abs(float(loss.detach())) < 1e-14
            assert z.grad is not None
            assert z.grad.abs().max() < 1e-14


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_extreme_logits_stay_finite(scale: float) -> None:
    student, teacher, labels = draw(7, scale)
    for recipe in RECIPES.values():
        z = student.float().requires_grad_()
        loss = recipe.loss(z, teacher.float(), labels, done=1.0)
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert z.grad is not None
        assert bool(torch.isfinite(z.grad).all())


def test_dkd_is_distillation_where_beta_is_the_teachers_rest() -> None:
    # KL = target term + (1 - p_t(y)) x rest term, example by example.
    student, teacher, _ = draw(8)
    labels = torch.arange(BATCH) % CLASSES
    for s, t, y in zip(student, teacher, labels, strict=True):
        rest = 1.0 - float(torch.softmax(t / 2.0, dim=-1)[y])
        parts = losses.decoupled(s[None], t[None], y[None], 2.0, alpha=1.0, beta=rest)
        assert float(parts) == pytest.approx(float(losses.forward_kl(s[None], t[None], 2.0)))


def test_the_teacher_gets_no_gradient_and_a_shift_changes_nothing() -> None:
    student, teacher, labels = draw(9)
    teacher.requires_grad_()
    for recipe in RECIPES.values():
        z = student.clone().requires_grad_()
        loss = recipe.loss(z, teacher, labels, done=1.0)
        loss.backward()
        moved = recipe.loss(student + 3.0, teacher + 5.0, labels, done=1.0)
        assert float(moved.detach()) == pytest.approx(float(loss.detach()), rel=1e-12)
    assert teacher.grad is None


def test_at_high_temperature_both_directions_pull_alike() -> None:
    student, teacher, _ = draw(10)
    gradients = []
    for divergence in (losses.forward_kl, losses.reverse_kl):
        z = student.clone().requires_grad_()
        divergence(z, teacher, 16.0).backward()
        assert z.grad is not None
        gradients.append(z.grad.flatten())
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.99


def test_pixels_are_a_batch_like_any_other() -> None:
    # Segmentation: [B, H, W, K] is B x H x W examples.
    student, teacher, labels = draw(12)
    pixels = student[:6].reshape(2, 3, 1, CLASSES), teacher[:6].reshape(2, 3, 1, CLASSES)
    for recipe in RECIPES.values():
        flat = recipe.loss(student[:6], teacher[:6], labels[:6], done=1.0)
        assert torch.allclose(recipe.loss(*pixels, labels[:6].reshape(2, 3, 1), 1.0), flat)


# Segmentation: a picture is a batch of pixels


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_what_is_ignored_counts_for_nothing(name: str) -> None:
    # [B, H, W, K] with every third pixel void is the batch of the other pixels.
    student, teacher, labels = draw(13)
    recipe = RECIPES[name]
    kept = torch.arange(6) % 3 > 0
    voided = torch.where(kept, labels[:6], 255).reshape(2, 3, 1)
    maps = [z[:6].reshape(2, 3, 1, CLASSES).requires_grad_() for z in (student, teacher)]

    found = recipe.loss(maps[0], maps[1], voided, 1.0, ignored=255)
    found.backward()

    expected = recipe.loss(student[:6][kept], teacher[:6][kept], labels[:6][kept], 1.0)
    assert torch.allclose(found, expected, atol=1e-12)
    assert maps[0].grad is not None
    assert maps[0].grad.reshape(6, CLASSES)[~kept].abs().max() == 0.0


def test_a_picture_of_void_gives_neither_loss_nor_nan() -> None:
    student, teacher, labels = draw(14)
    for recipe in RECIPES.values():
        z = student.clone().requires_grad_()
        loss = recipe.loss(z, teacher, torch.full_like(labels, 255), 1.0, ignored=255)
        loss.backward()
        assert float(loss.detach()) == 0.0
        assert z.grad is not None
        assert z.grad.abs().max() == 0.0


# Attention transfer


def maps(seed: int) -> tuple[Tensor, Tensor]:
    """Returns features float64 [2, 3, 2, 4] and [2, 5, 2, 4]."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        torch.randn(2, channels, 2, 4, generator=generator, dtype=torch.float64)
        for channels in (3, 5)
    )
    return student, teacher


def twin_attention(student: Tensor, teacher: Tensor) -> float:
    total = 0.0
    for a, b in zip(student.tolist(), teacher.tolist(), strict=True):
        looks = []
        for channels in (a, b):
            energy = [
                sum(channel[row][column] ** 2 for channel in channels)
                for row in range(2)
                for column in range(4)
            ]
            length = math.sqrt(sum(e * e for e in energy))
            looks.append([e / length for e in energy])
        total += sum((p - q) ** 2 for p, q in zip(*looks, strict=True))
    return total / len(student)


def transfer(student: Tensor, teacher: Tensor) -> Tensor:
    return losses.attention(losses.energy(student), losses.energy(teacher))


@pytest.mark.parametrize("seed", range(5))
def test_attention_is_its_naive_twin_and_its_gradient_that_of_differences(seed: int) -> None:
    student, teacher = maps(seed)

    assert float(transfer(student, teacher)) == pytest.approx(
        twin_attention(student, teacher), abs=1e-10
    )
    assert gradcheck(lambda a: transfer(a, teacher), (student.requires_grad_(),), atol=1e-7)


def test_looking_alike_costs_nothing_at_any_scale() -> None:
    student, _ = maps(6)
    for factor in (1.0, 1e4):
        own = student.clone().requires_grad_()
        loss = transfer(own, factor * student)
        loss.backward()
        assert float(loss.detach()) < 1e-28
        assert own.grad is not None
        assert own.grad.abs().max() < 1e-14


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_extreme_features_stay_finite_and_the_teacher_gets_no_gradient(scale: float) -> None:
    student, teacher = (a.float().requires_grad_() for a in maps(7))

    loss = transfer(scale * student, teacher)
    loss.backward()

    assert bool(torch.isfinite(loss))
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())
    assert teacher.grad is None


def test_a_recipe_adds_attention_with_its_weight_and_ramp() -> None:
    student, teacher, labels = draw(15)
    own, masters = (losses.energy(a) for a in maps(8))
    at, plain = RECIPES["at-bdd"], RECIPES["bdd"]

    found = at.loss(student, teacher, labels, 0.05, energies=[(own, masters)])

    expected = plain.loss(student, teacher, labels, 0.05)
    expected = expected + 0.5 * at.attention * losses.attention(own, masters)
    assert torch.allclose(found, expected, atol=1e-14)


def test_controls_have_the_weight_of_what_they_control() -> None:
    for name, control in (
        ("bdd", "kd-heavy"),
        ("bdd", "forward-twice"),
        ("at-bdd", "at-forward-twice"),
        ("dkd-bdd", "dkd-twice"),
    ):
        a, b = RECIPES[name], RECIPES[control]
        assert sum(t.weight for t in a.terms) == pytest.approx(sum(t.weight for t in b.terms))
        assert (a.cross_entropy, a.attention) == (b.cross_entropy, b.attention)
        assert all(term.kind == "forward" for term in b.terms)
