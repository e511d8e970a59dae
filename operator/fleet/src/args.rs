//! The command line: words in, a command out.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use lexopt::{Error, Parser};
use wherry_operator_core::crd::Period;

pub(crate) const HELP: &str = "\
wherry fleet: how far Wherry is on the nodes of a cluster, and a hand on its rollout.

Usage: wherry fleet COMMAND [WASMSHIM] [OPTIONS]

Commands:
  status              Tell each WasmShim, its waves and its nodes.
      --watch             go on until every rollout has ended
      --timeout TIME      but no longer, as 10m
      --all               every node; else, of more than 20, those that are not as wanted
      -o json             as JSON; with --watch a line for each change
  diff                Tell what would change on which nodes, and what their agents found.
      --all               every node's name
      -o json             as JSON
  pause               Begin nothing new. What has begun ends.
  resume              Go on.
  approve [REVISION]  Let the target go where the rollout waits for approval; only if it is REVISION.
  rollback            Give the target up: nodes that have it go back to the last good revision.
  retry               Try once more what was rolled back.
      --dry-run           have the API server check it, and write nothing
  help, --help        Print this.
  --version           Print the version.

Where there is one WasmShim, it need not be named.

      --context NAME      of the kubeconfig
      --kubeconfig FILE   else $KUBECONFIG, ~/.kube/config, or the cluster in which it runs

Exit codes: 0 all is as wanted, or it was done; 1 it could not be done; 2 the command line is wrong;
3 (status) a rollout goes on or waits, (diff) there are differences; 4 a rollout failed on some nodes.
";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) command: Command,
    pub(crate) context: Option<String>,
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    Status(Status),
    Diff { shim: Option<String>, all: bool, form: Form },
    Change { verb: Verb, shim: Option<String>, dry_run: bool },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) shim: Option<String>,
    pub(crate) watch: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) all: bool,
    pub(crate) form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Pause,
    Resume,
    Approve { revision: Option<String> },
    Rollback,
    Retry,
}

/// Every option that there is: which of them a command takes is decided when it is known.
#[derive(Debug, Default)]
struct Options {
    words: Vec<String>,
    watch: bool,
    timeout: Option<Duration>,
    all: bool,
    json: bool,
    dry_run: bool,
    context: Option<String>,
    kubeconfig: Option<PathBuf>,
}

pub(crate) fn parse(mut parser: Parser) -> Result<Words, Error> {
    let mut options = Options::default();
    let only = |command| Ok(Words { command, context: None, kubeconfig: None });
    while let Some(arg) = parser.next()? {
        match arg {
            Long("help") | Short('h') => return only(Command::Help),
            Long("version") | Short('V') => return only(Command::Version),
            Short('w') | Long("watch") => options.watch = true,
            Long("timeout") => options.timeout = Some(time(&parser.value()?.string()?)?),
            Short('a') | Long("all") => options.all = true,
            Short('o') | Long("output") => options.json = json(&parser.value()?.string()?)?,
            Long("dry-run") => options.dry_run = true,
            Long("context") => options.context = Some(parser.value()?.string()?),
            Long("kubeconfig") => options.kubeconfig = Some(parser.value()?.into()),
            Value(word) => options.words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let (context, kubeconfig) = (options.context.take(), options.kubeconfig.take());
    Ok(Words { command: command(options)?, context, kubeconfig })
}

fn command(options: Options) -> Result<Command, Error> {
    let Options { words, watch, timeout, all, json, dry_run, .. } = options;
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_else(|| "help".into());
    let form = if json { Form::Json } else { Form::Text };
    let allowed: &[&str] = match name.as_str() {
        "status" if watch => &["--watch", "--timeout", "--all", "-o"],
        "status" => &["--watch", "--all", "-o"],
        "diff" => &["--all", "-o"],
        "pause" | "resume" | "approve" | "rollback" | "retry" => &["--dry-run"],
        "help" => return Ok(Command::Help),
        other => return Err(format!("there is no command {other:?}").into()),
    };
    let given = [
        ("--watch", watch),
        ("--timeout", timeout.is_some()),
        ("--all", all),
        ("-o", json),
        ("--dry-run", dry_run),
    ];
    if let Some((option, _)) = given.iter().find(|(it, on)| *on && !allowed.contains(it)) {
        return Err(match *option {
            "--timeout" if name == "status" => "--timeout is for --watch".into(),
            option => format!("{name} has no option {option}").into(),
        });
    }
    let shim = words.next();
    let verb = match name.as_str() {
        "pause" => Some(Verb::Pause),
        "resume" => Some(Verb::Resume),
        "approve" => Some(Verb::Approve { revision: words.next() }),
        "rollback" => Some(Verb::Rollback),
        "retry" => Some(Verb::Retry),
        _ => None,
    };
    if let Some(word) = words.next() {
        return Err(Error::UnexpectedArgument(word.into()));
    }
    Ok(match verb {
        Some(verb) => Command::Change { verb, shim, dry_run },
        None if name == "diff" => Command::Diff { shim, all, form },
        None => Command::Status(Status { shim, watch, timeout, all, form }),
    })
}

fn time(text: &str) -> Result<Duration, Error> {
    let period: Period = text.parse().map_err(|_| format!("{text:?} is no time, as 10m is"))?;
    Ok(period.into())
}

fn json(text: &str) -> Result<bool, Error> {
    match text {
        "json" => Ok(true),
        other => Err(format!("there is no output {other:?}: json, or nothing for text").into()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(line: &str, expected: Expect) {
        let told = match parse(Parser::from_args(line.split_whitespace())) {
            Ok(words) => format!("{:?}", words.command),
            Err(error) => format!("refused: {error}"),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn each_command_takes_its_own_words() {
        check("", expect!["Help"]);
        check(
            "status",
            expect![
                "Status(Status { shim: None, watch: false, timeout: None, all: false, form: Text })"
            ],
        );
        check(
            "status wherry -w --timeout 1m30s -o json",
            expect![[
                r#"Status(Status { shim: Some("wherry"), watch: true, timeout: Some(90s), all: false, form: Json })"#
            ]],
        );
        check("diff --all", expect!["Diff { shim: None, all: true, form: Text }"]);
        check(
            "pause --dry-run wherry",
            expect![[r#"Change { verb: Pause, shim: Some("wherry"), dry_run: true }"#]],
        );
        check(
            "approve wherry wherry-0123456789ab",
            expect![[
                r#"Change { verb: Approve { revision: Some("wherry-0123456789ab") }, shim: Some("wherry"), dry_run: false }"#
            ]],
        );
        check("rollback", expect!["Change { verb: Rollback, shim: None, dry_run: false }"]);
        check("retry --help", expect!["Help"]);
        let words = parse(Parser::from_args(["diff", "--context=west", "--kubeconfig", "/k"]));
        expect![[r#"Words { command: Diff { shim: None, all: false, form: Text }, context: Some("west"), kubeconfig: Some("/k") }"#]].assert_eq(&format!("{:?}", words.unwrap()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        check("delete", expect![[r#"refused: there is no command "delete""#]]);
        check("status a b", expect![[r#"refused: unexpected argument "b""#]]);
        check("status --timeout 1m", expect!["refused: --timeout is for --watch"]);
        check(
            "status --watch --timeout soon",
            expect![[r#"refused: "soon" is no time, as 10m is"#]],
        );
        check("pause -o json", expect!["refused: pause has no option -o"]);
        check("diff --watch", expect!["refused: diff has no option --watch"]);
        check(
            "status -o yaml",
            expect![[r#"refused: there is no output "yaml": json, or nothing for text"#]],
        );
    }
}
