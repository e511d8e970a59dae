//! The model itself, told stories.

use super::*;

const KILL: Verb = Verb::Kill { signal: 9, all: false };

fn of(verb: Verb, answer: Answer) -> Heard {
    Heard { exec: None, verb, answer }
}

fn done(verb: Verb) -> Heard {
    of(verb, Answer::Done)
}

fn is(life: Life, code: u32) -> Heard {
    of(Verb::State, Answer::State(Some(life), code))
}

/// Each item is one move.
fn told(program: Program, moves: &[&[Heard]]) -> Result<Tale, String> {
    let mut tale = Tale::default();
    tale.hear(&[done(Verb::Create(program))], Trouble::None)?;
    for one in moves {
        tale.hear(one, Trouble::None)?;
    }
    Ok(tale)
}

#[test]
fn a_life_from_its_making_to_its_end() {
    let tale = told(
        Program::Sleep,
        &[
            &[is(Life::Created, 0)],
            &[done(Verb::Start)],
            &[is(Life::Running, 0)],
            &[done(Verb::Pause)],
            &[is(Life::Paused, 0)],
            &[done(KILL)],
            &[is(Life::Stopped, 137)],
            &[of(Verb::Delete, Answer::Exit(137))],
        ],
    );
    assert!(tale.unwrap().is_gone());
}

#[test]
fn an_end_needs_a_cause() {
    assert!(told(Program::Sleep, &[&[done(Verb::Start)], &[is(Life::Stopped, 0)]]).is_err());
    assert!(told(Program::Exit(3), &[&[done(Verb::Start)], &[is(Life::Stopped, 3)]]).is_ok());
    assert!(told(Program::Exit(3), &[&[done(Verb::Start)], &[is(Life::Stopped, 4)]]).is_err());
    assert!(told(Program::Exit(3), &[&[is(Life::Stopped, 3)]]).is_err());
}

#[test]
fn a_code_does_not_change() {
    let ended =
        [done(Verb::Start), done(KILL), of(Verb::Kill { signal: 15, all: false }, Answer::Done)];
    let moves: [&[Heard]; 3] =
        [&ended, &[is(Life::Stopped, 137)], &[of(Verb::Delete, Answer::Exit(143))]];
    assert!(told(Program::Sleep, &moves).is_err());
}

#[test]
fn calls_at_once_are_taken_in_any_order() {
    let both = [of(Verb::Start, Answer::Refused), done(Verb::Delete)];
    assert!(told(Program::Sleep, &[&both]).unwrap().is_gone());
    // In no order is a task deleted that another call has started.
    let both = [done(Verb::Start), done(Verb::Delete)];
    assert!(told(Program::Sleep, &[&both]).is_err());
    let all = [done(Verb::Delete), of(Verb::Delete, Answer::NotFound), done(Verb::Pids)];
    assert!(told(Program::Sleep, &[&all]).is_ok());
}

#[test]
fn what_must_be_refused_is_refused() {
    for verb in [Verb::Delete, Verb::Start] {
        assert!(told(Program::Sleep, &[&[done(Verb::Start)], &[done(verb)]]).is_err());
    }
    assert!(told(Program::Sleep, &[&[done(Verb::Pause)]]).is_err());
}

#[test]
fn silence_is_never_right() {
    for trouble in [Trouble::None, Trouble::Shim, Trouble::Containerd] {
        assert!(Tale::default().hear(&[of(KILL, Answer::Silence)], trouble).is_err());
    }
}

#[test]
fn what_is_asked_of_a_dying_shim_may_have_been_done() {
    let mut tale = told(Program::Sleep, &[&[done(Verb::Start)]]).unwrap();
    tale.hear(&[of(Verb::Pause, Answer::Refused)], Trouble::Shim).unwrap();
    tale.settle(false);
    assert!(tale.is_gone());
}

#[test]
fn a_restart_of_containerd_ends_no_program() {
    let mut tale = told(Program::Sleep, &[&[done(Verb::Start)]]).unwrap();
    tale.hear(&[of(Verb::State, Answer::Refused)], Trouble::Containerd).unwrap();
    tale.reloaded();
    assert!(tale.hear(&[of(Verb::State, Answer::NotFound)], Trouble::None).is_err());
    assert!(tale.hear(&[is(Life::Running, 0)], Trouble::None).is_ok());
}

#[test]
fn an_exec_ends_before_its_task_is_told_to() {
    let exec = |verb, answer| Heard { exec: Some(0), verb, answer };
    let tale = told(
        Program::Sleep,
        &[
            &[done(Verb::Start)],
            &[exec(Verb::Add(Inner::Sleep), Answer::Done)],
            &[exec(Verb::Start, Answer::Done)],
            &[done(KILL)],
            &[is(Life::Stopped, 137)],
            &[exec(Verb::State, Answer::State(Some(Life::Stopped), 137))],
            &[exec(Verb::Delete, Answer::Exit(137))],
            &[exec(Verb::State, Answer::NotFound)],
        ],
    );
    assert!(tale.is_ok(), "{tale:?}");
    let early = told(
        Program::Sleep,
        &[
            &[done(Verb::Start)],
            &[exec(Verb::Add(Inner::Sleep), Answer::Done)],
            &[exec(Verb::Start, Answer::Done)],
            &[done(KILL)],
            &[is(Life::Stopped, 137)],
            &[exec(Verb::State, Answer::State(Some(Life::Running), 0))],
        ],
    );
    assert!(early.is_err());
}
