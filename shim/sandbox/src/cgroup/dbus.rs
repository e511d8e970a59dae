//! As much D-Bus as it takes to ask systemd for a scope (D-Bus specification 0.43).
//!
//! Four calls, one signal, one connection for each: the client libraries that exist bring a second
//! `nix` or an async runtime along, and are larger than the shim.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

mod format;

use format::{Writer, decode};

/// The system bus, and systemd's own socket for where there is none yet.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
const SYSTEMD: &str = "/run/systemd/private";

/// systemd starts a scope in milliseconds; a bus that says nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message longer than this is none that we asked for.
const LONGEST: usize = 1 << 20;

/// What our calls are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(sv)`
    Properties(Vec<(&'static str, Value)>),
    /// `a(sa(sv))`, empty: the auxiliary units of `StartTransientUnit`.
    NoUnits,
}

impl Value {
    pub(super) fn text(s: impl Into<String>) -> Value {
        Value::Text(s.into())
    }

    fn signature(&self) -> &'static str {
        match self {
            Value::Text(_) => "s",
            Value::Flag(_) => "b",
            Value::Number(_) => "t",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Pairs(_) => "a(ss)",
            Value::Properties(_) => "a(sv)",
            Value::NoUnits => "a(sa(sv))",
        }
    }
}

/// A connection, logged in.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    has_bus: bool,
}

/// An answer or a signal, as far as we read it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    kind: u8,
    member: String,
    error: String,
    answers: u32,
    /// The strings, object paths among them, that the body begins with after its numbers.
    texts: Vec<String>,
}

const CALL: u8 = 1;
const ANSWER: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

impl Bus {
    pub(super) fn connect() -> Result<Bus> {
        match UnixStream::connect(SYSTEM_BUS) {
            Ok(stream) => Bus::log_in(stream, true),
            Err(_) => Bus::log_in(UnixStream::connect(SYSTEMD)?, false),
        }
    }

