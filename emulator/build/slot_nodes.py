"""The nodes of a scenario with scheduled access, assembled from the plan."""

from agents.api import Node, NodeId
from agents.moments import Moments
from agents.todg.base_station import ScheduledCell
from agents.todg.discipline import Discipline
from agents.todg.server import ScheduledServer
from agents.todg.user import ScheduledUser
from emulator.build.nodes import Assembly
from emulator.build.plan import Plan
from emulator.scenario import schema
from emulator.scenario.nominal import nominal_moments
from emulator.scenario.slots import sampled_slots


class ScheduledAssembly(Assembly):
    """As its base, with roles that act slot by slot."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._frame = plan.frame()
        # What users and servers ask of it does not change it, so that one is enough for all.
        self._public = self._discipline("")
        self._sampled_slots = sampled_slots(plan.scenario, self._frame)

    def _discipline(self, name: NodeId) -> Discipline:
        assert self.protocol.discipline is not None, "checked with the scenario"
        return self.protocol.discipline(self._frame, self.options, self._draws(name)[0])

    def _user(self, name: NodeId, group: schema.UserGroup, generated: int) -> Node:
        return ScheduledUser(
            name,
            self._source(name, group, generated),
            [bs for bs, _ in self.layout.cells[name]],
            None if group.cpu is None else self._cpu(name, group.cpu),
            self._public,
        )

    def _base_station(self, name: NodeId, group: schema.BaseStationGroup) -> Node:
        discipline = self._discipline(name)
        return ScheduledCell(name, self.reach[name], discipline, self._sampled_slots)

    def _server(self, name: NodeId, group: schema.ServerGroup) -> Node:
        accelerator = group.accelerator
        return ScheduledServer(
            name,
            self._public,
            Moments(*nominal_moments(accelerator, group.speed)),
            self.layout.base_stations[name],
            batch_max=1 if accelerator.kind == "fitted" else accelerator.batch_max,
        )
