//! What is to be done: an order of the operator's, or a person's words.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use wherry_report::{
    Command, Handler, ORDER_VARIABLE, Order, Restart, RestartPolicy, SMOKE_VARIABLE, WhenInUse,
};

pub(crate) const HELP: &str = "\
wherry-node: puts Wherry on this node, proves it, and takes it off again

  wherry-node                       does what the order in WHERRY_ORDER says
  wherry-node plan                  tells what apply would change
  wherry-node apply                 makes the node as wanted, and proves it by a container
  wherry-node verify                looks whether the node is as wanted, and proves it by a container
  wherry-node remove [--force]      leaves the node as it was before the first apply
  wherry-node doctor                tells what it finds, and changes nothing
  wherry-node guard [--after S]     undoes what was begun and not proved, now or in S seconds (--of ID: of that journal)

  --host-root DIR       where the node's file system is (/)
  --programs DIR        the programs to install (/programs)
  --smoke IMAGE         an image that the node has, with /smoke.wat (WHERRY_SMOKE_IMAGE)
  --handler NAME        a handler, several times for several (wherry)
  --config FILE         the main file of the containerd that is meant, where there are several
  --containerd FILE     its program
  --unit NAME           its unit of systemd
  --restart-with CMD    how to restart it where there is no systemd
  --no-restart          somebody else restarts it
  --guard S             how long the old configuration stays ready to be put back (180)
  --revision NAME       what the report calls it
  --report FILE         where the report goes (stdout)
";

/// What to do, and where.
#[derive(Clone, Debug)]
pub(crate) struct What {
    pub(crate) work: Work,
    pub(crate) order: Order,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Ordered,
    Doctor,
    Guard { of: Option<String>, after: Duration },
    Help,
}

#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) host_root: PathBuf,
    pub(crate) programs: PathBuf,
    pub(crate) smoke: Option<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) containerd: Option<PathBuf>,
    pub(crate) unit: Option<String>,
    pub(crate) restart_with: Option<Vec<String>>,
    pub(crate) report: Option<PathBuf>,
}

pub(crate) fn read() -> Result<What> {
    let ordered = env::var(ORDER_VARIABLE).ok();
    let mut order = match &ordered {
        Some(text) => Order::parse(text)?,
        None => by_hand(),
    };
    let mut what = Work::Ordered;
    let mut place = Place {
        host_root: "/".into(),
        programs: "/programs".into(),
        smoke: env::var(SMOKE_VARIABLE).ok(),
        config: None,
        containerd: None,
        unit: None,
        restart_with: None,
        report: None,
    };
    let mut parser = lexopt::Parser::from_env();
    let mut named = Vec::new();
    let mut is_told = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) => {
                is_told = true;
                match word.string()?.as_str() {
                    "plan" => order.command = Command::Plan,
                    "apply" => order.command = Command::Apply,
                    "verify" => order.command = Command::Verify,
                    "remove" => order.command = Command::Remove,
                    "doctor" => what = Work::Doctor,
                    "guard" => what = Work::Guard { of: None, after: Duration::ZERO },
                    other => bail!("{other} is no work of this program\n\n{HELP}"),
                }
            }
            Long("host-root") => place.host_root = parser.value()?.into(),
            Long("programs") => place.programs = parser.value()?.into(),
            Long("smoke") => place.smoke = Some(parser.value()?.string()?),
            Long("handler") => named.push(parser.value()?.string()?),
            Long("config") => place.config = Some(parser.value()?.into()),
            Long("containerd") => place.containerd = Some(parser.value()?.into()),
            Long("unit") => place.unit = Some(parser.value()?.string()?),
            Long("restart-with") => {
                let words = parser.value()?.string()?;
                place.restart_with = Some(words.split_whitespace().map(str::to_owned).collect());
            }
            Long("no-restart") => order.restart.policy = RestartPolicy::Never,
            Long("guard") => order.restart.guard_timeout_s = parser.value()?.parse()?,
            Long("revision") => order.revision = parser.value()?.string()?,
            Long("force") => order.when_in_use = WhenInUse::Force,
            Long("report") => place.report = Some(parser.value()?.into()),
            Long("after") => {
                let seconds = Duration::from_secs(parser.value()?.parse()?);
                let Work::Guard { after, .. } = &mut what else { bail!("--after is guard's") };
                *after = seconds;
            }
            Long("of") => {
                let id = parser.value()?.string()?;
                let Work::Guard { of, .. } = &mut what else { bail!("--of is guard's") };
                *of = Some(id);
            }
            Long("help") | Short('h') => what = Work::Help,
            other => return Err(other.unexpected()).context(HELP),
        }
    }
    if !named.is_empty() {
        let handler = |name| Handler { name, options: String::new() };
        order.handlers = named.into_iter().map(handler).collect();
    }
    if !is_told && ordered.is_none() {
        what = Work::Help;
    }
    Ok(What { work: what, order, place })
}

/// What a person means who says no more than one word.
fn by_hand() -> Order {
    Order {
        command: Command::Verify,
        transaction: "by-hand".into(),
        node: String::new(),
        machine_id: None,
        shim: String::new(),
        revision: String::new(),
        handlers: vec![Handler { name: "wherry".into(), options: String::new() }],
        restart: Restart::default(),
        when_in_use: WhenInUse::Block,
    }
}
