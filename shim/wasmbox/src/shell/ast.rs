//! What a script says.

use std::cell::OnceCell;
use std::rc::Rc;

/// Jobs one after another.
pub(crate) type Script = Vec<Job>;

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) first: Pipeline,
    pub(crate) rest: Vec<(Link, Pipeline)>,
    /// It ends with `&`.
    pub(crate) background: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    And,
    Or,
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) negated: bool,
    pub(crate) commands: Vec<Command>,
}

#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) kind: Kind,
    pub(crate) redirects: Vec<Redirect>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
    },
    Group(Script),
    Subshell(Rc<Script>),
    If {
        arms: Vec<(Script, Script)>,
        otherwise: Option<Script>,
    },
    While {
        until: bool,
        condition: Script,
        body: Script,
    },
    /// Without words: over `"$@"`.
    For {
        name: String,
        words: Option<Vec<Word>>,
        body: Script,
    },
    Case {
        word: Word,
        arms: Vec<(Vec<Word>, Script)>,
    },
    Function {
        name: String,
        body: Rc<Command>,
    },
}

#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) fd: Option<usize>,
    pub(crate) kind: RedirectKind,
    pub(crate) target: Word,
}

#[derive(Debug)]
pub(crate) enum RedirectKind {
    Read,
    /// Also `>|`.
    Write,
    Append,
    /// `<>`
    Both,
    /// `<&` and `>&`: a number, or `-`.
    Duplicate,
    /// `&>`: stdout and stderr.
    All,
    /// Its text stands behind the line that names it.
    Here(Rc<OnceCell<Word>>),
}

pub(crate) type Word = Vec<Part>;

#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    /// Quoted by `\` or `'`: it is what it is.
    Quoted(String),
    Double(Word),
    Parameter {
        name: String,
        use_: Use,
    },
    Command(Rc<Script>),
    Arithmetic(Word),
}

/// What is made of a parameter's value.
#[derive(Debug)]
pub(crate) enum Use {
    Value,
    /// `${#x}`
    Length,
    /// `-`, `=`, `?`, `+`; with a colon an empty value counts as none.
    Unless {
        operator: char,
        colon: bool,
        word: Word,
    },
    /// `#`, `##`
    TrimStart {
        longest: bool,
        pattern: Word,
    },
    /// `%`, `%%`
    TrimEnd {
        longest: bool,
        pattern: Word,
    },
    /// `${x:offset:length}`
    Slice(Word),
    /// `${x/pattern/word}`, `${x//pattern/word}`
    Replace {
        all: bool,
        pattern: Word,
        word: Word,
    },
}
