//! Properties on random fleets, workloads and policies.
