// Leaves clusters that cannot be reached, and clusters that have no node for replicas.

#include <stdlib.h>

#include "policy.h"

void exports_about_describe(exports_about_description_t *ret) {
  *ret = (exports_about_description_t){.kind = EXPORTS_ABOUT_KIND_MIGRATION};
  policy_string_dup(&ret->name, "leave-c");
  policy_string_dup(&ret->version, "0.1.0");
  policy_string_dup(&ret->doc, "Leaves clusters that cannot be reached, or have no node for replicas");
}

struct exports_migration_session_t {
  char nothing;
};

exports_migration_own_session_t exports_migration_constructor_session(exports_migration_tables_t *fleet,
                                                                      policy_string_t *config) {
  exports_migration_tables_free(fleet);
  policy_string_free(config);
  return exports_migration_session_new(calloc(1, sizeof(exports_migration_session_t)));
}

void exports_migration_session_destructor(exports_migration_session_t *self) { free(self); }

void exports_migration_method_session_update(exports_migration_session_t *self, exports_migration_changes_t *changes) {
  (void)self;
  exports_migration_changes_free(changes);
}

static void leave(exports_migration_list_move_t *ret, uint32_t row, uint32_t replicas, exports_migration_how_t how,
                  const char *reason) {
  exports_migration_move_t *move = &ret->ptr[ret->len++];
  *move = (exports_migration_move_t){.row = row, .replicas = replicas, .how = how};
  policy_string_dup(&move->reason, reason);
}

bool exports_migration_method_session_decide(exports_migration_session_t *self, exports_migration_state_t *state,
                                             exports_migration_list_move_t *ret, exports_migration_problem_t *err) {
  (void)self, (void)err;
  const exports_migration_placed_t *placed = &state->placed;
  const exports_migration_health_t *health = &state->health;
  ret->len = 0;
  ret->ptr = calloc(placed->cluster.len + 1, sizeof(exports_migration_move_t));
  for (size_t row = 0; row < placed->cluster.len; row++) {
    const exports_migration_workload_t *workload = &state->workloads.ptr[placed->workload.ptr[row]];
    uint32_t cluster = placed->cluster.ptr[row], stuck = placed->unschedulable.ptr[row];
    if (!health->reachable.ptr[cluster] && health->since_ms.ptr[cluster] >= workload->toleration_ms) {
      leave(ret, row, placed->desired.ptr[row], EXPORTS_MIGRATION_HOW_AT_ONCE, "its cluster cannot be reached");
    } else if (stuck > 0 && placed->unready_ms.ptr[row] >= workload->toleration_ms && !workload->together) {
      leave(ret, row, stuck, EXPORTS_MIGRATION_HOW_GRACEFULLY, "no node takes them");
    }
  }
  exports_migration_state_free(state);
  return true;
}
