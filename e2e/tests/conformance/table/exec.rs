//! Further processes of a task.

use super::{CREATED, On, PAUSED, RUNNING, Row};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "exec.whole",
        given: RUNNING,
        on: On::Both,
        steps: r#"
            e.exec hello you -> ok
            e.state     -> created
            e.waiting   -> ok
            e.start     -> pid
            e.waited    -> exit 0
            e.state     -> stopped 0
            e.delete    -> exit 0
            e.output    -> "Hello, you!\n"
            e.state     -> NotFound
            state       -> running
        "#,
        events: "e:added, e:started, e:exit 0",
        source: "task/service.go Exec, Start, Delete",
    },
    Row {
        id: "exec.states",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec sleep -> ok
            e.exec sleep -> AlreadyExists
            e.kill 9    -> FailedPrecondition: process not created
            e.resize    -> ok
            pids        -> init
            e.start     -> pid
            e.says sleeping -> ok
            e.state     -> running
            pids        -> init e
            ! e.start   -> Unknown: cannot start a running process
            e.delete    -> Unknown: cannot delete a running process
            e.exec sleep -> AlreadyExists
            e.kill 0    -> ok
            e.kill 65   -> Unknown: invalid argument
            e.resize    -> ok
            e.closeio   -> ok
            e.kill 9    -> ok
            e.wait      -> exit 137
            e.state     -> stopped 137
            e.wait      -> exit 137
            e.start     -> Unknown: cannot start a stopped process
            e.kill 9    -> NotFound: process already finished
            e.kill 0    -> NotFound: process already finished
            e.resize    -> Unknown: cannot resize a stopped container
            e.closeio   -> ok
            pids        -> init
            e.exec sleep -> AlreadyExists
            e.delete    -> exit 137
            e.delete    -> NotFound
            e.wait      -> NotFound
            state       -> running
        ",
        events: "e:added, e:started, e:exit 137",
        source: "process/exec_state.go; process/exec.go kill",
    },
    Row {
        id: "exec.codes",
        given: RUNNING,
        on: On::Both,
        steps: "
            a.exec exit 7 -> ok
            b.exec exit 255 -> ok
            a.start     -> pid
            a.wait      -> exit 7
            b.start     -> pid
            b.wait      -> exit 255
            a.delete    -> exit 7
            b.delete    -> exit 255
        ",
        events: "a:added, b:added, a:started, a:exit 7, b:started, b:exit 255",
        source: "process/exec.go setExited",
    },
    Row {
        id: "exec.never-started",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec sleep -> ok
            e.delete    -> exit 0 (exited_at unset)
            e.state     -> NotFound
            e.exec sleep -> ok
            e.state     -> created
        ",
        events: "e:added, e:added",
        source: "process/exec_state.go execCreatedState.Delete",
    },
    Row {
        id: "exec.again-by-the-same-id",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec exit 1 -> ok
            e.start     -> pid
            e.wait      -> exit 1
            e.delete    -> exit 1
            e.exec exit 2 -> ok
            e.state     -> created
            e.start     -> pid
            e.wait      -> exit 2
        ",
        events: "e:added, e:started, e:exit 1, e:added, e:started, e:exit 2",
        source: "runc/container.go ReserveProcess",
    },
    Row {
        id: "exec.without-its-program",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec missing -> ok
            e.start     -> Unknown: no such file or directory
            e.state     -> created
            e.wait      -> exit 0 (exited_at unset)
            e.delete    -> exit 0 (exited_at unset)
            state       -> running
        ",
        events: "e:added",
        source: "process/exec.go start",
    },
    Row {
        id: "exec.nonsense",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec nonsense -> Unknown: unexpected
            e.state     -> NotFound
            e.exec sleep -> ok
        ",
        events: "e:added",
        source: "process/init.go exec",
    },
    Row {
        id: "exec.ends-with-init",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec sleep -> ok
            e.start     -> pid
            e.says sleeping -> ok
            kill 9      -> ok
            wait        -> exit 137
            e.wait      -> exit 137
            e.state     -> stopped 137
            e.delete    -> exit 137
        ",
        events: "e:added, e:started, e:exit 137, exit 137",
        source: "task/service.go handleInitExit",
    },
    Row {
        id: "exec.after-init",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec sleep -> ok
            kill 9      -> ok
            wait        -> exit 137
            e.start     -> FailedPrecondition: is not running
            e.state     -> created
            f.exec sleep -> Unknown: cannot exec in a stopped state
            e.delete    -> exit 0 (exited_at unset)
        ",
        events: "e:added, exit 137",
        source: "task/service.go Start, containerInitExit",
    },
    Row {
        id: "exec.forgotten-with-its-task",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec exit 5 -> ok
            e.start     -> pid
            e.wait      -> exit 5
            kill 9      -> ok
            wait        -> exit 137
            delete      -> exit 137
            e.state     -> NotFound
        ",
        events: "e:added, e:started, e:exit 5, exit 137, delete 137",
        source: "task/service.go Delete",
    },
    Row {
        id: "exec.in-created",
        given: CREATED,
        on: On::Both,
        steps: "
            e.exec exit 5 -> ok
            e.start     -> pid
            e.wait      -> exit 5
            e.delete    -> exit 5
            state       -> created
        ",
        events: "e:added, e:started, e:exit 5",
        source: "process/init_state.go createdState.Exec",
    },
    Row {
        id: "exec.while-paused",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec sleep -> ok
            f.exec exit 5 -> ok
            e.start     -> pid
            e.says sleeping -> ok
            pause       -> ok
            e.state     -> paused
            f.state     -> paused
            g.exec sleep -> Unknown: cannot exec in a paused state
            f.start     -> Unknown: paused
            resume      -> ok
            e.state     -> running
            e.kill 9    -> ok
            e.wait      -> exit 137
        ",
        events: "e:added, f:added, e:started, paused, resumed, e:exit 137",
        source: "process/exec.go Status; process/init_state.go pausedState.Exec",
    },
    Row {
        id: "exec.added-and-paused",
        given: PAUSED,
        on: On::Both,
        steps: "
            x.kill 9    -> NotFound
            x.delete    -> NotFound
            resume      -> ok
        ",
        events: "resumed",
        source: "runc/container.go Process",
    },
    Row {
        id: "exec.stdin",
        given: RUNNING,
        on: On::Both,
        steps: r#"
            e.exec stdin cat -> ok
            e.start     -> pid
            e.feed one  -> ok
            e.says one  -> ok
            e.feed two  -> ok
            e.closeio   -> ok
            e.wait      -> exit 0
            e.delete    -> exit 0
            e.output    -> "one\ntwo\n"
        "#,
        events: "e:added, e:started, e:exit 0",
        source: "runc/container.go CloseIO",
    },
    Row {
        id: "exec.terminal",
        given: RUNNING,
        on: On::Both,
        steps: r#"
            e.exec tty hello -> ok
            e.resize    -> ok
            e.start     -> pid
            e.wait      -> exit 0
            e.state     -> stopped 0
            e.resize    -> Unknown: cannot resize a stopped container
            e.delete    -> exit 0
            e.output    -> "Hello, World!\r\n"
        "#,
        events: "e:added, e:started, e:exit 0",
        source: "process/exec.go start, resize",
    },
    Row {
        id: "exec.terminal-resized",
        given: RUNNING,
        on: On::Both,
        steps: r#"
            e.exec tty sleep -> ok
            e.start     -> pid
            e.says sleeping -> ok
            e.resize    -> ok
            e.state     -> running
            e.kill 9    -> ok
            e.wait      -> exit 137
            e.delete    -> exit 137
            e.output    -> "sleeping\r\n"
        "#,
        events: "e:added, e:started, e:exit 137",
        source: "process/exec.go resize",
    },
    Row {
        id: "exec.terminal-echoes",
        given: RUNNING,
        on: On::Both,
        steps: r"
            e.exec stdin tty cat -> ok
            e.start     -> pid
            e.feed one  -> ok
            e.says one\r\none\r\n -> ok
            e.state     -> running
            e.kill 9    -> ok
            e.wait      -> exit 137
        ",
        events: "e:added, e:started, e:exit 137",
        source: "runc/platform.go CopyConsole",
    },
    Row {
        id: "exec.waiters",
        given: RUNNING,
        on: On::Both,
        steps: "
            e.exec exit 9 -> ok
            e.waiting   -> ok
            e.waiting   -> ok
            e.start     -> pid
            e.waited    -> exit 9
            e.waited    -> exit 9
            e.delete    -> exit 9
        ",
        events: "e:added, e:started, e:exit 9",
        source: "process/exec.go Wait",
    },
    Row {
        id: "exec.without-an-id",
        given: RUNNING,
        on: On::Containerd,
        steps: "
            exec sleep  -> InvalidArgument: exec id cannot be empty
            state       -> running
        ",
        events: "",
        source: "plugins/services/tasks/local.go Exec",
    },
];
