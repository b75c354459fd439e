// Prefers the region with the lowest value of a column, and keeps a share of the replicas in the second best.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

static const char *SCHEMA =
    "{\"type\": \"object\", \"properties\": {"
    "\"column\": {\"enum\": [\"carbon\", \"latency-ms\"], \"default\": \"carbon\","
    " \"description\": \"Column whose lowest value is best\"},"
    "\"share\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 100, \"default\": 20,"
    " \"description\": \"Per cent of the replicas for the second best region\"}},"
    "\"additionalProperties\": false}";

void exports_about_describe(exports_about_description_t *ret) {
  policy_string_dup(&ret->name, "region-c");
  policy_string_dup(&ret->version, "0.1.0");
  ret->kind = EXPORTS_ABOUT_KIND_PLACEMENT;
  policy_string_dup(&ret->config_schema, SCHEMA);
  policy_string_dup(&ret->doc, "The region with the lowest value of a column, with a share in the second best");
  ret->needs.ptr = calloc(2, sizeof(policy_string_t));
  ret->needs.len = 2;
  policy_string_dup(&ret->needs.ptr[0], "carbon");
  policy_string_dup(&ret->needs.ptr[1], "latency-ms");
}

struct exports_placement_session_t {
  const char *column;
  uint32_t share;
  policy_list_string_t regions;
};

exports_placement_own_session_t exports_placement_constructor_session(exports_placement_tables_t *fleet,
                                                                      policy_string_t *config) {
  exports_placement_session_t *self = calloc(1, sizeof(*self));
  // The host writes configurations without spaces, and has held them against the schema.
  char *text = strndup((char *)config->ptr, config->len);
  const char *share = strstr(text, "\"share\":");
  self->column = strstr(text, "latency-ms") ? "latency-ms" : "carbon";
  self->share = share ? strtoul(share + strlen("\"share\":"), NULL, 10) : 20;
  self->regions = fleet->regions;
  fleet->regions = (policy_list_string_t){0};
  free(text);
  policy_string_free(config);
  exports_placement_tables_free(fleet);
  return exports_placement_session_new(self);
}

void exports_placement_session_destructor(exports_placement_session_t *self) {
  policy_list_string_free(&self->regions);
  free(self);
}

void exports_placement_method_session_update(exports_placement_session_t *self, exports_placement_changes_t *changes) {
  for (size_t i = 0; i < changes->clusters.len; i++) {
    fleet_cluster_row_t *cluster = &changes->clusters.ptr[i];
    if (cluster->row >= self->regions.len) {
      self->regions.len = cluster->row + 1;
      self->regions.ptr = realloc(self->regions.ptr, self->regions.len * sizeof(policy_string_t));
    } else {
      policy_string_free(&self->regions.ptr[cluster->row]);
    }
    self->regions.ptr[cluster->row] = cluster->region;
    cluster->region = (policy_string_t){0};
  }
  exports_placement_changes_free(changes);
}

// A candidate with a value, and the lowest value of its region.
typedef struct {
  uint32_t row;
  double value, best;
  policy_string_t region;
} candidate_t;

static int by_number(double a, double b) { return (a > b) - (a < b); }

