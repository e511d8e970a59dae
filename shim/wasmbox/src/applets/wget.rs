//! `wget`, as busybox has it: for probes, health checks and a look at a service.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use super::copy::pour;
use super::http::{Url, ask};
use crate::call::{Call, Failure, Outcome};
use crate::options::Options;

const LONG: [(&str, char); 14] = [
    ("spider", 'Z'),
    ("quiet", 'q'),
    ("output-document", 'O'),
    ("directory-prefix", 'P'),
    ("server-response", 'S'),
    ("timeout", 'T'),
    ("tries", 't'),
    ("continue", 'c'),
    ("header", 'H'),
    ("post-data", 'D'),
    ("post-file", 'F'),
    ("user-agent", 'U'),
    ("no-check-certificate", 'k'),
    ("proxy", 'Y'),
];

/// More hops than this go in a circle.
const HOPS: u32 = 20;

pub(super) fn wget(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "qO:P:ST:t:cH:D:F:U:kY:Zo:n:", &LONG)?;
    if options.operands.is_empty() {
        return Err(call
            .usage("[-qS] [--spider] [-O FILE] [-T SECONDS] [--header H] [--post-data D] URL..."));
    }
    for url in &options.operands {
        get(call, &options, url)?;
    }
    Ok(0)
}

fn get(call: &Call<'_>, options: &Options, text: &str) -> Result<(), Failure> {
    let seconds: Option<f64> = options.number('T')?;
    let wait = seconds
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let mut url = Url::parse(text)?;
    let body = match (options.value('D'), options.value('F')) {
        (Some(data), _) => Some(data.as_bytes().to_vec()),
        (None, Some(file)) => Some(call.read(file)?),
        (None, None) => None,
    };
    let mut method = if body.is_some() {
        "POST"
    } else if options.has('Z') {
        "HEAD"
    } else {
        "GET"
    };
    let mut hops = 0;
    let mut answer = loop {
        let headers = headers(options, &url, body.is_some());
        say(call, options, &format!("Connecting to {}", url.authority()))?;
        let answer = ask(&url, method, &headers, body.as_deref().unwrap_or_default(), wait)?;
        if options.has('S') {
            let mut lines = format!("  {}\n", answer.line);
            for (name, value) in &answer.headers {
                lines.push_str(&format!("  {name}: {value}\n"));
            }
            call.streams.stderr.borrow_mut().write_all(lines.as_bytes())?;
        }
        match (answer.status, answer.header("location")) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                hops += 1;
                if hops > HOPS {
                    return Err(Failure::new("too many redirections"));
                }
                url = url.join(location)?;
                if answer.status == 303 {
                    method = "GET";
                }
            }
            (200..=299, _) => break answer,
            _ => return Err(Failure::new(format!("server returned error: {}", answer.line))),
        }
    };
    if options.has('Z') {
        return say(call, options, "remote file exists");
    }
    let name = match options.value('O') {
        Some(name) => name.to_string(),
        None => {
            let last = url
                .path
                .split('?')
                .next()
                .unwrap_or_default()
                .rsplit('/')
                .next()
                .unwrap_or_default();
            let last = if last.is_empty() { "index.html" } else { last };
            options.value('P').map_or_else(|| last.to_string(), |folder| format!("{folder}/{last}"))
        }
    };
    if name == "-" {
        let mut out = Flushing(call);
        return pour(&mut answer.body, &mut out).map_err(super::http::in_time);
    }
    say(call, options, &format!("saving to '{name}'"))?;
    let file = File::options().create(true).write(true).truncate(true).open(&name);
    let mut file = file.map_err(|error| Failure::of(&format!("can't open '{name}'"), &error))?;
    pour(&mut answer.body, &mut file).map_err(super::http::in_time)
}

fn headers(options: &Options, url: &Url, has_body: bool) -> Vec<(String, String)> {
    let own: Vec<(String, String)> = options
        .values('H')
        .filter_map(|header| header.split_once(':'))
        .map(|(name, value)| (name.trim().to_string(), value.trim().to_string()))
        .collect();
    let has = |name: &str| own.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let mut headers = Vec::new();
    if !has("user-agent") {
        headers.push(("User-Agent".to_string(), options.value('U').unwrap_or("Wget").to_string()));
    }
    if has_body && !has("content-type") {
        headers.push(("Content-Type".to_string(), "application/x-www-form-urlencoded".to_string()));
    }
    if let Some(user) = &url.user {
        headers.push((
            "Authorization".to_string(),
            format!("Basic {}", super::digest::encode(user.as_bytes())),
        ));
    }
    headers.extend(own);
    headers
}

fn say(call: &Call<'_>, options: &Options, line: &str) -> Result<(), Failure> {
    if !options.has('q') {
        call.streams.stderr.borrow_mut().write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// A stream that comes slowly is shown as it comes.
struct Flushing<'a>(&'a Call<'a>);

impl Write for Flushing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut out = self.0.out();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.out().flush()
    }
}
