//! A task's own life: start, pause, signals, update and the end.

use super::{CREATED, On, PAUSED, RUNNING, Row};

pub(crate) const ROWS: &[Row] = &[
    // First, because containerd's shim waits ten seconds for the output of what it has not killed yet.
    Row {
        id: "task.deleted-before-start",
        given: CREATED,
        on: On::Both,
        steps: "
            delete      -> exit 137 | exit 0 (exited_at unset)
            state       -> NotFound
        ",
        events: "exit 137, delete 137
            | delete 0 (exited_at unset), exit 137 (exited_at unset)
            | exit 137 (exited_at unset), delete 0 (exited_at unset)
            | delete 0 (exited_at unset)",
        source: "process/init_state.go createdState.Delete, which does not wait for the exit",
    },
    Row {
        id: "task.start",
        given: CREATED,
        on: On::Both,
        steps: "
            start       -> pid
            state       -> running
            start       -> Unknown: cannot start a running process
            pids        -> init
        ",
        events: "start",
        source: "task/service.go Start",
    },
    Row {
        id: "task.whole",
        given: CREATED.runs("hello"),
        on: On::Both,
        steps: r#"
            waiting     -> ok
            start       -> pid
            waited      -> exit 0
            state       -> stopped 0
            delete      -> exit 0
            output      -> "Hello, World!\n"
        "#,
        events: "start, exit 0, delete 0",
        source: "task/service.go preStart, handleProcessExit",
    },
    Row {
        id: "task.exit-code",
        given: CREATED.runs("exit 42"),
        on: On::Both,
        steps: "
            start       -> pid
            wait        -> exit 42
            state       -> stopped 42
            delete      -> exit 42
        ",
        events: "start, exit 42, delete 42",
        source: "process/init.go setExited",
    },
    Row {
        id: "task.exit-code-255",
        given: CREATED.runs("exit 255"),
        on: On::Both,
        steps: "
            start       -> pid
            wait        -> exit 255
            state       -> stopped 255
        ",
        events: "start, exit 255",
        source: "process/init.go setExited",
    },
    Row {
        id: "task.waiters",
        given: CREATED.runs("exit 3"),
        on: On::Both,
        steps: "
            waiting     -> ok
            waiting     -> ok
            waiting     -> ok
            start       -> pid
            waited      -> exit 3
            waited      -> exit 3
            wait        -> exit 3
            delete      -> exit 3
            waited      -> exit 3
            wait        -> NotFound
        ",
        events: "start, exit 3, delete 3",
        source: "process/init.go Wait",
    },
    Row {
        id: "task.killed-before-start",
        given: CREATED,
        on: On::Both,
        steps: "
            waiting     -> ok
            kill 9      -> ok
            waited      -> exit 137
            state       -> stopped 137
            start       -> Unknown: cannot start a stopped process
            delete      -> exit 137
        ",
        events: "exit 137, delete 137",
        source: "process/init_state.go createdState.Kill, SetExited",
    },
    Row {
        id: "task.killed-with-all-before-start",
        given: CREATED,
        on: On::Both,
        steps: "
            kill 9 all  -> ok
            wait        -> exit 137
        ",
        events: "exit 137",
        source: "process/init.go kill",
    },
    Row {
        id: "task.sigkill",
        given: RUNNING,
        on: On::Both,
        steps: "
            waiting     -> ok
            kill 9      -> ok
            waited      -> exit 137
            state       -> stopped 137
        ",
        events: "exit 137",
        source: "process/init.go kill",
    },
    Row {
        id: "task.sigkill-all",
        given: RUNNING,
        on: On::Both,
        steps: "
            kill 9 all  -> ok
            wait        -> exit 137
        ",
        events: "exit 137",
        source: "process/init.go kill, KillOpts.All",
    },
    Row {
        id: "task.sigkill-spinning",
        given: CREATED.runs("spin"),
        on: On::Both,
        steps: "
            start       -> pid
            says spinning -> ok
            kill 9      -> ok
            wait        -> exit 137
        ",
        events: "start, exit 137",
        source: "process/init.go kill",
    },
    Row {
        id: "task.sigterm",
        given: RUNNING,
        on: On::Both,
        steps: "
            kill 15     -> ok
            ! wait      -> exit 143
            state       -> running
        ",
        events: "",
        source: "pid_namespaces(7): an init without a handler does not hear it",
    },
    Row {
        id: "task.signals",
        given: RUNNING,
        on: On::Both,
        steps: "
            kill 0      -> ok
            kill 65     -> Unknown: invalid argument
            kill 999    -> Unknown: invalid argument
            kill 28     -> ok
            kill 17     -> ok
            state       -> running
            kill 19     -> ok
            state       -> running
            kill 18     -> ok
            state       -> running
        ",
        events: "",
        source: "process/utils.go checkKillError; kill(2)",
    },
    Row {
        id: "task.pause",
        given: RUNNING,
        on: On::Both,
        steps: "
            pause       -> ok
            state       -> paused
            pause       -> Unknown: cannot pause a paused container
            resume      -> ok
            state       -> running
            resume      -> Unknown: cannot resume a running process
            pause       -> ok
            resume      -> ok
        ",
        events: "paused, resumed, paused, resumed",
        source: "task/service.go Pause, Resume",
    },
    Row {
        id: "task.killed-while-paused",
        given: PAUSED,
        on: On::Both,
        steps: "
            waiting     -> ok
            kill 9      -> ok
            waited      -> exit 137
            state       -> stopped 137
            resume      -> Unknown: cannot resume a stopped container
        ",
        events: "exit 137",
        source: "process/init_state.go pausedState.SetExited; runc thaws what it kills",
    },
    Row {
        id: "task.signalled-while-paused",
        given: PAUSED,
        on: On::Both,
        steps: "
            kill 0      -> ok
            kill 28     -> ok
            state       -> paused
            resume      -> ok
            state       -> running
        ",
        events: "resumed",
        source: "process/init_state.go pausedState.Kill",
    },
    Row {
        id: "task.update",
        given: RUNNING,
        on: On::Both,
        steps: "
            update memory     -> ok
            cgroup memory     -> 67108864
            update cpu quota  -> ok
            cgroup cpu quota  -> 50000
            update cpu shares -> ok
            cgroup cpu shares -> 512
            update cpuset     -> ok
            cgroup cpuset     -> 0
            update pids       -> ok
            cgroup pids       -> 99
            update nothing    -> ok
            cgroup memory     -> 67108864
            update nonsense   -> Unknown: unexpected
            state             -> running
        ",
        events: "",
        source: "process/init.go update",
    },
    Row {
        id: "task.out-of-memory",
        given: CREATED.runs("oom").memory(32 << 20),
        on: On::Both,
        steps: "
            start       -> pid
            wait        -> exit 137
            stats       -> metrics
        ",
        events: "start, oom, exit 137 | oom, start, exit 137 | start, exit 137, oom | start, exit 137",
        source: "task/service.go oomEvent: sent beside the queue of all other events",
    },
    // What no `memory.grow` stands before, so that the kernel has to kill a guest, too.
    Row {
        id: "task.out-of-memory-by-files",
        given: CREATED.runs("oom files /dev/shm").memory(32 << 20),
        on: On::Both,
        steps: "
            start       -> pid
            wait        -> exit 137
            state       -> stopped 137
            stats       -> metrics
            delete      -> exit 137
        ",
        events: "start, oom, exit 137, delete 137 | oom, start, exit 137, delete 137 | start, exit 137, oom, delete 137 | start, exit 137, delete 137",
        source: "task/service.go oomEvent",
    },
];
