"""Distillation losses: pure functions of logits, stable at any scale, each term with its own tau^2.

| symbol | argument | meaning |
| --- | --- | --- |
| z_s, z_t | `student`, `teacher` | logits [..., K], batch (and pixels) first; z_t is detached |
| y | `labels` | int64 [...], classes; -1: no label, which only the cross entropy minds |
| p(z, tau) | | softmax(z / tau), always by its logarithm, in float32 at least |
| tau | `tau` | temperature |

Sums over classes, means over all else. Balanced Divergence Distillation (arXiv 2501.07804) adds
to the forward Kullback-Leibler divergence, which neglects what the teacher holds for unlikely, a
reverse one that does not, each at a temperature of its own. The abstract gives no more than that:
weights and temperatures are ours, chosen on validation data. DKD: Zhao et al., CVPR 2022.
"""

import torch
from torch import Tensor
from torch.nn import functional

LABEL_NONE = -1


def _log_p(logits: Tensor, tau: float) -> Tensor:
    exact = logits.double() if logits.dtype == torch.float64 else logits.float()
    return functional.log_softmax(exact / tau, dim=-1)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Returns sum_k p (log p - log q) over the last axis, with 0 log 0 = 0."""
    p = log_p.exp()
    return torch.where(p > 0.0, p * (log_p - log_q), torch.zeros_like(p)).sum(dim=-1)


def cross_entropy(student: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean of -log p_s(y) over what has a label; 0 where nothing has."""
    if bool((labels == LABEL_NONE).all()):
        return student.sum() * 0.0
    flat = student.reshape(-1, student.shape[-1]).float()
    if student.dtype == torch.float64:
        flat = student.reshape(-1, student.shape[-1])
    return functional.cross_entropy(flat, labels.reshape(-1), ignore_index=LABEL_NONE)


def forward_kl(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Returns tau^2 KL(p_t || p_s), the classic distillation loss (Hinton et al., 2015)."""
    return tau**2 * _divergence(_log_p(teacher.detach(), tau), _log_p(student, tau)).mean()


def reverse_kl(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Returns tau^2 KL(p_s || p_t)."""
    return tau**2 * _divergence(_log_p(student, tau), _log_p(teacher.detach(), tau)).mean()


def balanced(
    student: Tensor,
    teacher: Tensor,
    forward: float,
    tau_forward: float,
    reverse: float,
    tau_reverse: float,
) -> Tensor:
    """Returns forward x forward_kl + reverse x reverse_kl; a zero weight leaves its term out."""
    total = forward * forward_kl(student, teacher, tau_forward)
    return total + reverse * reverse_kl(student, teacher, tau_reverse) if reverse else total


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


def features(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns the mean squared distance of features scaled to length one, [..., D] alike."""
    unit_s = functional.normalize(student.float(), dim=-1)
    unit_t = functional.normalize(teacher.detach().float(), dim=-1)
    return (unit_s - unit_t).square().sum(dim=-1).mean()
