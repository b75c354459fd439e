#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]
#[test]
fn cases() {
    for case in super::cases::all() {
        let answer = super::place(case.policy, &case.request, &case.candidates);
        let replicas = answer.map(|decision| case.replicas(&decision)).map_err(|problem| problem.code);
        assert_eq!(replicas, case.expected, "{}: {}", case.policy, case.name);
    }
}
