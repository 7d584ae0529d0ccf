"""Distillation losses: pure functions of logits, stable at any scale, each term with its own tau^2.

| symbol | argument | meaning |
| --- | --- | --- |
| z_s, z_t | `student`, `teacher` | logits [..., K], batch (and pixels) first; z_t is detached |
| y | `labels` | int64 [...], classes; -1: no label, which only the cross entropy minds |
| p(z, tau) | | softmax(z / tau), always by its logarithm, in float32 at least |
| tau | `tau` | temperature |
| A | | a map of features [B, C, H, W] |
| Q(A) | `energy` | sum_c A_c^2 [B, H W], where the network looks |

Sums over classes, means over all else. Balanced Divergence Distillation (arXiv 2501.07804) adds
to the forward Kullback-Leibler divergence, which neglects what the teacher holds for unlikely, a
reverse one that does not, each at a temperature of its own. The abstract gives no more than that:
weights and temperatures are ours, chosen on validation data. DKD: Zhao et al., CVPR 2022. Attention
transfer: Zagoruyko and Komodakis, ICLR 2017, equation 2 (without its factor beta / 2).
"""

import torch
from torch import Tensor
from torch.nn import functional

LABEL_NONE = -1


def _exact(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _log_p(logits: Tensor, tau: float) -> Tensor:
    return functional.log_softmax(_exact(logits) / tau, dim=-1)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Returns sum_k p (log p - log q) over the last axis, with 0 log 0 = 0."""
    p = log_p.exp()
    return torch.where(p > 0.0, p * (log_p - log_q), torch.zeros_like(p)).sum(dim=-1)


def cross_entropy(student: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean of -log p_s(y) over what has a label; 0 where nothing has."""
    if bool((labels == LABEL_NONE).all()):
        return student.sum() * 0.0
    flat = _exact(student).reshape(-1, student.shape[-1])
    return functional.cross_entropy(flat, labels.reshape(-1), ignore_index=LABEL_NONE)


def forward_kl(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Returns tau^2 KL(p_t || p_s), the classic distillation loss (Hinton et al., 2015)."""
    return tau**2 * _divergence(_log_p(teacher.detach(), tau), _log_p(student, tau)).mean()


def reverse_kl(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Returns tau^2 KL(p_s || p_t)."""
    return tau**2 * _divergence(_log_p(student, tau), _log_p(teacher.detach(), tau)).mean()


def decoupled(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    tau: float,
    alpha: float = 1.0,
    beta: float = 2.0,
    is_reversed: bool = False,
) -> Tensor:
    """Returns tau^2 (alpha KL(b_t || b_s) + beta KL(n_t || n_s)), DKD; reversed: both swapped.

    b = (p_y, 1 - p_y) is the target against the rest, n the softmax without the target. 1 - p_y is
    the sum of the others, by its logarithm: the difference would lose all digits near 1. Examples
    without a label are left out.
    """
    known = labels != LABEL_NONE
    if not bool(known.any()):
        return student.sum() * 0.0
    target = functional.one_hot(labels[known], student.shape[-1]).bool()
    parts = [_target_and_rest(_log_p(z[known], tau), target) for z in (student, teacher.detach())]
    (binary_s, rest_s), (binary_t, rest_t) = reversed(parts) if is_reversed else parts
    target_term = _divergence(binary_t, binary_s).mean()
    rest_term = _divergence(rest_t, rest_s).mean()
    return tau**2 * (alpha * target_term + beta * rest_term)


def _target_and_rest(log_p: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log b [..., 2] and log n [..., K - 1]."""
    others = log_p[~target].reshape(*log_p.shape[:-1], -1)
    log_rest = torch.logsumexp(others, dim=-1, keepdim=True)
    own = log_p[target].unsqueeze(-1)
    return torch.cat([own, log_rest], dim=-1), others - log_rest


def energy(features: Tensor) -> Tensor:
    """Returns Q = sum_c A_c^2 of a map [B, C, H, W] as [B, H W]."""
    return _exact(features).square().sum(dim=1).flatten(1)


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns the mean over the batch of || Q_s / ||Q_s|| - Q_t / ||Q_t|| ||^2, energies [B, P].

    A map that is zero everywhere counts as a zero vector.
    """
    unit_s = functional.normalize(_exact(student), dim=-1)
    unit_t = functional.normalize(_exact(teacher.detach()), dim=-1)
    return (unit_s - unit_t).square().sum(dim=-1).mean()


def counted(labels: Tensor, ignored: int, *logits: Tensor) -> tuple[Tensor, ...]:
    """Returns labels [N] and logits [N, K] of what is not labelled `ignored`, pixels in a row."""
    kept = labels != ignored
    return labels[kept], *(z[kept] for z in logits)
