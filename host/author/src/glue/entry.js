// What stands between the runtime and a policy in JavaScript.

import * as policy from "../policy.js";

// What a policy must not decide by: it would differ from build to build, or from call to call.
const absent = (what) => () => {
  throw new Error(`a policy has no ${what}: the request brings a seed and the time`);
};
Math.random = absent("chance");
Date.now = absent("clock");

// The runtime hands unsigned numbers over as signed ones, so that the largest of all, which means "none" or "for ever",
// would come as -1.
const signed = new Set(["priority", "price", "currentPrice", "interruption", "values"]);
const wide = new Set(["nowMs", "seed", "ageMs", "limitMs", "tolerationMs", "unreadyMs", "sinceMs"]);
for (const amounts of ["request", "min", "max", "used", "usage"]) wide.add(amounts);

function unsigned(value, key) {
  if (typeof value === "number") {
    return value < 0 ? value + (wide.has(key) ? 2 ** 64 : 2 ** 32) : value;
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      if (typeof value[i] === "object" || value[i] < 0) value[i] = unsigned(value[i], key);
    }
  } else if (typeof value === "object" && value !== null) {
    for (const key of Object.keys(value)) {
      if (!signed.has(key)) value[key] = unsigned(value[key], key);
    }
  }
  return value;
}

class Session extends policy.KIND.Session {
  METHOD(...given) {
    return super.METHOD(...given.map((one) => unsigned(one)));
  }
}

export const about = policy.about;
export const KIND = { Session };
