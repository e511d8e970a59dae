//! What a time of a window looks like, for the API server: a typing error is told to whoever makes it.

/// `(FIELD)(,FIELD)*`, where a field is `*` or some or a range of what may stand there, now and then with a step.
macro_rules! list {
    ($one:literal) => {
        concat!(
            "(\\*|\\?|",
            $one,
            "(-",
            $one,
            ")?)(/[0-9]+)?",
            "(,(\\*|",
            $one,
            "(-",
            $one,
            ")?)(/[0-9]+)?)*"
        )
    };
}

/// Minute, hour, day, month, weekday. It lets through what only a calendar knows to be wrong; the planner refuses that.
pub(super) const PATTERN: &str = concat!(
    "^\\s*",
    list!("[0-5]?[0-9]"),
    "\\s+",
    list!("([01]?[0-9]|2[0-3])"),
    "\\s+",
    list!("((0?[1-9]|[12][0-9]|3[01])W?|LW?)"),
    "\\s+",
    list!("(0?[1-9]|1[0-2]|[A-Za-z]{3})"),
    "\\s+",
    list!("([0-7]|[A-Za-z]{3})(L|#[1-5])?"),
    "\\s*$"
);
