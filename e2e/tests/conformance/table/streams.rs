//! stdin, stdout and terminals.

use super::{CREATED, On, RUNNING, Row};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "streams.stdin",
        given: CREATED.runs("cat").stdin(),
        on: On::Both,
        steps: r#"
            start       -> pid
            feed one    -> ok
            says one    -> ok
            state       -> running
            feed two    -> ok
            closeio     -> ok
            closeio     -> ok
            wait        -> exit 0
            delete      -> exit 0
            output      -> "one\ntwo\n"
        "#,
        events: "start, exit 0, delete 0",
        source: "runc/container.go CloseIO",
    },
    Row {
        id: "streams.stdin-closed-before-start",
        given: CREATED.runs("cat").stdin(),
        on: On::Both,
        steps: r#"
            feed early  -> ok
            closeio     -> ok
            start       -> pid
            wait        -> exit 0
            delete      -> exit 0
            output      -> "early\n"
        "#,
        events: "start, exit 0, delete 0",
        source: "runc/container.go CloseIO; Docker closes stdin before it starts",
    },
    Row {
        id: "streams.stdin-not-closed",
        given: CREATED.runs("cat").stdin(),
        on: On::Containerd,
        steps: "
            start       -> pid
            feed one    -> ok
            says one    -> ok
            closeio nothing -> ok
            feed two    -> ok
            says two    -> ok
            state       -> running
        ",
        events: "start",
        source: "plugins/services/tasks/local.go CloseIO",
    },
    Row {
        id: "streams.no-stdin",
        given: CREATED.runs("cat"),
        on: On::Both,
        steps: r#"
            closeio     -> ok
            start       -> pid
            wait        -> exit 0
            closeio     -> ok
            delete      -> exit 0
            output      -> ""
        "#,
        events: "start, exit 0, delete 0",
        source: "process/io.go createIO",
    },
    Row {
        id: "streams.terminal",
        given: CREATED.runs("hello").terminal(),
        on: On::Both,
        steps: r#"
            state       -> created
            resize      -> ok
            closeio     -> ok
            start       -> pid
            wait        -> exit 0
            state       -> stopped 0
            delete      -> exit 0
            output      -> "Hello, World!\r\n"
        "#,
        events: "start, exit 0, delete 0",
        source: "process/init.go Create; runc/platform.go CopyConsole",
    },
    Row {
        id: "streams.terminal-resized",
        given: RUNNING.terminal(),
        on: On::Both,
        steps: r#"
            resize      -> ok
            state       -> running
            kill 9      -> ok
            wait        -> exit 137
            delete      -> exit 137
            output      -> "sleeping\r\n"
        "#,
        events: "exit 137, delete 137",
        source: "process/init.go Resize",
    },
    Row {
        id: "streams.terminal-echoes",
        given: CREATED.runs("cat").stdin().terminal(),
        on: On::Both,
        steps: r"
            start       -> pid
            feed one    -> ok
            says one\r\none\r\n -> ok
            state       -> running
        ",
        events: "start",
        source: "runc/platform.go CopyConsole; termios(3) ECHO, ONLCR",
    },
];
