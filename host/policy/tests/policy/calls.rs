//! Those who listen hear of every call, with all that is needed to ask it again.

use std::sync::{Arc, Mutex};

use berth_core::policy::{Kind, MigrationState, Policies, Queue};
use berth_policy::{Call, Listener, Output, Question};

use crate::support::{Home, builtin, failure, request, room, tables};

/// A call, and the rule that its answer broke.
pub(crate) type Told = (Arc<Call>, Option<String>);

/// What was heard.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Told>>>);

impl Heard {
    pub(crate) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Listener for Heard {
    fn called(&mut self, call: &Arc<Call>) {
        self.0.lock().unwrap().push((call.clone(), None));
    }

    fn broke_rule(&mut self, number: u64, rule: &str) {
        let mut heard = self.0.lock().unwrap();
        let (call, broke) = heard.last_mut().unwrap();
        assert_eq!(call.number, number);
        *broke = Some(rule.to_owned());
    }
}

#[test]
fn calls_of_all_kinds_are_told_with_their_answers() {
    let mut home = Home::new();
    for name in ["cost.wasm", "fifo.wasm", "ready.wasm"] {
        home.copy(&builtin(name), name);
    }
    home.write("policies.toml", "[policy.cost]\nfile = \"cost.wasm\"\nconfig = { keepCurrent = 0.5 }\n");
    home.scan();
    let heard = Heard::default();
    home.host.listen(heard.clone());
    let tables = tables(&["a", "b"]);
    let placed = home.host.place(None, &tables, &request("", 7), &room());
    let admitted = home.host.admit(None, &tables, &Queue { now_ms: 8, ..Queue::default() });
    let moved = home.host.migrate(None, &tables, &MigrationState { now_ms: 9, ..MigrationState::default() });

    let calls: Vec<Arc<Call>> = heard.take().into_iter().map(|(call, _)| call).collect();
    let slots: Vec<(u64, u64, &str)> = calls.iter().map(|call| (call.number, call.at_ms, call.slot.as_str())).collect();
    assert_eq!(slots, [(1, 7, "cost"), (2, 8, "fifo"), (3, 9, "ready")]);
    assert_eq!(calls[0].question, Question::Placement { request: request("", 7), candidates: room() });
    assert_eq!(&*calls[0].config, r#"{"keepCurrent":0.5}"#);
    assert_eq!(calls[0].answer, placed.result.map(Output::Placement));
    assert_eq!((&calls[0].by, calls[0].fuel), (&placed.by, placed.fuel));
    assert_eq!(calls[1].answer, admitted.result.map(Output::Gang));
    assert_eq!(calls[2].answer, moved.result.map(Output::Migration));
    assert!(calls.iter().all(|call| Arc::ptr_eq(&call.tables, &tables) && call.failed.is_none()));
}

#[test]
fn failures_and_broken_rules_are_told_too() {
    let mut home = Home::misbehaving("");
    let heard = Heard::default();
    home.host.listen(heard.clone());
    let why = failure(&home.ask("trap", 1));
    let answer = home.ask("over-room", 2);
    home.host.broke_rule(Kind::Placement, &answer.by, "more than the room");
    let unknown = home.host.place(Some(&"nobody".into()), &tables(&["a", "b"]), &request("", 3), &room());

    let heard = heard.take();
    assert_eq!(
        heard[0].0.failed.as_ref().map(|(by, why)| (by.name.as_str(), why.as_str())),
        Some(("misbehave", &*why))
    );
    assert_eq!((&*heard[0].0.by.digest, heard[0].0.slot.as_str()), ("native", "misbehave"));
    assert_eq!(heard[1].0.failed, None);
    assert_eq!(heard[1].1.as_deref(), Some("more than the room"));
    assert_eq!(heard[2].0.failed, unknown.failed);
    assert_eq!((heard[2].0.slot.as_str(), &*heard[2].0.config), ("nobody", ""));
}

#[test]
fn a_question_fits_a_policy_without_what_it_does_not_need() {
    let mut candidates = room();
    candidates.offers.candidate = vec![0];
    candidates.extra =
        ["carbon", "load"].map(|name| berth_core::policy::Column { name: name.into(), values: vec![1.0, 2.0] }).into();
    let question = Question::Placement { request: request("", 1), candidates: candidates.clone() };
    let columns = |needs: &[&str]| {
        let needs: Vec<Arc<str>> = needs.iter().map(|need| Arc::from(*need)).collect();
        match question.fit(&needs).into_owned() {
            Question::Placement { candidates, .. } => {
                let names: Vec<String> = candidates.extra.iter().map(|column| column.name.to_string()).collect();
                (candidates.offers.candidate.len(), names.join(" "))
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(columns(&["carbon", "load", "offers"]), (1, "carbon load".into()));
    assert_eq!(columns(&["load", "carbon"]), (0, "load carbon".into()));
    assert_eq!(columns(&["offers", "unknown"]), (1, String::new()));
    assert_eq!(columns(&[]), (0, String::new()));
    let needs: Vec<Arc<str>> = ["offers", "load", "unknown"].map(Arc::from).into();
    assert_eq!(question.lacks(&needs).map(|need| &**need).collect::<Vec<_>>(), ["unknown"]);

    let running = vec![berth_core::policy::Running::default()];
    let gang = Question::Gang(Queue { running, ..Queue::default() });
    assert_eq!(gang.fit(&["running".into()]).as_ref(), &gang);
    assert_eq!(gang.fit(&[]).as_ref(), &Question::Gang(Queue::default()));
    assert_eq!(gang.lacks(&["running".into()]).count(), 0);
    assert_eq!(Question::Gang(Queue::default()).lacks(&["running".into()]).count(), 1);
}
