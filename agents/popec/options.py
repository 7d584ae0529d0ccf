"""What PoPeC can be told. Explained in docs/popec.md."""

from typing import Annotated

from msgspec import Meta, Struct

Share = Annotated[float, Meta(gt=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
NotNegative = Annotated[float, Meta(ge=0.0)]


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """`quorum` 1: everyone waits for everyone, round by round.

    `quorum` is the share of answers that a user, and of asks that a resource, waits for; no ask
    gets older than `staleness_max` of a resource's rounds, nor waits longer than `hold_s`. Asks
    that moved by less than `censor` of the user's rate are not sent; the threshold shrinks by
    `censor_decay` with every round of sending, down to `censor_min`. Whoever has nothing to say
    says so every `keep_s`. A peer that is silent for `dead_s` is left out until it answers.
    `measure: false` believes what was known before the run of channels and servers.
    """

    quorum: Share = 1.0
    gamma: Positive = 0.5
    relaxation: Annotated[float, Meta(gt=0.0, lt=2.0)] = 1.6
    staleness_max: Annotated[int, Meta(ge=1)] = 40
    hold_s: Positive = 0.03
    censor: NotNegative = 0.0
    censor_min: NotNegative = 0.0
    censor_decay: Share = 0.95
    keep_s: Positive = 0.4
    dead_s: Positive = 0.3
    rate_max_hz: Positive = 30.0
    measure: bool = True


class AsynchronousOptions(Options, frozen=True, forbid_unknown_fields=True):
    """The same with the defaults of the asynchronous variant."""

    quorum: Share = 0.3
    gamma: Positive = 1.0
    censor: NotNegative = 0.05
    censor_min: NotNegative = 0.005
