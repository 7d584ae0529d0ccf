"""What a scenario's types are made of: ranges of numbers, the base of all parts, durations."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from emulator.scenario.distributions import Draw, Kind, draw_of, second_moment_s2

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Distribution(Spec):
    """A distribution of durations. `scv` is the squared coefficient of variation: 0 is constant, 1
    exponential.

    `deterministic` and `exponential` imply theirs.
    """

    distribution: Kind
    mean_s: Positive
    scv: Positive = 1.0

    @property
    def draw(self) -> Draw:
        return draw_of(self.distribution, self.mean_s, self.scv)

    @property
    def second_moment_s2(self) -> float:
        return second_moment_s2(self.distribution, self.mean_s, self.scv)
