"""Starts the smallest job first, and a higher priority before that."""

from wit_world import exports
from wit_world.exports.about import Description, Kind
from wit_world.exports.gang import Admit, Hold, HoldCode, Verdict


class About(exports.About):
    def describe(self):
        return Description(
            name="smallest-python",
            version="0.1.0",
            kind=Kind.GANG,
            config_schema="",
            doc="Starts the smallest job first, and a higher priority before that",
            needs=[],
        )


class Session(exports.gang.Session):
    def __init__(self, fleet, config):
        pass

    def update(self, changes):
        pass

    def decide(self, queue):
        def sizes(job):
            return [component.replicas for component in queue.jobs[job].components]

        def fits(job, sets):
            return any(row == job and count > 0 for row, count in zip(queue.fits.job, sets))

        admit, hold = [], []
        for job in sorted(range(len(queue.jobs)), key=lambda job: (-queue.jobs[job].priority, sum(sizes(job)))):
            if queue.jobs[job].together and not fits(job, queue.fits.empty):
                hold.append(Hold(job, HoldCode.TOO_LARGE, "no cluster is large enough"))
            elif queue.jobs[job].together and not fits(job, queue.fits.now):
                hold.append(Hold(job, HoldCode.NO_ROOM, "no cluster has room for all of it now"))
            else:
                admit.append(Admit(job, sizes(job), []))
        return Verdict(admit, hold, [])
