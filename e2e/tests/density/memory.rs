//! What idle pods hold of memory: not much, and not more with their number or with time.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::service::{Held, Service};

const SOME: u32 = 50;
const ALL: u32 = 250;
const WHILE: Duration = Duration::from_secs(120);

/// Megabytes that a pod may hold.
const LIMIT: f64 = 3.0;
/// By how much it may seem to grow: the share of pages that others hold, too, is not the same from one to the next.
const SLACK: f64 = 1.02;

pub(crate) fn measure(services: &[Service<'_>]) -> Result<()> {
    println!("\nmemory of one pod, MB (PSS of its shim, its sandbox and its container)\n");
    println!("{:10}{:>28}{:>12}{:>12}{:>12}", "", "", "PSS", "anonymous", "processes");
    let mut own = Vec::new();
    for (at, service) in services.iter().enumerate() {
        let few = hold(service, SOME, format!("{SOME} pods"))?;
        // The control is there to be compared with; the promise is ours.
        if at == 0 {
            own.push(few);
            own.push(hold(service, ALL, format!("{ALL} pods"))?);
            // Not for anything to happen: it is time that is being measured.
            thread::sleep(WHILE);
            own.push(tell(service, ALL, format!("{ALL}, {} s later", WHILE.as_secs())));
        }
        service.end()?;
    }
    promised(&own)
}

fn hold(service: &Service<'_>, count: u32, when: String) -> Result<Held> {
    service.apply(u64::from(count))?;
    service.answers(usize::try_from(count)?)?;
    Ok(tell(service, count, when))
}

fn tell(service: &Service<'_>, count: u32, when: String) -> Held {
    let held = service.memory(count);
    let Held { processes, all, anonymous } = held;
    println!("{:10}{when:>28}{all:>12.2}{anonymous:>12.2}{processes:>12.1}", service.name);
    held
}

fn promised(own: &[Held]) -> Result<()> {
    for held in own {
        ensure!(held.all <= LIMIT, "a pod holds {:.2} MB, more than {LIMIT}", held.all);
    }
    for pair in own.windows(2) {
        let sizes = [(pair[0].all, pair[1].all), (pair[0].anonymous, pair[1].anonymous)];
        for (before, after) in sizes {
            ensure!(after <= before * SLACK, "a pod held {before:.3} MB and holds {after:.3}");
        }
    }
    Ok(())
}
