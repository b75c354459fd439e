//! Shorthands for the reasons to give no answer.

use crate::bindings::{Problem, ProblemCode};

/// The candidates have too little room for what was asked.
pub fn no_room(message: impl Into<String>) -> Problem {
    Problem { code: ProblemCode::NoRoom, message: message.into() }
}

/// No candidate is acceptable to this policy.
pub fn no_candidate(message: impl Into<String>) -> Problem {
    Problem { code: ProblemCode::NoCandidate, message: message.into() }
}

/// The request or the configuration asks for something that this policy does not do.
pub fn unsupported(message: impl Into<String>) -> Problem {
    Problem { code: ProblemCode::Unsupported, message: message.into() }
}
