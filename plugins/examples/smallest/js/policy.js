// Starts the smallest job first, and a higher priority before that.

export const about = {
  describe: () => ({
    name: "smallest-js",
    version: "0.1.0",
    kind: "gang",
    configSchema: "",
    doc: "Starts the smallest job first, and a higher priority before that",
    needs: [],
  }),
};

class Session {
  constructor(fleet, config) {}

  update(changes) {}

  decide({ jobs, fits }) {
    const sizes = (job) => jobs[job].components.map(({ replicas }) => replicas);
    const total = (job) => sizes(job).reduce((sum, replicas) => sum + replicas, 0);
    const fitsIn = (job, sets) => [...fits.job].some((row, at) => row === job && sets[at] > 0);
    const order = [...jobs.keys()].sort((a, b) => jobs[b].priority - jobs[a].priority || total(a) - total(b));

    const admit = [], hold = [];
    for (const job of order) {
      if (jobs[job].together && !fitsIn(job, fits.empty)) {
        hold.push({ job, code: "too-large", reason: "no cluster is large enough" });
      } else if (jobs[job].together && !fitsIn(job, fits.now)) {
        hold.push({ job, code: "no-room", reason: "no cluster has room for all of it now" });
      } else {
        admit.push({ job, sizes: sizes(job), except: [] });
      }
    }
    return { admit, hold, preempt: [] };
  }
}

export const gang = { Session };
