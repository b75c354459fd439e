//! How the HTTP handlers reach the thread that owns the state: a bounded channel of questions, each with its own reply.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tokio::sync::oneshot;

/// A question to the owner of `T`, run on its thread between two steps.
pub(crate) type Question<T> = Box<dyn FnOnce(&mut T) + Send>;

#[derive(Debug)]
pub(crate) struct Asker<T> {
    questions: SyncSender<Question<T>>,
}

impl<T> Clone for Asker<T> {
    fn clone(&self) -> Self {
        Self { questions: self.questions.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    Busy,
    Stopped,
}

/// `waiting` questions may wait; more are refused, so that a slow owner is not buried.
pub(crate) fn channel<T>(waiting: usize) -> (Asker<T>, Receiver<Question<T>>) {
    let (questions, receiver) = sync_channel(waiting);
    (Asker { questions }, receiver)
}

impl<T: 'static> Asker<T> {
    /// Runs `question` on the owner's thread and waits for what it returns. One whose asker has gone, or was told that it
    /// took too long, is not begun.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, NoReply> {
        let (reply, answer) = oneshot::channel();
        let question: Question<T> = Box::new(move |owner| {
            if !reply.is_closed() {
                // An asker that went away meanwhile does not want its answer; that is no fault.
                drop(reply.send(question(owner)));
            }
        });
        self.questions.try_send(question).map_err(|error| match error {
            TrySendError::Full(_) => NoReply::Busy,
            TrySendError::Disconnected(_) => NoReply::Stopped,
        })?;
        answer.await.map_err(|_| NoReply::Stopped)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[tokio::test]
    async fn questions_are_answered_in_order_and_too_many_are_refused() {
        let (asker, receiver) = channel::<u32>(4);
        let owner = std::thread::spawn(move || {
            let mut state = 0;
            receiver.into_iter().for_each(|question| question(&mut state));
        });
        for expected in 1..=3 {
            let answer = asker.ask(|state| {
                *state += 1;
                *state
            });
            assert_eq!(answer.await, Ok(expected));
        }
        drop(asker);
        owner.join().unwrap();

        let (asker, receiver) = channel::<u32>(4);
        for _ in 0..4 {
            asker.questions.try_send(Box::new(|_| ())).unwrap();
        }
        assert_eq!(asker.ask(|_| ()).await, Err(NoReply::Busy));
        drop(receiver);
        assert_eq!(asker.ask(|_| ()).await, Err(NoReply::Stopped));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let (asker, receiver) = channel::<u32>(4);
        let asked = asker.ask(|state| *state += 1);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), asked).await.is_err());
        let mut state = 0;
        receiver.recv().unwrap()(&mut state);
        assert_eq!(state, 0);
    }
}
