//! A storm on one containerd: what `wherry_e2e::storm` plans is done, every answer is held against its model,
//! and after each fifty rounds everything is deleted and nothing may be left.
//!
//! | variable | default |
//! |---|---|
//! | `WHERRY_SEED` | `4`; the seed is printed, and repeats the storm as far as the machine's timing does |
//! | `WHERRY_ROUNDS` | `100` |
//! | `WHERRY_TELL` | set: every call is printed with its answer |

mod aftermath;
mod field;
mod programs;
mod tally;
mod victims;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use wherry_e2e::storm::plan::Plan;
use wherry_e2e::suite::{self, Case, For, World};

use crate::field::Field;

/// Rounds between two leak checks.
const SPELL: u64 = 50;

const CASES: &[Case] = &[("a_storm_leaves_nothing_and_wedges_nobody", For::Any, storm)];

fn main() -> ExitCode {
    suite::main_in_order("storm", CASES)
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is no number")),
        Err(_) => Ok(default),
    }
}

fn storm(world: &World) -> Result<()> {
    let (seed, rounds) = (number("WHERRY_SEED", 4)?, number("WHERRY_ROUNDS", 100)?);
    println!("WHERRY_SEED={seed} WHERRY_ROUNDS={rounds}");
    let begun = Instant::now();
    let plan = Plan::new(seed);
    let mut field = Field::new(world)?;
    let outcome = rage(&mut field, plan, seed, rounds);
    if outcome.is_err() {
        field.give_up();
    }
    println!("{}\n  {rounds} rounds in {:.0?}", field.tally, begun.elapsed());
    outcome
}

fn rage(field: &mut Field, mut plan: Plan, seed: u64, rounds: u64) -> Result<()> {
    for round in 1..=rounds {
        let told = |field: &Field| {
            format!(
                "round {round} of WHERRY_SEED={seed} WHERRY_ROUNDS={rounds}, after\n{}now\n{}",
                field.tally.history(),
                field.states()
            )
        };
        field.tally.note(format!("round {round}"));
        for one in plan.round() {
            field.play(&one).with_context(|| told(field))?;
        }
        if round % SPELL == 0 || round == rounds {
            field.clear().with_context(|| told(field))?;
            plan.clear();
        }
    }
    Ok(())
}
