"""The faults of radio signals and shared channels, as in `link_types.py`; their union
stands there."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agents.messages import NodeId
from emulator.faults.base import RADIO_KINDS, BaseFault, Directed, LinkFaultBase, LinkKind
from emulator.faults.effects import Effect
from emulator.faults.selectors import NodeSelector, Place, selects


class ChannelLoss(BaseFault):
    """Base stations hear nothing on some of their shared channels.

    Only users of scheduled access look first, and see it.
    """

    together: ClassVar[str] = "union"
    whom: ClassVar[str] = "base station with shared channels"

    type: Literal["channel_loss"]
    target: NodeSelector = Field(description="Base stations whose access is not dedicated.")
    channels: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="Numbers of the channels, from 0."
    )

    def may_mean(self, place: Place) -> bool:
        return place.channels > 0

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        return kind == "uplink" and selects(self.target, target)

    def effect(self, share: float) -> Effect:
        return Effect(dead_channels=frozenset(self.channels))


class Fading(LinkFaultBase):
    """The signal is `depth_db` weaker; for channels that know a signal-to-noise ratio."""

    together: ClassVar[str] = "sum"
    needs_snr: ClassVar[bool] = True
    grows: ClassVar[str] = "depth_db"

    type: Literal["fading"]
    depth_db: float = Field(gt=0.0, le=200.0)

    def effect(self, share: float) -> Effect:
        return Effect(fade_db=share * self.depth_db)


class Shadowing(LinkFaultBase):
    """Each link's signal is weaker or stronger for good: normal in dB; for channels with an SNR.

    What stands in the way of one link stands in the way of both directions.
    """

    together: ClassVar[str] = "independent, sum"
    needs_snr: ClassVar[bool] = True
    grows: ClassVar[str] = "sigma_db"

    type: Literal["shadowing"]
    sigma_db: float = Field(gt=0.0, le=50.0, description="Standard deviation over links, in dB.")

    def effect(self, share: float) -> Effect:
        return Effect(shadows=((self.sigma_db, share),))


class Interference(Directed):
    """Receivers hear a noise that is `rise_db` stronger; for channels that know an SNR."""

    together: ClassVar[str] = "sum, with `fading`"
    needs_snr: ClassVar[bool] = True
    grows: ClassVar[str] = "rise_db"
    whom: ClassVar[str] = "user or base station"

    type: Literal["interference"]
    target: NodeSelector = Field(description="Who hears it: users, base stations or both.")
    rise_db: float = Field(gt=0.0, le=200.0, description="By how much noise rises, in dB.")

    def may_mean(self, place: Place) -> bool:
        return place.kind != "server"

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        return self.goes(kind) and kind in RADIO_KINDS and selects(self.target, target)

    def effect(self, share: float) -> Effect:
        return Effect(fade_db=share * self.rise_db)
