//! systemd, over D-Bus (org.freedesktop.systemd1(5)): restarts, and a timer that outlives us.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use zbus::blocking::{Connection, connection::Builder};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const ROOT: &str = "/org/freedesktop/systemd1";
/// containerd starts in less than a second, and in a minute with a thousand containers.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(50);

/// The timer, and the service that it starts, by the name of both.
const GUARD: &str = "wherry-node-guard";
/// A program of the node's that is tried.
const TRIAL: &str = "wherry-node-trial.service";

#[derive(Debug)]
pub(crate) struct Systemd(Connection);

/// What of a unit decides whether it may be restarted.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    pub(crate) kill_mode: String,
    pub(crate) main_pid: u32,
    pub(crate) state: String,
}

impl Systemd {
    pub(crate) fn connect() -> Result<Systemd> {
        // The bus is the way for everybody; systemd's own socket is there without one, for root.
        let bus =
            Builder::address("unix:path=/run/dbus/system_bus_socket").and_then(Builder::build);
        let connection = bus.or_else(|_| {
            Builder::address("unix:path=/run/systemd/private").and_then(|it| it.p2p().build())
        });
        Ok(Systemd(connection.context("systemd can't be reached over D-Bus")?))
    }

    fn call<B>(&self, method: &str, body: &B) -> Result<zbus::Message>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let answer = self.0.call_method(Some(SERVICE), ROOT, Some(MANAGER), method, body);
        answer.with_context(|| format!("systemd does not {method}"))
    }

    fn property(&self, path: &str, interface: &str, name: &str) -> zbus::Result<OwnedValue> {
        let interface = format!("{SERVICE}.{interface}");
        let properties = Some("org.freedesktop.DBus.Properties");
        let body = &(interface, name);
        self.0.call_method(Some(SERVICE), path, properties, "Get", body)?.body().deserialize()
    }

    pub(crate) fn unit(&self, name: &str) -> Result<Unit> {
        let path: OwnedObjectPath = self.call("LoadUnit", &(name,))?.body().deserialize()?;
        let text = |interface: &str, property: &str| -> Result<String> {
            Ok(self.property(&path, interface, property)?.try_into()?)
        };
        Ok(Unit {
            kill_mode: text("Service", "KillMode")?,
            main_pid: self.property(&path, "Service", "MainPID")?.try_into()?,
            state: text("Unit", "ActiveState")?,
        })
    }

    /// Restarts a unit, and waits until it says that it has started. However often it was started of late.
    pub(crate) fn restart(&self, name: &str) -> Result<()> {
        let before = self.unit(name)?.main_pid;
        // Starts are counted, whoever asked for them (systemd.unit(5), StartLimitBurst=), and one too many leaves the
        // node without a runtime; this sets the count back (systemctl(1), reset-failed). If it fails, as for a unit
        // that is not loaded, the restart has the answer.
        drop(self.call("ResetFailedUnit", &(name,)));
        let job: OwnedObjectPath =
            self.call("RestartUnit", &(name, "replace"))?.body().deserialize()?;
        let end = Instant::now() + PATIENCE;
        // The job is an object for as long as it is under way.
        while self.property(&job, "Job", "State").is_ok() {
            if Instant::now() > end {
                bail!("{name} does not start again within {} s", PATIENCE.as_secs());
            }
            sleep(LOOK);
        }
        let after = self.unit(name)?;
        if after.state != "active" || after.main_pid == before {
            bail!("{name} is {} after its restart: journalctl -u {name} says why", after.state);
        }
        Ok(())
    }

    /// Has `words` run in so long, unless it is [disarmed](Systemd::disarm) before. A guard that stands is replaced.
    pub(crate) fn arm(&self, words: &[String], after: Duration) -> Result<()> {
        self.disarm()?;
        // One that came for an earlier journal, and waits for whoever has the lock: that is who calls.
        self.end(&format!("{GUARD}.service")).context("an earlier guard can't be ended")?;
        let timer: Vec<(&str, Value<'_>)> = vec![
            (
                "Description",
                Value::from("puts containerd's configuration back, unless Wherry is proved to run"),
            ),
            ("TimersMonotonic", Value::from(vec![("OnActiveSec", micros(after))])),
            ("AccuracyUSec", Value::from(1_000_000_u64)),
            ("RemainAfterElapse", Value::from(false)),
        ];
        let service: Vec<(&str, Value<'_>)> = vec![
            ("Description", Value::from("puts containerd's configuration back")),
            ("Type", Value::from("oneshot")),
            ("ExecStart", start(words)),
            ("CollectMode", Value::from("inactive-or-failed")),
        ];
        let units = vec![(format!("{GUARD}.service"), service)];
        let body = (format!("{GUARD}.timer"), "replace", timer, units);
        self.call("StartTransientUnit", &body)?;
        Ok(())
    }

    pub(crate) fn disarm(&self) -> Result<()> {
        self.end(&format!("{GUARD}.timer")).context("the guard can't be taken back")
    }

    /// Has `words` run beside us, with the rights of the node's own services and in their surroundings, until it is
    /// [ended](Systemd::end_trial), and not for longer than so long. What it says goes to `log`.
    pub(crate) fn try_out(&self, words: &[String], log: &Path, most: Duration) -> Result<()> {
        self.end_trial()?;
        let log = log.display().to_string();
        let unit: Vec<(&str, Value<'_>)> = vec![
            ("Description", Value::from("tries a configuration of containerd's")),
            ("Type", Value::from("simple")),
            ("ExecStart", start(words)),
            ("StandardOutputFile", Value::from(log.clone())),
            ("StandardErrorFile", Value::from(log)),
            ("RuntimeMaxUSec", Value::from(micros(most))),
            // It has no containers, so nothing is lost by a kill.
            ("KillSignal", Value::from(9_i32)),
            ("CollectMode", Value::from("inactive-or-failed")),
        ];
        let units: Vec<(String, Vec<(&str, Value<'_>)>)> = Vec::new();
        self.call("StartTransientUnit", &(TRIAL, "replace", unit, units))?;
        Ok(())
    }

    /// Whether what is tried still runs, or is about to.
    pub(crate) fn tries(&self) -> bool {
        self.call("GetUnit", &(TRIAL,)).is_ok()
    }

    pub(crate) fn end_trial(&self) -> Result<()> {
        self.end(TRIAL).context("a trial can't be ended")
    }

    /// Ends a unit that goes away with that, and waits until it has.
    fn end(&self, unit: &str) -> Result<()> {
        match self.0.call_method(Some(SERVICE), ROOT, Some(MANAGER), "StopUnit", &(unit, "replace"))
        {
            Ok(_) => {}
            // There is none.
            Err(zbus::Error::MethodError(name, ..)) if name.as_str().ends_with(".NoSuchUnit") => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let end = Instant::now() + PATIENCE;
        while self.call("GetUnit", &(unit,)).is_ok() {
            if Instant::now() > end {
                bail!("{unit} does not end");
            }
            sleep(LOOK);
        }
        Ok(())
    }
}

/// `ExecStart` of a program with its words; it fails if the program does.
fn start(words: &[String]) -> Value<'_> {
    Value::from(vec![(words.first().cloned().unwrap_or_default(), words.to_vec(), false)])
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
