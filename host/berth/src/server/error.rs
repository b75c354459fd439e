//! Answers that are no success: a status with `{code, message, hint, details}` as JSON.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::ask::NoReply;
use crate::wire::ApiError;

#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: ApiError,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let error = ApiError { code: code.to_owned(), message: message.into(), ..ApiError::default() };
        Self { status, error }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.error.hint = hint.into();
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

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", what)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.error)).into_response()
    }
}

impl From<NoReply> for Refusal {
    fn from(no_reply: NoReply) -> Self {
        let (code, message) = match no_reply {
            NoReply::Busy => ("Busy", "too many requests are waiting; try again"),
            NoReply::Stopped => ("Stopping", "the controller is stopping"),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
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
