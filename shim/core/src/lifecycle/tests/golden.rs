//! A script of events on the left, what the ledger says to it on the right.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::world::{World, show};
use crate::lifecycle::*;

/// `up` stands for a task created and ready; `run` for one that is started too.
pub(super) fn check(script: &str, expect: Expect) {
    let mut world = World::default();
    let mut out = String::new();
    for word in script.split_whitespace() {
        let effects = play(&mut world, word);
        if !matches!(word, "up" | "run") {
            let _ = writeln!(out, "{word:<10}{}", show(&effects));
        }
    }
    expect.assert_eq(&out);
}

fn play(world: &mut World, word: &str) -> Vec<Effect> {
    let (verb, rest) = word.split_once(':').unwrap_or((word, ""));
    let number = || rest.parse().unwrap();
    match verb {
        "up" => {
            play(world, "create");
            (0..6).flat_map(|_| world.done()).collect()
        }
        "run" => {
            play(world, "up");
            world.task(TaskCall::Start);
            play(world, "released");
            world.reported(Report::Poststarted { failure: None })
        }
        "create" => {
            let creation = Creation { bundle: "/b".into(), ..Creation::default() };
            world.called(Call::Create { id: "c".into(), creation })
        }
        "connect" => world.called(Call::Connect { id: "c".into() }),
        "shutdown" => world.called(Call::Shutdown),
        "start" => world.task(TaskCall::Start),
        "state" => world.task(TaskCall::State),
        "wait" => world.task(TaskCall::Wait),
        "kill" => world.task(TaskCall::Kill { signal: number(), all: false }),
        "kill-all" => world.task(TaskCall::Kill { signal: number(), all: true }),
        "delete" => world.task(TaskCall::Delete),
        "pids" => world.task(TaskCall::Pids),
        "stats" => world.task(TaskCall::Stats),
        "update" => world.task(TaskCall::Update),
        "close" => world.task(TaskCall::CloseStdin),
        "resize" => world.task(TaskCall::Resize),
        "pause" => world.task(TaskCall::Pause),
        "resume" => world.task(TaskCall::Resume),
        "checkpoint" => world.task(TaskCall::Checkpoint),
        "exec" => world.task(TaskCall::Exec { exec: rest.into(), stdio: Stdio::default() }),
        "e-start" => world.exec(rest, ExecCall::Start),
        "e-state" => world.exec(rest, ExecCall::State),
        "e-wait" => world.exec(rest, ExecCall::Wait),
        "e-kill" => world.exec(rest, ExecCall::Kill { signal: 15 }),
        "e-delete" => world.exec(rest, ExecCall::Delete),
        "done" => world.done(),
        "fail" => world.failed(Some("args[0] is not there")),
        "fail-mute" => world.failed(None),
        "exit" => world.exited(Ended::Code(number() as u8), false),
        "signal" => world.exited(Ended::Signal(number() as u8), false),
        "oom-exit" => world.exited(Ended::Signal(9), true),
        "oom" => world.reported(Report::Oom),
        "released" => world.released(None),
        "release-failed" => world.released(Some("exec format error")),
        "poststarted" => world.reported(Report::Poststarted { failure: None }),
        "poststart-failed" => {
            world.reported(Report::Poststarted { failure: Some("hook failed".into()) })
        }
        "frozen" => {
            let ticket = world.freezing.remove(0);
            world.reported(Report::Frozen { ticket, failure: None })
        }
        "thawed" => {
            let ticket = world.thawing.remove(0);
            world.reported(Report::Thawed { ticket, failure: None })
        }
        "drained" => world.reported(Report::Drained),
        "deadline" => world.reported(Report::DrainDeadline),
        "undone" => world.undone(),
        "e-started" => world.reported(Report::ExecStarted { exec: rest.into(), pid: 8 }),
        "e-failed" => world.reported(Report::ExecFailed {
            exec: rest.into(),
            why: Denied::new(Code::NotFound, "no such program"),
        }),
        "e-exit" => world.reported(Report::ExecExited {
            exec: rest.into(),
            exit: super::world::exit(Ended::Code(3)),
        }),
        "p-create" => world.pod(PodCall::Create),
        "p-start" => world.pod(PodCall::Start),
        "p-status" => world.pod(PodCall::Status),
        "p-ping" => world.pod(PodCall::Ping),
        "p-stats" => world.pod(PodCall::Stats),
        "p-wait" => world.pod(PodCall::Wait),
        "p-stop" => world.pod(PodCall::Stop),
        "p-shutdown" => world.pod(PodCall::Shutdown),
        "p-connect" => world.called(Call::Connect { id: super::world::POD.into() }),
        "q-create" => world.called(Call::Pod { id: "q".into(), call: PodCall::Create }),
        "q-stop" => world.called(Call::Pod { id: "q".into(), call: PodCall::Stop }),
        "held" => world.of_pod(PodReport::Held { pid: 5, at: Time::default() }),
        "hold-failed" => {
            let why = Denied::new(Code::FailedPrecondition, "no such namespace");
            world.of_pod(PodReport::HoldFailed { why })
        }
        "p-ended" => world.of_pod(PodReport::Ended { ended: Ended::Signal(number() as u8) }),
        "let-gone" => world.of_pod(PodReport::LetGone { at: Time::default() }),
        _ => panic!("{word} is no word of the script"),
    }
}

