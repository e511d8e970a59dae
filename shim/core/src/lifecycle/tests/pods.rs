//! The sandbox of a pod, in every order that matters.

use expect_test::expect;

use super::golden::check;

#[test]
fn a_sandbox_from_create_to_shutdown() {
    check(
        "p-create held p-status p-connect p-start p-status p-ping p-wait p-stats p-stop let-gone p-status p-stop p-wait p-shutdown p-status",
        expect![[r#"
            p-create   hold…
            held       1=ok
            p-status   2=not-ready(5)
            p-connect  3=connected(5)
            p-start    4=ready(5)
            p-status   5=ready(5)
            p-ping     6=ok
            p-wait    
            p-stats    8=stats
            p-stop     let-go…
            let-gone   7=exit(0) 9=ok
            p-status   10=not-ready(0) 0
            p-stop     11=ok
            p-wait     12=exit(0)
            p-shutdown 13=ok leave
            p-status   14=NotFound(sandbox p not found)
        "#]],
    );
}

#[test]
fn containers_come_and_go_and_only_the_sandbox_ends_the_shim() {
    check(
        "p-create held p-start up shutdown start released poststarted exit:0 delete drained undone shutdown p-stop let-gone p-shutdown",
        expect![[r#"
            p-create   hold…
            held       1=ok
            p-start    2=ready(5)
            shutdown   4=ok
            start      release…
            released   Start poststart…
            poststarted 5=pid(7)
            exit:0     Exit:0
            delete     drain… deadline…
            drained    undo[Ready, Guest, Cgroup, Code, Rootfs, Plan] poststop
            undone     Delete 6=deleted(0)
            shutdown   7=ok
            p-stop     let-go…
            let-gone   8=ok
            p-shutdown 9=ok leave
        "#]],
    );
}

#[test]
fn a_shutdown_lets_go_by_itself() {
    check(
        "p-create held p-start p-wait p-shutdown p-stop let-gone",
        expect![[r#"
        p-create   hold…
        held       1=ok
        p-start    2=ready(5)
        p-wait    
        p-shutdown let-go…
        p-stop    
        let-gone   3=exit(0) 4=ok 5=ok leave
    "#]],
    );
    check(
        "p-create p-shutdown held let-gone",
        expect![[r#"
        p-create   hold…
        p-shutdown
        held       1=FailedPrecondition(cannot make sandbox p: it was shut down meanwhile) let-go…
        let-gone   2=ok leave
    "#]],
    );
    check(
        "p-create held p-stop p-shutdown let-gone",
        expect![[r#"
        p-create   hold…
        held       1=ok
        p-stop     let-go…
        p-shutdown
        let-gone   2=ok 3=ok leave
    "#]],
    );
}

#[test]
fn a_sandbox_that_cannot_be_made_leaves_nothing_but_the_shim_which_goes() {
    check(
        "p-create p-wait hold-failed p-status p-shutdown",
        expect![[r#"
        p-create   hold…
        p-wait    
        hold-failed 1=FailedPrecondition(no such namespace) 2=NotFound(sandbox p not found)
        p-status   3=NotFound(sandbox p not found)
        p-shutdown 4=ok leave
    "#]],
    );
    check(
        "p-create p-shutdown hold-failed",
        expect![[r#"
        p-create   hold…
        p-shutdown
        hold-failed 1=FailedPrecondition(no such namespace) 2=ok leave
    "#]],
    );
    // A container of the pod, which nobody should have made: its shim stays.
    check(
        "create p-shutdown",
        expect![[r#"
        create     Plan…
        p-shutdown 2=NotFound(sandbox p not found)
    "#]],
    );
}

#[test]
fn what_holds_it_may_end_by_itself() {
    check(
        "p-create held p-start p-wait p-ended:9 let-gone p-status p-ended:9 p-shutdown",
        expect![[r#"
            p-create   hold…
            held       1=ok
            p-start    2=ready(5)
            p-wait    
            p-ended:9  let-go…
            let-gone   3=exit(137)
            p-status   4=not-ready(0) 137
            p-ended:9 
            p-shutdown 5=ok leave
        "#]],
    );
}

#[test]
fn what_cannot_be_is_denied() {
    check(
        "p-status p-stop p-create p-start p-stop q-create q-stop held p-create p-start p-start p-stop p-start let-gone p-start",
        expect![[r#"
            p-status   1=NotFound(sandbox p not found)
            p-stop     2=NotFound(sandbox p not found)
            p-create   hold…
            p-start    4=FailedPrecondition(cannot use sandbox p: it is still being made)
            p-stop     5=FailedPrecondition(cannot use sandbox p: it is still being made)
            q-create   6=AlreadyExists(this shim has the sandbox p already)
            q-stop     7=NotFound(sandbox q not found)
            held       3=ok
            p-create   8=AlreadyExists(this shim has the sandbox p already)
            p-start    9=ready(5)
            p-start    10=FailedPrecondition(cannot start sandbox p: it is running already)
            p-stop     let-go…
            p-start    12=FailedPrecondition(cannot start sandbox p: it has been stopped)
            let-gone   11=ok
            p-start    13=FailedPrecondition(cannot start sandbox p: it has been stopped)
        "#]],
    );
}
