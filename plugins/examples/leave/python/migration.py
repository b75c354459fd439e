"""Leaves clusters that cannot be reached, and clusters that have no node for replicas."""

from wit_world import exports
from wit_world.exports.about import Description, Kind
from wit_world.exports.migration import How, Move


class About(exports.About):
    def describe(self):
        return Description(
            name="leave-python",
            version="0.1.0",
            kind=Kind.MIGRATION,
            config_schema="",
            doc="Leaves clusters that cannot be reached, or have no node for replicas",
            needs=[],
        )


class Session(exports.migration.Session):
    def __init__(self, fleet, config):
        pass

    def update(self, changes):
        pass

    def decide(self, state):
        placed, health = state.placed, state.health
        moves = []
        for row, cluster in enumerate(placed.cluster):
            workload = state.workloads[placed.workload[row]]
            patience = workload.toleration_ms
            if not health.reachable[cluster] and health.since_ms[cluster] >= patience:
                moves.append(Move(row, placed.desired[row], How.AT_ONCE, "its cluster cannot be reached"))
            elif placed.unschedulable[row] > 0 and placed.unready_ms[row] >= patience and not workload.together:
                moves.append(Move(row, placed.unschedulable[row], How.GRACEFULLY, "no node takes them"))
        return moves