    /// SASL EXTERNAL: who we are is what the socket says. A bus wants a `Hello`, a peer does not.
    fn log_in(mut stream: UnixStream, has_bus: bool) -> Result<Bus> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let id = rustix::process::geteuid().as_raw().to_string();
        let hex: String = id.bytes().map(|b| format!("{b:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        if !line.starts_with(b"OK ") {
            let said = String::from_utf8_lossy(&line).trim().to_owned();
            return Err(Error::other(format!("the bus does not let us in: {said}")));
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut bus = Bus { stream, serial: 0, has_bus };
        if has_bus {
            bus.call_at(
                "org.freedesktop.DBus",
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
                "Hello",
                &[],
            )?;
        }
        Ok(bus)
    }

    /// From now on the end of every job is told to us.
    pub(super) fn watch_jobs(&mut self) -> Result<()> {
        if self.has_bus {
            let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',\
                        member='JobRemoved'";
            let bus = "org.freedesktop.DBus";
            self.call_at(bus, "/org/freedesktop/DBus", bus, "AddMatch", &[Value::text(rule)])?;
            self.call("org.freedesktop.systemd1.Manager", "Subscribe", &[])?;
        }
        Ok(())
    }

    /// Calls systemd, and returns the first string of its answer.
    pub(super) fn call(&mut self, interface: &str, member: &str, body: &[Value]) -> Result<String> {
        let service = "org.freedesktop.systemd1";
        self.call_at(service, "/org/freedesktop/systemd1", interface, member, body)
    }

    /// Waits for `JobRemoved(id, job, unit, result)`, and returns the result.
    pub(super) fn wait_for_job(&mut self, job: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let mut message = self.receive()?;
            if message.kind == SIGNAL
                && message.member == "JobRemoved"
                && message.texts.first().is_some_and(|path| path == job)
            {
                return Ok(message.texts.pop().unwrap_or_default());
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    fn call_at(
        &mut self,
        service: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &[Value],
    ) -> Result<String> {
        self.serial += 1;
        let call = encode(self.serial, service, path, interface, member, body);
        self.stream.write_all(&call)?;
        loop {
            let message = self.receive()?;
            if message.answers != self.serial {
                continue;
            }
            let first = message.texts.into_iter().next().unwrap_or_default();
            match message.kind {
                ANSWER => return Ok(first),
                ERROR => return Err(Error::other(format!("{}: {first}", message.error))),
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (body, fields) = (number(4) as usize, number(12) as usize);
        let padded = fields.next_multiple_of(8);
        // systemd and the reference bus answer in the byte order of the machine, which is ours.
        if head[0] != b'l' || padded + body > LONGEST {
            return Err(Error::new(ErrorKind::InvalidData, "no D-Bus message of this machine's"));
        }
        let mut rest = vec![0; padded + body];
        self.stream.read_exact(&mut rest)?;
        let mut message = Message { kind: head[1], ..Message::default() };
        let decoded = decode(&rest[..fields], &rest[padded..], &mut message);
        decoded
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "a D-Bus message ends too soon"))?;
        Ok(message)
    }
}

fn encode(
    serial: u32,
    service: &str,
    path: &str,
    interface: &str,
    member: &str,
    body: &[Value],
) -> Vec<u8> {
    let mut content = Writer::default();
    body.iter().for_each(|value| content.value(value));
    let signature: String = body.iter().map(Value::signature).collect();
    let mut out = Writer(vec![b'l', CALL, 0, 1]);
    out.number(content.0.len() as u32);
    out.number(serial);
    out.array(8, |out| {
        let fields = [(1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", service)];
        for (code, kind, text) in fields {
            out.pad(8);
            out.0.push(code);
            out.signature(kind);
            out.text(text);
        }
        if !signature.is_empty() {
            out.pad(8);
            out.0.push(8);
            out.signature("g");
            out.signature(&signature);
        }
    });
    out.pad(8);
    out.0.extend(content.0);
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn properties() -> Value {
        Value::Properties(vec![
            ("Slice", Value::text("system.slice")),
            ("PIDs", Value::Numbers(vec![1, 2])),
            ("AllowedCPUs", Value::Bytes(vec![3, 0, 1])),
            ("Delegate", Value::Flag(true)),
            ("TasksMax", Value::Number(7)),
            ("DeviceAllow", Value::Pairs(vec![("char-*".into(), "m".into())])),
        ])
    }

    /// The reference bus takes no message that is not well formed: it hangs up on whoever sends
    /// one. A call that it understood and could not deliver is one it has checked.
    #[test]
    fn a_real_bus_understands_what_systemd_is_asked() {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("bus");
        let config = home.path().join("config");
        std::fs::write(
            &config,
            format!(
                "<busconfig><type>session</type><listen>unix:path={}</listen>\
                 <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
                 <allow eavesdrop=\"true\"/>\
                 <allow own=\"*\"/></policy></busconfig>",
                socket.display()
            ),
        )
        .unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs dbus-daemon (Debian: dbus-daemon)");
        // It prints the address when it listens.
        let mut byte = [0];
        daemon.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        let told = || -> Result<String> {
            let mut bus = Bus::log_in(UnixStream::connect(&socket)?, true)?;
            let body =
                [Value::text("x.scope"), Value::text("replace"), properties(), Value::NoUnits];
            let first = bus.call("org.freedesktop.systemd1.Manager", "StartTransientUnit", &body);
            let dbus = "org.freedesktop.DBus";
            let names = bus.call_at(
                dbus,
                "/org/freedesktop/DBus",
                dbus,
                "GetNameOwner",
                &[Value::text(dbus)],
            )?;
            Ok(format!("{} / {names}", first.unwrap_err()))
        };
        let told = told();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let told = told.unwrap();
        assert!(told.starts_with("org.freedesktop.DBus.Error.ServiceUnknown: "), "{told}");
        assert!(told.ends_with(" / org.freedesktop.DBus"), "{told}");
    }

    #[test]
    fn a_broken_message_is_an_error_and_no_panic() {
        let whole = encode(1, "a.b", "/a", "a.b", "C", &[properties()]);
        let fields = u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
        let mut message = Message::default();
        assert_eq!(decode(&whole[16..16 + fields], &[], &mut message), Some(()));
        assert_eq!(message.member, "C");
        for end in 16..16 + fields {
            decode(&whole[16..end], &whole[..end - 16], &mut Message::default());
        }
    }
}
