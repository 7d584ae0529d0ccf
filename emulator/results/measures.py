"""The metrics of a run, each declared once; `metric.py` says what comes from a declaration."""

import math
from collections.abc import Callable, Sequence

from emulator.results import optimality, servers
from emulator.results.histogram import Histogram
from emulator.results.metric import Curve, Metric, Span, Value, ratio, ratio_of_sums
from emulator.results.stats import GroupStats

Groups = Sequence[GroupStats]


def _quantile(q: float, of: Callable[[GroupStats], Histogram]) -> Callable[[Groups, Span], Value]:
    return lambda groups, span: Histogram.merged(map(of, groups)).quantile(q)


def _peaks_s(stats: GroupStats) -> Histogram:
    return stats.ages.peak_s


def _delays_s(stats: GroupStats) -> Histogram:
    return stats.delays.total_s


def _mean(of: Callable[[GroupStats], Histogram]) -> Callable[[Groups, Span], Value]:
    return lambda groups, span: Histogram.merged(map(of, groups)).mean


def _stage_mean(stage: str) -> Callable[[Groups, Span], Value]:
    return lambda groups, span: ratio_of_sums(
        (stats.delays.stages_s[stage].total, stats.tasks.completed) for stats in groups
    )


def _share(
    part: Callable[[GroupStats], float], whole: Callable[[GroupStats], float]
) -> Callable[[Groups, Span], Value]:
    return lambda groups, span: ratio_of_sums((part(stats), whole(stats)) for stats in groups)


def _waiting_s(stats: GroupStats, at_s: float) -> tuple[float, float]:
    """Returns how long all results waited at servers, and were under way in all."""
    return stats.delays.waited_s, stats.delays.took_s


def _paoi_weighted_s(groups: Groups, span: Span) -> Value:
    """A user that had no peak yet counts with its age: its peak will be no less. Who had none
    and is away has no age either, and does not count."""
    return ratio_of_sums(
        (stats.group.weight * user.paoi_mean_s(span.now_s), stats.group.weight)
        for stats in groups
        for user in stats.ages.users
        if user.peaks or user.is_present
    )


def _aoi_mean_s(groups: Groups, span: Span) -> Value:
    if not span.counted_s:
        return None
    return ratio_of_sums(stats.ages.counted(span.now_s) for stats in groups)


def _fresh_correct_hz(groups: Groups, span: Span) -> Value:
    if not span.counted_s or not any(stats.tasks.answered for stats in groups):
        return None
    return ratio_of_sums(
        (stats.tasks.fresh_correct, stats.ages.counted(span.now_s)[1]) for stats in groups
    )


def utility(groups: Groups, span: Span) -> float | None:
    """Proportional fairness by value: sum of value rate ln(1 + on-time rate / rate)."""
    worth = [
        group.value * group.rate_hz * math.log1p(user.on_time / (span.counted_s * group.rate_hz))
        for stats in groups
        if (group := stats.group).rate_hz and stats.tasks.with_deadline and span.counted_s
        for user in stats.ages.users
    ]
    return math.fsum(worth) if worth else None


def _stay_max_ratio(groups: Groups, span: Span) -> Value:
    shares = [stats.stays.max_s / stats.group.deadline_s for stats in groups]
    return max(shares, default=0.0) or None


def _overdue(groups: Groups, span: Span) -> Value:
    if not any(stats.tasks.with_deadline for stats in groups):
        return None
    return sum(stats.stays.overdue for stats in groups)


