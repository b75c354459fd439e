// Leaves clusters that cannot be reached, and clusters that have no node for replicas.

export const about = {
  describe: () => ({
    name: "leave-js",
    version: "0.1.0",
    kind: "migration",
    configSchema: "",
    doc: "Leaves clusters that cannot be reached, or have no node for replicas",
    needs: [],
  }),
};

class Session {
  constructor(fleet, config) {}

  update(changes) {}

  decide({ workloads, placed, health }) {
    const moves = [];
    placed.cluster.forEach((cluster, row) => {
      const { together, tolerationMs } = workloads[placed.workload[row]];
      if (!health.reachable[cluster] && health.sinceMs[cluster] >= tolerationMs) {
        moves.push({ row, replicas: placed.desired[row], how: "at-once", reason: "its cluster cannot be reached" });
      } else if (placed.unschedulable[row] > 0 && placed.unreadyMs[row] >= tolerationMs && !together) {
        moves.push({ row, replicas: placed.unschedulable[row], how: "gracefully", reason: "no node takes them" });
      }
    });
    return moves;
  }
}

export const migration = { Session };
