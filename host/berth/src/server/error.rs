//! Answers that are no success: a status with `{code, message, hint, details}` as JSON.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berth_api::issue::plain;

use super::ask::NoReply;
use crate::wire::ApiError;

#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: ApiError,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    /// `message` may quote the request: it becomes one short line that a terminal can show.
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let message = plain(&message.into()).into_owned();
        let error = ApiError { code: code.to_owned(), message, ..ApiError::default() };
        Self { status, error, retry_after: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.error.hint = plain(&hint.into()).into_owned();
        self
    }

    pub(crate) fn details(mut self, details: Vec<String>) -> Self {
        self.error.details = details;
        self
    }

    /// Something that should not happen. The causes are told, since the client is the operator.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        let mut details = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            details.push(error.to_string());
            cause = error.source();
        }
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", error.to_string()).details(details)
    }

    /// Nothing was done, and a little later it can be.
    pub(crate) fn busy(message: &str) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", message).hint("try again");
        Self { retry_after: Some(1), ..refusal }
    }

    pub(crate) fn too_fast(wait: Duration) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooFast", "too many requests in a short time");
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        Self { retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..refusal }
    }

    pub(crate) fn read_only(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "ReadOnly", message).hint("use a token that may change things")
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", what)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.error)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<NoReply> for Refusal {
    fn from(no_reply: NoReply) -> Self {
        match no_reply {
            NoReply::Busy => Self::busy("too many requests are waiting"),
            NoReply::Stopped => Self::new(StatusCode::SERVICE_UNAVAILABLE, "Stopping", "the controller is stopping"),
        }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "TooLarge",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "NotJson",
            _ => "BadBody",
        };
        Self::new(rejection.status(), code, rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadQuery", rejection.body_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_says_is_told_in_one_short_line() {
        let refusal = Refusal::not_found(format!("there is no kind \u{1b}[2J\n{}", "x".repeat(1 << 20))).hint("a\nb");
        assert!(refusal.error.message.len() < 600 && !refusal.error.message.contains(char::is_control));
        assert_eq!(refusal.error.hint, "a b");
    }
}
