//! Creations that fail, and what is left of them: nothing.

use super::{CREATED, DELETED, NOTHING, On, Row};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "create.twice",
        given: CREATED,
        on: On::Both,
        steps: "
            create      -> Unknown: already exists // AlreadyExists
            state       -> created
            start       -> pid
            says sleeping -> ok
        ",
        events: "start",
        source: "runc/container.go NewContainer; plugins/services/tasks/local.go Create",
    },
    Row {
        id: "create.again-after-its-end",
        given: DELETED,
        on: On::Both,
        steps: "
            create      -> pid
            state       -> created
            start       -> pid
            wait        -> exit 0
            delete      -> exit 0
        ",
        events: "create, start, exit 0, delete 0",
        source: "task/service.go Create, Delete",
    },
    Row {
        id: "create.without-a-bundle",
        given: NOTHING,
        on: On::Shim,
        steps: "
            create without a bundle -> NotFound: no such file | Unknown: no such file
            state       -> NotFound
            create      -> pid
            state       -> created
        ",
        events: "create",
        source: "runc/container.go NewContainer",
    },
    Row {
        id: "create.without-a-config",
        given: NOTHING,
        on: On::Shim,
        steps: "
            create without a config -> Unknown: config.json
            state       -> NotFound
            create with its config -> pid
            state       -> created
        ",
        events: "create",
        source: "process/init.go Create",
    },
    Row {
        id: "create.with-a-broken-config",
        given: NOTHING,
        on: On::Shim,
        steps: "
            create with a broken config -> Unknown
            state       -> NotFound
            create with its config -> pid
            state       -> created
        ",
        events: "create",
        source: "process/init.go Create",
    },
    Row {
        id: "create.with-a-broken-rootfs",
        given: NOTHING,
        on: On::Both,
        steps: "
            create with a broken rootfs -> Unknown: failed to mount rootfs component
            state       -> NotFound
            create      -> pid
            state       -> created
        ",
        events: "create",
        source: "runc/container.go NewContainer, mount.All",
    },
    Row {
        id: "create.without-its-program",
        given: NOTHING.runs("missing"),
        on: On::Both,
        steps: "
            create      -> Unknown: no such file or directory
            state       -> NotFound
        ",
        events: "",
        source: "process/init.go Create, runtimeError",
    },
];
