//! Errors in one line, for a log and for a terminal.

use std::error::Error;

/// An error and its causes, the outermost first, each told once.
///
/// Errors of kube have the text of their cause in their own, and that of an answer of the API server a second time in
/// the form of `Debug`: of such a text what is before the cause is told.
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let own = error.to_string();
    let Some(cause) = error.source() else { return own };
    let told = in_words(cause);
    match own.split_once(&cause.to_string()) {
        Some((before, "")) => format!("{before}{told}"),
        Some((before, after)) if after.starts_with(" (") => format!("{before}{told}"),
        _ => format!("{own}: {told}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("nodes \"a\" not found: NotFound")]
    struct Status;

    #[derive(Debug, thiserror::Error)]
    #[error("ApiError: {0} ({0:?})")]
    struct Api(#[source] Status);

    #[derive(Debug, thiserror::Error)]
    #[error("failed to start watching object: {0}")]
    struct Watch(#[source] Api);

    #[derive(Debug, thiserror::Error)]
    #[error("the node a")]
    struct Context(#[source] Watch);

    #[test]
    fn each_cause_is_told_once() {
        let told = in_words(&Context(Watch(Api(Status))));
        let wanted = "the node a: failed to start watching object: ApiError: nodes \"a\" not found: NotFound";
        assert_eq!(told, wanted);
        assert_eq!(in_words(&Status), "nodes \"a\" not found: NotFound");
    }
}
