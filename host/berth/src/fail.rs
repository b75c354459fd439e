//! How a command ends: exit codes, and errors with a hint. Errors are printed once, here: the message, its causes as a
//! chain, and the hint last.

use std::fmt;
use std::process::ExitCode;

/// Shown below the help of every command.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `berth run`: stopped cleanly, or settled with --until-settled
  1    refused or failed; what and why is on stderr
  2    wrong usage; for `berth run --until-settled`: settled, but something cannot be done, with reasons
  130  interrupted before it was done";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    /// Nothing is left to do, and something could not be done.
    Stuck,
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Stuck => 2,
            Exit::Interrupted => 130,
        })
    }
}

/// A message with what to do about it. The hint travels beside the message and is shown last.
#[derive(Debug)]
pub(crate) struct Hinted {
    message: String,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Hinted {
    Hinted { message: message.into(), hint: hint.into() }
}

pub(crate) fn print(error: &anyhow::Error) {
    eprint!("{}", render(error));
}

/// Causes that repeat what was already said are left out: some libraries print their source in their own message.
fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let message = cause.to_string();
        if !message.is_empty() && !said.contains(&message) {
            text.push_str(&format!("  because: {message}\n"));
            said = message;
        }
    }
    if let Some(hinted) = error.downcast_ref::<Hinted>()
        && !hinted.hint.is_empty()
    {
        text.push_str(&format!("hint: {}\n", hinted.hint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_form_a_chain_and_the_hint_comes_last() {
        let error =
            anyhow::anyhow!("permission denied").context(hinted("the token cannot be read", "check the file's mode"));
        assert_eq!(
            render(&error),
            "error: the token cannot be read\n  because: permission denied\nhint: check the file's mode\n"
        );
    }

    #[test]
    fn a_cause_that_was_said_already_is_left_out() {
        let error = anyhow::anyhow!("no such file").context("cannot open a.yaml: no such file");
        assert_eq!(render(&error), "error: cannot open a.yaml: no such file\n");
    }
}
