//! From `kubectl apply` to Ready, of one pod and of a hundred.

use std::time::Duration;

use anyhow::Result;
use wherry_e2e::measure::quantile;

use crate::service::{Service, Took};

/// How many pods, how often.
const STEPS: [(u64, usize); 2] = [(1, 5), (100, 3)];

pub(crate) fn measure(services: &[Service<'_>]) -> Result<()> {
    println!(
        "\nfrom kubectl apply to Ready: median seconds, and processor seconds of the node (of runc)\n"
    );
    println!("{:16}{:10}{:>20}{:>20}", "", "", "time", "processor");
    for (count, rounds) in STEPS {
        let mut took: Vec<Vec<Took>> = vec![Vec::new(); services.len()];
        // One round of each after another, so that all have the same machine.
        for _ in 0..rounds {
            for (service, took) in services.iter().zip(&mut took) {
                took.push(service.apply(count)?);
                service.answers(usize::try_from(count)?)?;
                service.end()?;
            }
        }
        let median = |of: fn(&Took) -> Duration| -> Vec<f64> {
            let all = took.iter().map(|took| took.iter().map(of).collect::<Vec<_>>());
            all.map(|times| quantile(&times, 0.5).as_secs_f64()).collect()
        };
        let (times, used) = (median(|took| took.time), median(|took| took.processor));
        // The control is the last.
        let beside = |own: &[f64], at: usize| {
            let control = own[own.len() - 1];
            format!("{:.2} ({:.2})", own[at], own[at] / control)
        };
        for (at, service) in services.iter().enumerate() {
            let (time, used) = (beside(&times, at), beside(&used, at));
            let pods = format!("{count} at once, of {rounds}");
            println!("{pods:16}{:10}{time:>20}{used:>20}", service.name);
        }
    }
    Ok(())
}
