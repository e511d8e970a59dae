//! What the chart asks of this program besides its work, and people may ask too: one question or one change, an answer
//! in words, and an exit code.

mod apply;
mod check;
mod uninstall;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::client;

/// One of the words behind the program's name, with what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Apply { file: PathBuf },
    Check { namespace: String },
    Uninstall { shim: String, limit: Duration },
}

impl Tool {
    /// Of all words behind the program's name; nothing if they are not understood.
    pub(crate) fn parse(words: &[String]) -> Option<Tool> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["apply", file] => Some(Tool::Apply { file: file.into() }),
            ["check", namespace] => Some(Tool::Check { namespace: namespace.into() }),
            ["uninstall", shim, seconds] => {
                let limit = Duration::from_secs(seconds.parse().ok()?);
                Some(Tool::Uninstall { shim: shim.into(), limit })
            }
            _ => None,
        }
    }

    pub(crate) async fn run(self) -> Result<()> {
        let client = client().await?;
        match self {
            Tool::Apply { file } => {
                let text = std::fs::read_to_string(&file).with_context(|| format!("{file:?}"))?;
                apply::run(client, &text).await
            }
            Tool::Check { namespace } => check::run(client, &namespace).await,
            Tool::Uninstall { shim, limit } => uninstall::run(client, &shim, limit).await,
        }
    }
}

/// Some of a list that may be long, one a line.
fn some(lines: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut text: String = lines.iter().take(SHOWN).map(|line| format!("  {line}\n")).collect();
    if lines.len() > SHOWN {
        text += &format!("  and {} more\n", lines.len() - SHOWN);
    }
    text
}

/// What was to be had from the API server, or an error that does not mend itself.
fn later<T>(answer: kube::Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        // A definition that is new is served a moment later.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 429 => Ok(None),
        Err(kube::Error::Api(status)) if status.code >= 500 => Ok(None),
        Err(kube::Error::Api(status)) => bail!("{}", status.message),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tool_is_none() {
        let tool = |line: &str| {
            Tool::parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
        };
        let limit = Duration::from_secs(60);
        let uninstall = Tool::Uninstall { shim: "wherry".into(), limit };
        assert_eq!(tool("uninstall wherry 60"), Some(uninstall));
        assert_eq!(tool("apply f"), Some(Tool::Apply { file: "f".into() }));
        for none in ["apply", "uninstall wherry", "uninstall wherry soon", "help", "check a b"] {
            assert_eq!(tool(none), None, "{none}");
        }
    }

    #[test]
    fn a_long_list_is_cut() {
        let lines: Vec<String> = (0..12).map(|index| index.to_string()).collect();
        let text = some(&lines);
        assert!(text.ends_with("  9\n  and 2 more\n"), "{text}");
        assert_eq!(some(&lines[..1]), "  0\n");
    }
}
