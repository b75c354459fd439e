"""Prefers the region with the lowest value of a column, and keeps a share of the replicas in the second best."""

import json
import math

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description, Kind
from wit_world.exports.placement import Assignment, Decision, Term
from wit_world.imports.fleet import Problem, ProblemCode

SCHEMA = """{
  "type": "object",
  "properties": {
    "column": {"enum": ["carbon", "latency-ms"], "default": "carbon",
               "description": "Column whose lowest value is best"},
    "share": {"type": "integer", "minimum": 0, "maximum": 100, "default": 20,
              "description": "Per cent of the replicas for the second best region"}
  },
  "additionalProperties": false
}"""


class About(exports.About):
    def describe(self):
        return Description(
            name="region-python",
            version="0.1.0",
            kind=Kind.PLACEMENT,
            config_schema=SCHEMA,
            doc="The region with the lowest value of a column, with a share in the second best",
            needs=["carbon", "latency-ms"],
        )


class Session(exports.placement.Session):
    def __init__(self, fleet, config):
        config = json.loads(config)
        self.column = config.get("column", "carbon")
        self.share = config.get("share", 20)
        self.regions = list(fleet.regions)

    def update(self, changes):
        for cluster in changes.clusters:
            self.regions[cluster.row : cluster.row + 1] = [cluster.region]

    def place(self, request, candidates):
        if request.together or request.division == 0:
            raise problem(ProblemCode.UNSUPPORTED, "this policy divides replicas between regions")

        # Candidates with a value: the best region first, within a region the lowest value first.
        values = next((extra.values for extra in candidates.extra if extra.name == self.column), [])
        region = [self.regions[cluster] for cluster in candidates.cluster]
        order = [row for row, value in enumerate(values) if not math.isnan(value)]
        best = {}
        for row in order:
            best[region[row]] = min(values[row], best.get(region[row], math.inf))
        order.sort(key=lambda row: (best[region[row]], region[row], values[row]))
        if not order:
            raise problem(ProblemCode.NO_CANDIDATE, f"no candidate has a value of {self.column}")
        first = region[order[0]]
        second = next((region[row] for row in order if region[row] != first), None)

        count = len(candidates.cluster)
        assignments, used = [], set()
        for component, wanted in enumerate(request.components):
            apart = wanted.replicas * self.share // 100 if second is not None else 0
            left = wanted.replicas
            got = [0] * count
            # Each region's part, then what did not fit, wherever there is room.
            for part, only in (left - apart, {first}), (apart, {second}), (left, {*region}):
                part = min(part, left)
                for row in order:
                    if region[row] in only:
                        at = component * count + row
                        room = candidates.current[at] + candidates.ready[at] + candidates.elastic[at]
                        more = min(part, room - got[row])
                        got[row] += more
                        part -= more
                        left -= more
            placed = wanted.replicas - left
            if placed < wanted.floor or placed == 0 < wanted.replicas:
                raise problem(ProblemCode.NO_ROOM, f"{placed} of {wanted.replicas} replicas of {wanted.name} fit")
            for row, replicas in enumerate(got):
                if replicas:
                    assignments.append(Assignment(component, row, replicas))
                    used.add(row)
        return Decision(assignments, [self.column], [Term(row, 0, values[row]) for row in sorted(used)])


def problem(code, message):
    return Err(Problem(code, message))