#[test]
fn a_life_from_create_to_delete() {
    check(
        "create done done done done done state wait done state wait start released poststarted state exit:42 state wait delete drained undone shutdown",
        expect![[r#"
            create     Plan…
            done       Rootfs…
            done       Code…
            done       Cgroup…
            done       Guest…
            done       Ready…
            state      2=NotFound(task c not found)
            wait       3=NotFound(task c not found)
            done       Create(7) 1=pid(7)
            state      4=Created
            wait      
            start      release…
            released   Start poststart…
            poststarted 6=pid(7)
            state      7=Running
            exit:42    Exit:42 5=exit(42)
            state      8=Stopped 42
            wait       9=exit(42)
            delete     drain… deadline…
            drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
            undone     Delete 10=deleted(42)
            shutdown   11=ok leave
        "#]],
    );
}

#[test]
fn a_start_that_fails_leaves_the_task_as_it_was() {
    check(
        "up start state exec:a e-start:a delete pause release-failed start released",
        expect![[r#"
            start      release…
            state      3=Created
            exec:a     add(a) ExecAdded(a) 4=ok
            e-start:a  start(a)…
            delete     6=FailedPrecondition(cannot delete a running process)
            pause      7=FailedPrecondition(cannot pause a created process)
            release-failed 2=Unknown(exec format error)
            start      release…
            released   Start poststart…
        "#]],
    );
    check(
        "up wait start exit:1 state release-failed state kill:9",
        expect![[r#"
        wait      
        start      release…
        exit:1    
        state      4=Created
        release-failed 3=Unknown(exec format error) Exit:1 2=exit(1)
        state      5=Stopped 1
        kill:9     6=NotFound(process already finished)
    "#]],
    );
    check(
        "up start kill:15 kill:0 signal:15 released poststarted",
        expect![[r#"
        start      release…
        kill:15    signal:15 3=ok
        kill:0     4=ok
        signal:15 
        released   Start poststart… Exit:143
        poststarted 2=pid(7)
    "#]],
    );
}

#[test]
fn start_is_published_before_exit_even_while_its_hooks_run() {
    check(
        "up wait start exit:0 released poststarted",
        expect![[r#"
            wait      
            start      release…
            exit:0    
            released   Start poststart… Exit:0 2=exit(0)
            poststarted 3=pid(7)
        "#]],
    );
    check(
        "up start released poststart-failed signal:9",
        expect![[r#"
            start      release…
            released   Start poststart…
            poststart-failed signal:9 2=Unknown(hook failed)
            signal:9   Exit:137
        "#]],
    );
    check(
        "up start released exit:0 delete drained undone poststarted",
        expect![[r#"
            start      release…
            released   Start poststart…
            exit:0     Exit:0
            delete     drain… deadline…
            drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
            undone     2=pid(7) Delete 3=deleted(0)
            poststarted
        "#]],
    );
}

#[test]
fn a_failed_creation_is_undone_in_reverse_and_then_answered() {
    check(
        "create fail undone",
        expect![[r#"
        create     Plan…
        fail       undo[]
        undone     1=InvalidArgument(args[0] is not there)
    "#]],
    );
    check(
        "create done done fail shutdown undone shutdown",
        expect![[r#"
            create     Plan…
            done       Rootfs…
            done       Code…
            fail       undo[Rootfs, Plan]
            shutdown   2=ok
            undone     1=InvalidArgument(args[0] is not there) leave
            shutdown   3=ok leave
        "#]],
    );
    check(
        "create done done done done done fail exit:126 undone create",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        done       Code…
        done       Cgroup…
        done       Guest…
        done       Ready…
        fail       signal:9
        exit:126   undo[Guest, Cgroup, Code, Rootfs, Plan] poststop
        undone     1=InvalidArgument(args[0] is not there)
        create     Plan…
    "#]],
    );
    check(
        "create done done done done done exit:126 fail undone",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        done       Code…
        done       Cgroup…
        done       Guest…
        done       Ready…
        exit:126  
        fail       undo[Guest, Cgroup, Code, Rootfs, Plan] poststop
        undone     1=InvalidArgument(args[0] is not there)
    "#]],
    );
}

#[test]
fn a_guest_that_dies_while_it_is_set_up_fails_the_creation() {
    check(
        "create done done done done done signal:9 fail-mute undone",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        done       Code…
        done       Cgroup…
        done       Guest…
        done       Ready…
        signal:9  
        fail-mute  undo[Guest, Cgroup, Code, Rootfs, Plan] poststop
        undone     1=Unknown(the guest process of task c was killed by signal 9 while it was set up)
    "#]],
    );
    check(
        "create done done done done done oom-exit fail-mute undone",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        done       Code…
        done       Cgroup…
        done       Guest…
        done       Ready…
        oom-exit  
        fail-mute  undo[Guest, Cgroup, Code, Rootfs, Plan] poststop
        undone     1=Unknown(the guest process of task c was killed by the kernel for want of memory while it was set up)
    "#]],
    );
    check(
        "create done done done done done signal:9 done state",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        done       Code…
        done       Cgroup…
        done       Guest…
        done       Ready…
        signal:9  
        done       Create(7) 1=pid(7) Exit:137
        state      2=Stopped 137
    "#]],
    );
}

#[test]
fn a_creation_can_be_given_up() {
    check(
        "create done done kill:0 kill:28 kill:9 kill:15 delete fail undone",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        done       Code…
        kill:0     2=ok
        kill:28    3=ok
        kill:9     abort
        kill:15   
        delete    
        fail       undo[Rootfs, Plan]
        undone     1=FailedPrecondition(task c was killed by signal 9 while it was created) 4=ok 5=ok 6=NotFound(task c not found)
    "#]],
    );
    check(
        "create done done done done delete done exit:0 delete undone",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        done       Code…
        done       Cgroup…
        done       Guest…
        delete     abort
        done       signal:9
        exit:0     undo[Guest, Cgroup, Code, Rootfs, Plan]
        delete    
        undone     1=FailedPrecondition(task c was deleted while it was created) 2=NotFound(task c not found) 3=NotFound(task c not found)
    "#]],
    );
    check(
        "create kill:99",
        expect![[r#"
        create     Plan…
        kill:99    2=InvalidArgument(99 is no signal: the highest is 64)
    "#]],
    );
}

#[test]
fn an_id_is_taken_while_its_task_is_there() {
    check(
        "create create",
        expect![[r#"
        create     Plan…
        create     2=AlreadyExists(task c exists already)
    "#]],
    );
    check(
        "up create",
        expect![[r#"
        create     2=AlreadyExists(task c exists already)
    "#]],
    );
    check(
        "up kill:9 signal:9 delete create drained undone create",
        expect![[r#"
        kill:9     signal:9 2=ok
        signal:9   Exit:137
        delete     drain… deadline…
        create     4=AlreadyExists(task c exists already)
        drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
        undone     Delete 3=deleted(137)
        create     Plan…
    "#]],
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    check(
        "start state wait kill:9 delete pids stats close pause update exec:e e-start:e connect shutdown",
        expect![[r#"
            start      1=NotFound(task c not found)
            state      2=NotFound(task c not found)
            wait       3=NotFound(task c not found)
            kill:9     4=NotFound(task c not found)
            delete     5=NotFound(task c not found)
            pids       6=NotFound(task c not found)
            stats      7=NotFound(task c not found)
            close      8=NotFound(task c not found)
            pause      9=NotFound(task c not found)
            update     10=NotFound(task c not found)
            exec:e     11=NotFound(task c not found)
            e-start:e  12=NotFound(task c not found)
            connect    13=connected(0)
            shutdown   14=ok leave
        "#]],
    );
}

#[test]
fn kill_of_a_created_task_ends_the_parked_guest() {
    check(
        "up wait kill:15 signal:9 start state delete",
        expect![[r#"
        wait      
        kill:15    signal:9 3=ok
        signal:9   Exit:137 2=exit(137)
        start      4=FailedPrecondition(cannot start a stopped process)
        state      5=Stopped 137
        delete     drain… deadline…
    "#]],
    );
    check(
        "up kill:0 kill:28 kill:65 kill-all:9",
        expect![[r#"
        kill:0     2=ok
        kill:28    3=ok
        kill:65    4=InvalidArgument(65 is no signal: the highest is 64)
        kill-all:9 signal-all:9 5=ok
    "#]],
    );
}

#[test]
fn kill_of_an_ended_task_is_not_found() {
    check(
        "run kill:15 kill-all:9 kill:0 exit:0 kill:9 kill-all:9",
        expect![[r#"
        kill:15    signal:15 3=ok
        kill-all:9 signal-all:9 4=ok
        kill:0     5=ok
        exit:0     Exit:0
        kill:9     6=NotFound(process already finished)
        kill-all:9 7=NotFound(process already finished)
    "#]],
    );
}

#[test]
fn delete_waits_for_the_end() {
    check(
        "run delete exit:1 delete drained undone delete",
        expect![[r#"
        delete     3=FailedPrecondition(cannot delete a running process)
        exit:1     Exit:1
        delete     drain… deadline…
        drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
        undone     Delete 4=deleted(1)
        delete     5=NotFound(task c not found)
    "#]],
    );
    check(
        "run pause frozen delete",
        expect![[r#"
        pause      freeze…
        frozen     Paused 3=ok
        delete     4=FailedPrecondition(cannot delete a paused process)
    "#]],
    );
}

#[test]
fn delete_of_a_created_task_ends_it_first() {
    check(
        "up wait delete state signal:9 deadline drained undone",
        expect![[r#"
        wait      
        delete     signal:9
        state      4=Created
        signal:9   Exit:137 2=exit(137) drain… deadline…
        deadline   undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
        drained   
        undone     Delete 3=deleted(137)
    "#]],
    );
}

#[test]
fn a_second_delete_hears_that_it_is_gone_when_it_is() {
    check(
        "run exit:0 delete delete wait drained deadline undone",
        expect![[r#"
        exit:0     Exit:0
        delete     drain… deadline…
        delete    
        wait       5=exit(0)
        drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
        deadline  
        undone     Delete 3=deleted(0) 4=NotFound(task c not found)
    "#]],
    );
}

#[test]
fn oom_is_published_once_and_before_the_exit() {
    check(
        "run oom oom oom-exit oom",
        expect![[r#"
        oom        OOM
        oom       
        oom-exit   Exit:137
        oom       
    "#]],
    );
    check(
        "run oom-exit",
        expect![[r#"
        oom-exit   OOM Exit:137
    "#]],
    );
}

#[test]
fn pause_and_resume() {
    check(
        "run pause frozen state pause resume thawed state resume",
        expect![[r#"
        pause      freeze…
        frozen     Paused 3=ok
        state      4=Paused
        pause      5=FailedPrecondition(cannot pause a paused process)
        resume     thaw…
        thawed     Resumed 6=ok
        state      7=Running
        resume     8=FailedPrecondition(cannot resume a running process)
    "#]],
    );
    check(
        "run pause frozen kill:15 kill:9 signal:9",
        expect![[r#"
        pause      freeze…
        frozen     Paused 3=ok
        kill:15    signal:15 4=ok
        kill:9     signal:9 wake 5=ok
        signal:9   Exit:137
    "#]],
    );
    check(
        "run pause exit:0 frozen pause resume",
        expect![[r#"
            pause      freeze…
            exit:0     Exit:0
            frozen     wake 3=NotFound(process already finished)
            pause      4=FailedPrecondition(cannot pause a stopped process)
            resume     5=FailedPrecondition(cannot resume a stopped process)
        "#]],
    );
    check(
        "run pause exit:0 delete drained undone frozen",
        expect![[r#"
        pause      freeze…
        exit:0     Exit:0
        delete     drain… deadline…
        drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
        undone     Delete 4=deleted(0)
        frozen     3=NotFound(task c not found)
    "#]],
    );
    check(
        "up pause resume",
        expect![[r#"
        pause      2=FailedPrecondition(cannot pause a created process)
        resume     3=FailedPrecondition(cannot resume a created process)
    "#]],
    );
}

#[test]
fn a_task_that_ends_unstarted_never_ran() {
    check(
        "up exec:a e-start:a e-started:a signal:15 state e-exit:a state",
        expect![[r#"
        exec:a     add(a) ExecAdded(a) 2=ok
        e-start:a  start(a)…
        e-started:a ExecStarted(a) 3=pid(8)
        signal:15  signal-all:9
        state      4=Created
        e-exit:a   Exit(a):3 Exit:143
        state      5=Stopped 143
    "#]],
    );
}

/// A process that is born into a frozen cgroup gets no further: whoever had started it waited until the task was
/// resumed (found by the storm, `e2e/tests/storm`).
#[test]
fn a_pause_waits_for_execs_that_are_being_started() {
    check(
        "run exec:a exec:b e-start:a pause e-start:b e-started:a e-start:b frozen state",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            exec:b     add(b) ExecAdded(b) 4=ok
            e-start:a  start(a)…
            pause     
            e-start:b  7=FailedPrecondition(cannot exec in a paused process)
            e-started:a ExecStarted(a) 5=pid(8) freeze…
            e-start:b  8=FailedPrecondition(cannot exec in a paused process)
            frozen     Paused 6=ok
            state      9=Paused
        "#]],
    );
    check(
        "run exec:a e-start:a pause e-failed:a frozen resume thawed e-start:a",
        expect![[r#"
        exec:a     add(a) ExecAdded(a) 3=ok
        e-start:a  start(a)…
        pause     
        e-failed:a 4=NotFound(no such program) freeze…
        frozen     Paused 5=ok
        resume     thaw…
        thawed     Resumed 6=ok
        e-start:a  start(a)…
    "#]],
    );
    check(
        "run exec:a e-start:a pause pause exit:0 e-started:a e-exit:a",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            e-start:a  start(a)…
            pause     
            pause     
            exit:0     5=FailedPrecondition(cannot pause a stopped process) 6=FailedPrecondition(cannot pause a stopped process) signal-all:9 abort(a)
            e-started:a ExecStarted(a) 4=pid(8) signal(a):9
            e-exit:a   Exit(a):3 Exit:0
        "#]],
    );
}

#[test]
fn a_task_answers_about_itself_from_create_to_delete() {
    check(
        "up pids stats update close resize checkpoint",
        expect![[r#"
            pids       2=pids
            stats      3=stats
            update     4=update
            close      close-stdin 5=ok
            resize     6=resize
            checkpoint 7=Unimplemented(checkpoint is not supported: CRIU cannot bring back a Wasm guest)
        "#]],
    );
    check(
        "run exit:0 pids stats update close resize exec:e",
        expect![[r#"
        exit:0     Exit:0
        pids       3=pids
        stats      4=stats
        update     5=FailedPrecondition(cannot update a stopped process)
        close      close-stdin 6=ok
        resize     7=resize
        exec:e     8=FailedPrecondition(cannot exec in a stopped process)
    "#]],
    );
}

/// containerd asks once when a client gives up a creation, while that is still being undone.
#[test]
fn a_shim_leaves_when_the_last_given_up_creation_is_undone() {
    check(
        "create done delete shutdown fail-mute undone",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        delete     abort
        shutdown   3=ok
        fail-mute  undo[Plan]
        undone     1=FailedPrecondition(task c was deleted while it was created) 2=NotFound(task c not found) leave
    "#]],
    );
    check(
        "create done delete shutdown connect fail-mute undone",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        delete     abort
        shutdown   3=ok
        connect    4=connected(0)
        fail-mute  undo[Plan]
        undone     1=FailedPrecondition(task c was deleted while it was created) 2=NotFound(task c not found) leave
    "#]],
    );
    check(
        "create done shutdown fail-mute undone",
        expect![[r#"
        create     Plan…
        done       Rootfs…
        shutdown   2=ok
        fail-mute  undo[Plan]
        undone     1=Unknown(the guest process of task c ended while it was set up)
    "#]],
    );
}

/// The sandbox stands before init runs, and its execs end with it.
#[test]
fn an_exec_runs_in_a_created_task() {
    check(
        "up exec:a e-start:a e-started:a e-state:a state start released e-exit:a",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 2=ok
            e-start:a  start(a)…
            e-started:a ExecStarted(a) 3=pid(8)
            e-state:a  4=Running
            state      5=Created
            start      release…
            released   Start poststart…
            e-exit:a   Exit(a):3
        "#]],
    );
    check(
        "up exec:a e-start:a e-started:a signal:9 e-exit:a state",
        expect![[r#"
        exec:a     add(a) ExecAdded(a) 2=ok
        e-start:a  start(a)…
        e-started:a ExecStarted(a) 3=pid(8)
        signal:9   signal-all:9
        e-exit:a   Exit(a):3 Exit:137
        state      4=Stopped 137
    "#]],
    );
    check(
        "up exec:a e-start:a e-started:a delete signal:9 state e-exit:a drained undone",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 2=ok
            e-start:a  start(a)…
            e-started:a ExecStarted(a) 3=pid(8)
            delete     signal:9
            signal:9   signal-all:9
            state      5=Created
            e-exit:a   Exit(a):3 Exit:137 drain… deadline…
            drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
            undone     forget(a) Delete 4=deleted(137)
        "#]],
    );
    check(
        "up exec:a e-start:a delete signal:9 e-started:a e-exit:a drained undone",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 2=ok
            e-start:a  start(a)…
            delete     signal:9
            signal:9   signal-all:9 abort(a)
            e-started:a ExecStarted(a) 3=pid(8) signal(a):9
            e-exit:a   Exit(a):3 Exit:137 drain… deadline…
            drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
            undone     forget(a) Delete 4=deleted(137)
        "#]],
    );
    check(
        "up exec:a e-start:a delete signal:9 e-failed:a drained undone",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 2=ok
            e-start:a  start(a)…
            delete     signal:9
            signal:9   signal-all:9 abort(a)
            e-failed:a 3=NotFound(no such program) Exit:137 drain… deadline…
            drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
            undone     forget(a) Delete 4=deleted(137)
        "#]],
    );
}

/// containerd's TestIssue10589: runc is slow with the first exec, and init is killed meanwhile.
#[test]
fn an_exec_can_be_added_until_the_end_of_init_is_told() {
    check(
        "run exec:a e-start:a exit:0 state exec:b e-start:b e-failed:a e-state:a e-state:b state exec:d",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            e-start:a  start(a)…
            exit:0     signal-all:9 abort(a)
            state      5=Running
            exec:b     add(b) ExecAdded(b) 6=ok
            e-start:b  7=FailedPrecondition(task c is not running)
            e-failed:a 4=NotFound(no such program) Exit:0
            e-state:a  8=Created
            e-state:b  9=Created
            state      10=Stopped 0
            exec:d     11=FailedPrecondition(cannot exec in a stopped process)
        "#]],
    );
}

#[test]
fn the_exit_of_an_exec_is_published_before_that_of_init() {
    check(
        "run exec:a exec:a e-start:a e-started:a e-wait:a wait exit:0 state kill:9 delete e-exit:a e-wait:a e-delete:a",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            exec:a     4=AlreadyExists(exec a of task c exists already)
            e-start:a  start(a)…
            e-started:a ExecStarted(a) 5=pid(8)
            e-wait:a  
            wait      
            exit:0     signal-all:9
            state      8=Running
            kill:9     9=NotFound(process already finished)
            delete     10=FailedPrecondition(cannot delete a running process)
            e-exit:a   Exit(a):3 6=exit(3) Exit:0 7=exit(0)
            e-wait:a   11=exit(3)
            e-delete:a forget(a) 12=deleted(3)
        "#]],
    );
    check(
        "run exec:a e-start:a exit:0 e-started:a e-exit:a",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            e-start:a  start(a)…
            exit:0     signal-all:9 abort(a)
            e-started:a ExecStarted(a) 4=pid(8) signal(a):9
            e-exit:a   Exit(a):3 Exit:0
        "#]],
    );
    check(
        "run exec:a e-start:a exit:0 e-failed:a",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            e-start:a  start(a)…
            exit:0     signal-all:9 abort(a)
            e-failed:a 4=NotFound(no such program) Exit:0
        "#]],
    );
}

#[test]
fn an_exec_has_a_life_of_its_own() {
    check(
        "run exec:a e-state:a e-kill:a e-delete:a e-delete:a",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            e-state:a  4=Created
            e-kill:a   5=FailedPrecondition(process not created)
            e-delete:a forget(a) 6=deleted
            e-delete:a 7=NotFound(exec a of task c not found)
        "#]],
    );
    check(
        "run exec:a e-start:a e-start:a e-started:a e-state:a e-delete:a e-kill:a e-exit:a e-start:a e-kill:a e-state:a",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            e-start:a  start(a)…
            e-start:a  5=FailedPrecondition(cannot start a running process)
            e-started:a ExecStarted(a) 4=pid(8)
            e-state:a  6=Running
            e-delete:a 7=FailedPrecondition(cannot delete a running process)
            e-kill:a   signal(a):15 8=ok
            e-exit:a   Exit(a):3
            e-start:a  9=FailedPrecondition(cannot start a stopped process)
            e-kill:a   10=NotFound(process already finished)
            e-state:a  11=Stopped 3
        "#]],
    );
    check(
        "run exec:a e-wait:a e-start:a e-failed:a e-state:a e-wait:a e-delete:a",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            e-wait:a  
            e-start:a  start(a)…
            e-failed:a 5=NotFound(no such program) 4=NotFound(no such program)
            e-state:a  6=Created
            e-wait:a   7=NotFound(no such program)
            e-delete:a forget(a) 8=deleted
        "#]],
    );
    check(
        "run exec:a e-wait:a exit:0 delete drained undone",
        expect![[r#"
            exec:a     add(a) ExecAdded(a) 3=ok
            e-wait:a  
            exit:0     Exit:0
            delete     drain… deadline…
            drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
            undone     4=NotFound(exec a of task c not found) forget(a) Delete 5=deleted(0)
        "#]],
    );
    check(
        "run pause frozen exec:a",
        expect![[r#"
        pause      freeze…
        frozen     Paused 3=ok
        exec:a     4=FailedPrecondition(cannot exec in a paused process)
    "#]],
    );
}
