//! Every call in every state of a task.

use super::{CREATED, DELETED, KILLED, NOTHING, On, PAUSED, RUNNING, Row, STOPPED};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "states.nothing",
        given: NOTHING,
        on: On::Both,
        steps: "
            state       -> NotFound
            start       -> NotFound
            wait        -> NotFound
            kill 9      -> NotFound
            kill 9 all  -> NotFound
            pids        -> NotFound
            pause       -> NotFound
            resume      -> NotFound
            update memory -> NotFound
            stats       -> NotFound
            resize      -> NotFound
            closeio     -> NotFound
            checkpoint  -> NotFound
            e.exec sleep -> NotFound
            e.state     -> NotFound
            e.start     -> NotFound
            e.kill 9    -> NotFound
            e.delete    -> NotFound
            delete      -> NotFound
        ",
        events: "",
        source: "task/service.go getContainer; plugins/services/tasks/local.go getTask",
    },
    Row {
        id: "states.created",
        given: CREATED,
        on: On::Both,
        steps: "
            state       -> created
            pids        -> init
            stats       -> metrics
            pause       -> Unknown: cannot pause task in created state
            resume      -> Unknown: cannot resume task in created state
            checkpoint  -> Unknown: cannot checkpoint a task in created state
            resize      -> ok
            closeio     -> ok
            update pids -> ok
            cgroup pids -> 99
            kill 0      -> ok
            x.state     -> NotFound
            x.start     -> NotFound
            x.wait      -> NotFound
            x.kill 9    -> NotFound
            x.resize    -> NotFound
            x.delete    -> NotFound
            state       -> created
        ",
        events: "",
        source: "process/init_state.go createdState",
    },
    Row {
        id: "states.running",
        given: RUNNING,
        on: On::Both,
        steps: "
            state       -> running
            start       -> Unknown: cannot start a running process
            delete      -> Unknown: cannot delete a running process
            resume      -> Unknown: cannot resume a running process
            pids        -> init
            stats       -> metrics
            resize      -> ok
            closeio     -> ok
            kill 0      -> ok
            x.state     -> NotFound
            x.start     -> NotFound
            x.wait      -> NotFound
            x.kill 9    -> NotFound
            x.resize    -> NotFound
            x.closeio   -> Unknown: not found // NotFound
            x.delete    -> NotFound
            state       -> running
        ",
        events: "",
        source: "process/init_state.go runningState; runc/container.go Process",
    },
    Row {
        id: "states.paused",
        given: PAUSED,
        on: On::Both,
        steps: "
            state       -> paused
            start       -> Unknown: cannot start a paused process
            delete      -> Unknown: cannot delete a paused process
            pause       -> Unknown: cannot pause a paused container
            e.exec sleep -> Unknown: cannot exec in a paused state
            pids        -> init
            stats       -> metrics
            resize      -> ok
            closeio     -> ok
            update pids -> ok
            cgroup pids -> 99
            state       -> paused
            resume      -> ok
            state       -> running
        ",
        events: "resumed",
        source: "process/init_state.go pausedState",
    },
    Row {
        id: "states.stopped",
        given: STOPPED,
        on: On::Both,
        steps: "
            state       -> stopped 7
            wait        -> exit 7
            start       -> Unknown: cannot start a stopped process
            kill 0      -> NotFound: process already finished
            kill 15     -> NotFound: process already finished
            kill 9      -> NotFound: process already finished
            kill 9 all  -> ok
            pause       -> Unknown: cannot pause a stopped container
            resume      -> Unknown: cannot resume a stopped container
            update pids -> Unknown: cannot update a stopped container
            checkpoint  -> Unknown: cannot checkpoint a stopped container
            e.exec sleep -> Unknown: cannot exec in a stopped state
            pids        -> none
            stats       -> metrics
            resize      -> ok
            closeio     -> ok
            wait        -> exit 7
            delete      -> exit 7
            delete      -> NotFound
            state       -> NotFound
            wait        -> NotFound
        ",
        events: "delete 7",
        source: "process/init_state.go stoppedState; process/utils.go checkKillError",
    },
    Row {
        id: "states.killed",
        given: KILLED,
        on: On::Both,
        steps: "
            state       -> stopped 137
            wait        -> exit 137
            kill 9      -> NotFound: process already finished
            stats       -> metrics
            delete      -> exit 137
        ",
        events: "delete 137",
        source: "process/init.go setExited",
    },
    Row {
        id: "states.deleted",
        given: DELETED,
        on: On::Both,
        steps: "
            state       -> NotFound
            start       -> NotFound
            wait        -> NotFound
            kill 9      -> NotFound
            pids        -> NotFound
            pause       -> NotFound
            resume      -> NotFound
            update memory -> NotFound
            stats       -> NotFound
            resize      -> NotFound
            closeio     -> NotFound
            checkpoint  -> NotFound
            e.exec sleep -> NotFound
            e.state     -> NotFound
            delete      -> NotFound
        ",
        events: "",
        source: "task/service.go Delete",
    },
    Row {
        id: "states.connect",
        given: CREATED,
        on: On::Shim,
        steps: "
            connect     -> task
            other       -> Unimplemented
            start       -> pid
            connect     -> task
            shutdown    -> ok
            state       -> running
            kill 9      -> ok
            wait        -> exit 137
            connect     -> task
            shutdown    -> ok
            state       -> stopped 137
            delete      -> exit 137
            connect     -> no task
            shutdown    -> ok | DataLoss: disconnected
            leaves      -> ok
        ",
        events: "start, exit 137, delete 137",
        source: "task/service.go Connect, Shutdown",
    },
    Row {
        id: "states.pod",
        given: RUNNING,
        on: On::Shim,
        steps: "
            2/state     -> NotFound
            2/create    -> pid
            2/state     -> created
            pids        -> init
            2/pids      -> init
            2/start     -> pid
            2/e.exec sleep -> ok
            e.state     -> NotFound
            2/e.state   -> created
            pause       -> ok
            2/state     -> running
            resume      -> ok
            kill 9 all  -> ok
            wait        -> exit 137
            2/state     -> running
            delete      -> exit 137
            connect     -> no task
            2/connect   -> task
            shutdown    -> ok
            2/state     -> running
            2/kill 9    -> ok
            2/wait      -> exit 137
            2/delete    -> exit 137
            shutdown    -> ok | DataLoss: disconnected
            leaves      -> ok
        ",
        events: "paused, resumed, exit 137, delete 137",
        source: "task/service.go getContainer, Shutdown; manager/manager_linux.go groupLabels",
    },
    Row {
        id: "states.shutdown",
        given: NOTHING,
        on: On::Shim,
        steps: "
            connect     -> no task
            shutdown    -> ok | DataLoss: disconnected
            leaves      -> ok
        ",
        events: "",
        source: "task/service.go Shutdown",
    },
];
