// Prefers the region with the lowest value of a column, and keeps a share of the replicas in the second best.

const schema = {
  type: "object",
  properties: {
    column: { enum: ["carbon", "latency-ms"], default: "carbon", description: "Column whose lowest value is best" },
    share: {
      type: "integer", minimum: 0, maximum: 100, default: 20,
      description: "Per cent of the replicas for the second best region",
    },
  },
  additionalProperties: false,
};

export const about = {
  describe: () => ({
    name: "region-js",
    version: "0.1.0",
    kind: "placement",
    configSchema: JSON.stringify(schema),
    doc: "The region with the lowest value of a column, with a share in the second best",
    needs: ["carbon", "latency-ms"],
  }),
};

class Session {
  constructor(fleet, config) {
    const { column = "carbon", share = 20 } = JSON.parse(config);
    Object.assign(this, { column, share, regions: [...fleet.regions] });
  }

  update({ clusters }) {
    for (const { row, region } of clusters) this.regions[row] = region;
  }

  place(request, candidates) {
    if (request.together || request.division === 0) {
      throw problem("unsupported", "this policy divides replicas between regions");
    }

    // Candidates with a value: the best region first, within a region the lowest value first.
    const values = candidates.extra.find((extra) => extra.name === this.column)?.values ?? [];
    const region = Array.from(candidates.cluster, (cluster) => this.regions[cluster]);
    const order = [...values.keys()].filter((row) => !Number.isNaN(values[row]));
    const best = new Map();
    for (const row of order) best.set(region[row], Math.min(values[row], best.get(region[row]) ?? Infinity));
    const by = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    order.sort((a, b) =>
      by(best.get(region[a]), best.get(region[b])) || by(region[a], region[b]) || by(values[a], values[b]));
    if (order.length === 0) throw problem("no-candidate", `no candidate has a value of ${this.column}`);
    const first = region[order[0]];
    const second = region[order.find((row) => region[row] !== first)];

    const count = region.length;
    const assignments = [], used = new Set();
    request.components.forEach(({ name, replicas: wanted, floor }, component) => {
      const apart = second === undefined ? 0 : Math.floor((wanted * this.share) / 100);
      let left = wanted;
      const got = new Array(count).fill(0);
      // Each region's part, then what did not fit, wherever there is room.
      for (let [part, only] of [[left - apart, first], [apart, second], [left, null]]) {
        part = Math.min(part, left);
        for (const row of order.filter((row) => only === null || region[row] === only)) {
          const at = component * count + row;
          const room = candidates.current[at] + candidates.ready[at] + candidates.elastic[at];
          const more = Math.min(part, room - got[row]);
          got[row] += more;
          part -= more;
          left -= more;
        }
      }
      const placed = wanted - left;
      if (placed < floor || (placed === 0 && wanted > 0)) {
        throw problem("no-room", `${placed} of ${wanted} replicas of ${name} fit`);
      }
      got.forEach((replicas, candidate) => {
        if (replicas > 0) {
          assignments.push({ component, candidate, replicas });
          used.add(candidate);
        }
      });
    });
    const terms = [...used].sort((a, b) => a - b).map((candidate) => ({ candidate, name: 0, value: values[candidate] }));
    return { assignments, termNames: [this.column], terms };
  }
}

export const placement = { Session };

function problem(code, message) {
  return { code, message };
}