static int by_name(policy_string_t a, policy_string_t b) {
  int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

// The best region first, within a region the lowest value first.
static int by_preference(const void *one, const void *other) {
  const candidate_t *a = one, *b = other;
  int order = by_number(a->best, b->best);
  if (!order) order = by_name(a->region, b->region);
  if (!order) order = by_number(a->value, b->value);
  return order ? order : (a->row > b->row) - (a->row < b->row);
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

// Gives the candidates `from` to `to` as much of `part` as fits; returns how much that was.
static uint64_t fill(const exports_placement_candidates_t *candidates, const candidate_t *order, size_t from, size_t to,
                     uint32_t component, uint64_t part, uint64_t *got) {
  uint64_t placed = 0;
  for (size_t i = from; i < to; i++) {
    size_t at = component * candidates->cluster.len + order[i].row;
    uint64_t room = (uint64_t)candidates->current.ptr[at] + candidates->ready.ptr[at] + candidates->elastic.ptr[at];
    uint64_t more = least(part - placed, room - got[order[i].row]);
    got[order[i].row] += more;
    placed += more;
  }
  return placed;
}

static bool refuse(exports_placement_problem_t *err, uint8_t code, const char *message) {
  err->code = code;
  policy_string_dup(&err->message, message);
  return false;
}

static bool place(const exports_placement_session_t *self, const exports_placement_request_t *request,
                  const exports_placement_candidates_t *candidates, candidate_t *order, uint64_t *got,
                  exports_placement_decision_t *ret, exports_placement_problem_t *err) {
  char message[256];
  if (request->together || request->division == 0) {
    return refuse(err, FLEET_PROBLEM_CODE_UNSUPPORTED, "this policy divides replicas between regions");
  }
  const double *values = NULL;
  for (size_t i = 0; i < candidates->extra.len && !values; i++) {
    policy_string_t name = candidates->extra.ptr[i].name;
    if (name.len == strlen(self->column) && !memcmp(name.ptr, self->column, name.len)) {
      values = candidates->extra.ptr[i].values.ptr;
    }
  }
  size_t count = candidates->cluster.len, valued = 0;
  for (uint32_t row = 0; row < count && values; row++) {
    if (!isnan(values[row])) {
      policy_string_t region = self->regions.ptr[candidates->cluster.ptr[row]];
      order[valued++] = (candidate_t){row, values[row], values[row], region};
    }
  }
  if (!valued) {
    snprintf(message, sizeof(message), "no candidate has a value of %s", self->column);
    return refuse(err, FLEET_PROBLEM_CODE_NO_CANDIDATE, message);
  }
  // Sorted by region first, so that each region's lowest value is found in one pass.
  for (size_t i = 0; i < valued; i++) order[i].best = 0;
  qsort(order, valued, sizeof(candidate_t), by_preference);
  for (size_t i = 0, start = 0; i < valued; i++) {
    if (by_name(order[i].region, order[start].region)) start = i;
    order[i].best = order[start].value;
  }
  qsort(order, valued, sizeof(candidate_t), by_preference);
  size_t second = 0, third;
  while (second < valued && !by_name(order[second].region, order[0].region)) second++;
  for (third = second; third < valued && !by_name(order[third].region, order[second].region);) third++;

  size_t components = request->components.len;
  for (uint32_t component = 0; component < components; component++) {
    const exports_placement_component_t *wanted = &request->components.ptr[component];
    uint64_t *mine = got + component * count, replicas = wanted->replicas;
    uint64_t apart = second < valued ? replicas * self->share / 100 : 0;
    // Each region's part, then what did not fit, wherever there is room.
    uint64_t placed = fill(candidates, order, 0, second, component, replicas - apart, mine);
    placed += fill(candidates, order, second, third, component, apart, mine);
    placed += fill(candidates, order, 0, valued, component, replicas - placed, mine);
    if (placed < wanted->floor || (placed == 0 && replicas > 0)) {
      snprintf(message, sizeof(message), "%llu of %u replicas of %.*s fit", (unsigned long long)placed,
               (unsigned)replicas, (int)wanted->name.len, (char *)wanted->name.ptr);
      return refuse(err, FLEET_PROBLEM_CODE_NO_ROOM, message);
    }
  }

  *ret = (exports_placement_decision_t){0};
  ret->assignments.ptr = calloc(components * count + 1, sizeof(exports_placement_assignment_t));
  ret->terms.ptr = calloc(count + 1, sizeof(exports_placement_term_t));
  ret->term_names.ptr = calloc(1, sizeof(policy_string_t));
  ret->term_names.len = 1;
  policy_string_dup(ret->term_names.ptr, self->column);
  for (size_t at = 0; at < components * count; at++) {
    if (got[at]) {
      ret->assignments.ptr[ret->assignments.len++] =
          (exports_placement_assignment_t){at / count, at % count, (uint32_t)got[at]};
    }
  }
  for (uint32_t row = 0; row < count; row++) {
    uint64_t sum = 0;
    for (size_t component = 0; component < components; component++) sum += got[component * count + row];
    if (sum) ret->terms.ptr[ret->terms.len++] = (exports_placement_term_t){row, 0, values[row]};
  }
  return true;
}

bool exports_placement_method_session_place(exports_placement_session_t *self, exports_placement_request_t *request,
                                            exports_placement_candidates_t *candidates,
                                            exports_placement_decision_t *ret, exports_placement_problem_t *err) {
  // Not on the stack, which is small.
  size_t count = candidates->cluster.len;
  candidate_t *order = calloc(count + 1, sizeof(candidate_t));
  uint64_t *got = calloc(request->components.len * count + 1, sizeof(uint64_t));
  bool placed = place(self, request, candidates, order, got, ret, err);
  free(order);
  free(got);
  exports_placement_request_free(request);
  exports_placement_candidates_free(candidates);
  return placed;
}
