// Starts the smallest job first, and a higher priority before that.

#include <stdlib.h>

#include "policy.h"

void exports_about_describe(exports_about_description_t *ret) {
  *ret = (exports_about_description_t){.kind = EXPORTS_ABOUT_KIND_GANG};
  policy_string_dup(&ret->name, "smallest-c");
  policy_string_dup(&ret->version, "0.1.0");
  policy_string_dup(&ret->doc, "Starts the smallest job first, and a higher priority before that");
}

struct exports_gang_session_t {
  char nothing;
};

exports_gang_own_session_t exports_gang_constructor_session(exports_gang_tables_t *fleet, policy_string_t *config) {
  exports_gang_tables_free(fleet);
  policy_string_free(config);
  return exports_gang_session_new(calloc(1, sizeof(exports_gang_session_t)));
}

void exports_gang_session_destructor(exports_gang_session_t *self) { free(self); }

void exports_gang_method_session_update(exports_gang_session_t *self, exports_gang_changes_t *changes) {
  (void)self;
  exports_gang_changes_free(changes);
}

typedef struct {
  uint32_t job;
  int32_t priority;
  uint64_t size;
} entry_t;

static int by_size(const void *one, const void *other) {
  const entry_t *a = one, *b = other;
  if (a->priority != b->priority) return a->priority < b->priority ? 1 : -1;
  if (a->size != b->size) return a->size > b->size ? 1 : -1;
  return (a->job > b->job) - (a->job < b->job);
}

static bool fits(const exports_gang_fits_t *fits, const policy_list_u32_t *sets, uint32_t job) {
  for (size_t at = 0; at < fits->job.len; at++) {
    if (fits->job.ptr[at] == job && sets->ptr[at] > 0) return true;
  }
  return false;
}

static void hold(exports_gang_verdict_t *ret, uint32_t job, exports_gang_hold_code_t code, const char *reason) {
  exports_gang_hold_t *hold = &ret->hold.ptr[ret->hold.len++];
  *hold = (exports_gang_hold_t){.job = job, .code = code};
  policy_string_dup(&hold->reason, reason);
}

bool exports_gang_method_session_decide(exports_gang_session_t *self, exports_gang_queue_t *queue,
                                        exports_gang_verdict_t *ret, exports_gang_problem_t *err) {
  (void)self, (void)err;
  size_t count = queue->jobs.len;
  entry_t *order = calloc(count + 1, sizeof(entry_t));
  for (uint32_t job = 0; job < count; job++) {
    const exports_gang_job_t *waiting = &queue->jobs.ptr[job];
    order[job] = (entry_t){.job = job, .priority = waiting->priority};
    for (size_t i = 0; i < waiting->components.len; i++) order[job].size += waiting->components.ptr[i].replicas;
  }
  qsort(order, count, sizeof(entry_t), by_size);

  *ret = (exports_gang_verdict_t){0};
  ret->admit.ptr = calloc(count + 1, sizeof(exports_gang_admit_t));
  ret->hold.ptr = calloc(count + 1, sizeof(exports_gang_hold_t));
  for (size_t i = 0; i < count; i++) {
    uint32_t job = order[i].job;
    const exports_gang_job_t *waiting = &queue->jobs.ptr[job];
    if (waiting->together && !fits(&queue->fits, &queue->fits.empty, job)) {
      hold(ret, job, EXPORTS_GANG_HOLD_CODE_TOO_LARGE, "no cluster is large enough");
    } else if (waiting->together && !fits(&queue->fits, &queue->fits.now, job)) {
      hold(ret, job, EXPORTS_GANG_HOLD_CODE_NO_ROOM, "no cluster has room for all of it now");
    } else {
      exports_gang_admit_t *admit = &ret->admit.ptr[ret->admit.len++];
      *admit = (exports_gang_admit_t){.job = job};
      admit->sizes.len = waiting->components.len;
      admit->sizes.ptr = calloc(admit->sizes.len + 1, sizeof(uint32_t));
      for (size_t c = 0; c < admit->sizes.len; c++) admit->sizes.ptr[c] = waiting->components.ptr[c].replicas;
    }
  }
  free(order);
  exports_gang_queue_free(queue);
  return true;
}
