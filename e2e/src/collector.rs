//! The collector of OpenTelemetry (`rig/collector`), and the spans that it was told.

use std::fs::{self, File};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::until;
use crate::place::Place;
use crate::rig;

pub const ENDPOINT: &str = "http://127.0.0.1:4317";

const SOON: Duration = Duration::from_secs(60);
const CONFIG: [&str; 7] = [
    "receivers::otlp::protocols::grpc::endpoint: 127.0.0.1:4317",
    "exporters::debug::verbosity: detailed",
    // All of them, not the first ones of each second.
    "exporters::debug::sampling_initial: 1000000",
    "service::pipelines::traces::receivers: [otlp]",
    "service::pipelines::traces::exporters: [debug]",
    "service::telemetry::metrics::level: none",
    "service::telemetry::logs::encoding: console",
];

/// Begins to listen at [`ENDPOINT`] in the network of a place.
pub fn start(place: &Place) -> Result<Child> {
    let program = rig::need(&rig::root().join("bin/collector"), "e2e/rig/fetch.sh operator")?;
    let log = File::create(place.path("collector.log"))?;
    let mut command = place.daemon(program)?;
    command.args(CONFIG.map(|line| format!("--config=yaml:{line}")));
    let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("the collector")?;
    let log = || fs::read_to_string(place.path("collector.log")).unwrap_or_default();
    ensure!(until(SOON, || log().contains("Everything is ready")), "the collector: {}", log());
    Ok(child)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty of a root.
    pub parent: String,
    /// `Unset`, `Ok` or `Error`.
    pub status: String,
    /// Keys and values, as the collector writes them.
    pub attributes: Vec<(String, String)>,
}

pub fn spans(place: &Place) -> Result<Vec<Span>> {
    Ok(read(&fs::read_to_string(place.path("collector.log"))?))
}

fn read(log: &str) -> Vec<Span> {
    let mut all: Vec<Span> = Vec::new();
    for line in log.lines() {
        if line.starts_with("Span #") {
            all.push(Span::default());
            continue;
        }
        let Some(span) = all.last_mut() else { continue };
        if let Some((key, value)) =
            line.trim().strip_prefix("-> ").and_then(|it| it.split_once(": "))
        {
            let value = value.split_once('(').and_then(|(_, it)| it.strip_suffix(')'));
            span.attributes.push((key.into(), value.unwrap_or_default().into()));
        } else if let Some((key, value)) = line.split_once(':') {
            let field = match key.trim() {
                "Name" => &mut span.name,
                "Trace ID" => &mut span.trace,
                "ID" => &mut span.id,
                "Parent ID" => &mut span.parent,
                "Status code" => &mut span.status,
                _ => continue,
            };
            *field = value.trim().into();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_collector_tells_is_read() {
        let log = "\
2026-11-23T18:00:00.000Z\tinfo\tResourceSpans #0
Resource attributes:
     -> service.name: Str(wherry-operator)
ScopeSpans #0
Span #0
    Trace ID       : 0102
    Parent ID      : 03
    ID             : 04
    Name           : Install a-0
    Kind           : Internal
    Status code    : Error
    Status message : it: failed
Attributes:
     -> wherry.attempt: Int(1)
     -> wherry.wave: Str()
\t{\"otelcol.component.id\": \"debug\"}
";
        let expected = Span {
            name: "Install a-0".into(),
            trace: "0102".into(),
            id: "04".into(),
            parent: "03".into(),
            status: "Error".into(),
            attributes: vec![
                ("wherry.attempt".into(), "1".into()),
                ("wherry.wave".into(), String::new()),
            ],
        };
        assert_eq!(read(log), [expected]);
    }
}