OF_GROUPS = (
    Metric(
        name="aoi_mean_s",
        about="age of information, averaged over time and users",
        label="age of information, mean",
        short="AoI",
        unit="s",
        fold=_aoi_mean_s,
        is_compared=True,
        curve=Curve("Age of information", lambda stats, at_s: stats.ages.sums(at_s), "aoi_s"),
    ),
    Metric(
        name="paoi_mean_s",
        about="peak age of information, mean",
        label="peak age, mean",
        short="PAoI",
        unit="s",
        fold=_mean(_peaks_s),
        is_compared=True,
    ),
    Metric(
        name="paoi_weighted_s",
        about="peak age, mean of each user, then over users by their weight",
        label="peak age, by user and weight",
        short="weighted",
        unit="s",
        fold=_paoi_weighted_s,
        is_compared=True,
        is_gauge=True,
    ),
    Metric(
        name="paoi_p95_s",
        about="peak age of information, 95th percentile",
        label="peak age, 95th percentile",
        short="PAoI p95",
        unit="s",
        fold=_quantile(0.95, _peaks_s),
        is_compared=True,
    ),
    Metric(
        name="delay_mean_s",
        about="birth of a task to receipt of its result, mean",
        label="delay, mean",
        unit="s",
        fold=_mean(_delays_s),
        is_compared=True,
    ),
    Metric(
        name="delay_p50_s",
        about="birth of a task to receipt of its result, median",
        label="delay, median",
        short="delay p50",
        unit="s",
        fold=_quantile(0.5, _delays_s),
    ),
    Metric(
        name="delay_p95_s",
        about="birth of a task to receipt of its result, 95th percentile",
        label="delay, 95th percentile",
        short="p95",
        unit="s",
        fold=_quantile(0.95, _delays_s),
        is_compared=True,
    ),
    Metric(
        name="uplink_mean_s",
        about="birth to arrival at the server, mean",
        label="delay: generation to server, mean",
        unit="s",
        fold=_stage_mean("uplink"),
    ),
    Metric(
        name="queue_mean_s",
        about="waiting at the server, mean",
        label="delay: waiting, mean",
        unit="s",
        fold=_stage_mean("queue"),
    ),
    Metric(
        name="queueing_share",
        about="share of the delay that is waiting at the server: mean waiting over mean delay",
        label="delay: share that is waiting",
        short="waiting",
        unit="ratio",
        fold=lambda groups, span: ratio_of_sums(_waiting_s(stats, span.now_s) for stats in groups),
        is_compared=True,
        is_gauge=True,
        curve=Curve("Share of the delay that is waiting", _waiting_s),
    ),
    Metric(
        name="compute_mean_s",
        about="service at the server, mean",
        label="delay: service, mean",
        unit="s",
        fold=_stage_mean("compute"),
    ),
    Metric(
        name="downlink_mean_s",
        about="end of service to receipt, mean",
        label="delay: way back, mean",
        unit="s",
        fold=_stage_mean("downlink"),
    ),
    Metric(
        name="miss_ratio",
        about="share of ended tasks with a deadline that did not meet it",
        label="deadline missed",
        short="missed",
        unit="ratio",
        fold=_share(lambda stats: stats.tasks.missed, lambda stats: stats.tasks.with_deadline),
        is_compared=True,
    ),
    Metric(
        name="drop_ratio",
        about="share of ended tasks that brought no result",
        label="dropped or expired",
        short="dropped",
        unit="ratio",
        fold=_share(
            lambda stats: stats.tasks.ended - stats.tasks.completed, lambda stats: stats.tasks.ended
        ),
        is_compared=True,
    ),
    Metric(
        name="accuracy",
        about="share of results that are right",
        label="right answers",
        short="right",
        unit="ratio",
        fold=_share(lambda stats: stats.tasks.correct, lambda stats: stats.tasks.answered),
        more_is_better=True,
        is_compared=True,
        is_gauge=True,
    ),
    Metric(
        name="fresh_correct_hz",
        about="right results that brought news in time, per second and user",
        label="right and fresh, per user",
        short="fresh+right",
        unit="per s",
        fold=_fresh_correct_hz,
        more_is_better=True,
        is_compared=True,
        is_gauge=True,
    ),
    Metric(
        name="backlog_mean",
        about="tasks under way, averaged over time (Little's law)",
        label="tasks under way, mean",
        short="under way",
        fold=lambda groups, span: ratio(
            math.fsum(stats.tasks.sojourns_s for stats in groups), span.counted_s
        ),
        is_compared=True,
    ),
    Metric(
        name="sojourn_max_s",
        about="birth to end of service, or to being given up, longest",
        label="longest sojourn time",
        short="longest",
        unit="s",
        fold=lambda groups, span: max((stats.stays.max_s for stats in groups), default=0.0) or None,
    ),
    Metric(
        name="sojourn_max_ratio",
        about="the longest sojourn time as a share of its deadline; above 1 broke it",
        label="longest sojourn time over deadline",
        short="of deadline",
        unit="ratio",
        fold=_stay_max_ratio,
        is_compared=True,
    ),
    Metric(
        name="utility",
        about="what came back on time is worth: sum of value x rate x ln(1 + got / rate)",
        label="utility",
        short="utility",
        fold=utility,
        more_is_better=True,
        is_compared=True,
        is_gauge=True,
    ),
    Metric(
        name="overdue",
        about="tasks neither finished nor given up by their deadline",
        label="late tasks",
        fold=_overdue,
    ),
    Metric(
        name="throughput_hz",
        about="results per second, all users together",
        label="results per second",
        unit="per s",
        fold=lambda groups, span: ratio(
            sum(stats.tasks.completed for stats in groups), span.counted_s
        ),
        more_is_better=True,
    ),
    Metric(
        name="completed",
        about="tasks that brought a result",
        label="results",
        short="results",
        fold=lambda groups, span: sum(stats.tasks.completed for stats in groups),
        more_is_better=True,
    ),
    Metric(
        name="ended",
        about="tasks that ended in any way",
        label="tasks that ended",
        fold=lambda groups, span: sum(stats.tasks.ended for stats in groups),
    ),
)
METRICS = {metric.name: metric for metric in (*OF_GROUPS, *servers.METRICS, *optimality.METRICS)}
