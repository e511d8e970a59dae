//! Runs commands.

use std::rc::Rc;

use crate::call::Failure;

use super::ast::{Command, Job, Kind, Link, Pipeline, Script, Word};
use super::builtins::Builtin;
use super::{DEEPEST, Descriptors, Run, Shell, Stop, Variable, pattern};

impl Shell {
    pub(super) fn script(&mut self, script: &Script) -> Run {
        let mut status = 0;
        for job in script {
            status = self.job(job)?;
            self.status = status;
        }
        Ok(status)
    }

    fn job(&mut self, job: &Job) -> Run {
        if self.options.no_execution {
            return Ok(0);
        }
        if let Err(Failure::Exit(status)) = crate::applets::clock::check() {
            return Err(Stop::Exit(status));
        }
        if job.background {
            return Err(self.fatal(
                "a job cannot run in the background (&): a WebAssembly guest has no processes",
            ));
        }
        let links = &job.rest;
        let mut status = self.part_of_chain(&job.first, links.is_empty())?;
        for (i, (link, pipeline)) in links.iter().enumerate() {
            self.status = status;
            if (*link == Link::And) == (status == 0) {
                status = self.part_of_chain(pipeline, i + 1 == links.len())?;
            }
        }
        Ok(status)
    }

    /// With `-e`, only what a chain ends with ends the shell.
    fn part_of_chain(&mut self, pipeline: &Pipeline, is_last: bool) -> Run {
        if is_last && !pipeline.negated {
            let status = self.pipeline(pipeline)?;
            if status != 0 && self.options.exit_on_error && self.tested == 0 {
                return Err(Stop::Exit(status));
            }
            return Ok(status);
        }
        self.tested += 1;
        let result = self.pipeline(pipeline);
        self.tested -= 1;
        result
    }

    fn condition(&mut self, script: &Script) -> Run {
        self.tested += 1;
        let result = self.script(script);
        self.tested -= 1;
        result
    }

    pub(super) fn pipeline(&mut self, pipeline: &Pipeline) -> Run {
        let status = match &pipeline.commands[..] {
            [only] => self.command(only)?,
            commands => self.pipe(commands)?,
        };
        Ok(if pipeline.negated { i32::from(status == 0) } else { status })
    }

    /// A command with its redirections, which end with it.
    pub(super) fn command(&mut self, command: &Command) -> Run {
        if self.depth >= DEEPEST {
            return Err(self.fatal("too many commands in each other"));
        }
        self.depth += 1;
        let result = self.command_here(command);
        self.depth -= 1;
        result
    }

    fn command_here(&mut self, command: &Command) -> Run {
        if let Kind::Simple { assignments, words } = &command.kind {
            return self.simple(assignments, words, command);
        }
        let before = (!command.redirects.is_empty()).then(|| self.descriptors.clone());
        let result = match self.redirect(&command.redirects) {
            Ok(()) => self.compound(&command.kind),
            Err(Ok(())) => Ok(1),
            Err(Err(stop)) => Err(stop),
        };
        if let Some(before) = before {
            self.restore(before);
        }
        result
    }

    fn restore(&mut self, before: Descriptors) {
        self.flush();
        self.descriptors = before;
    }

    fn compound(&mut self, kind: &Kind) -> Run {
        match kind {
            Kind::Simple { .. } => Ok(0),
            Kind::Group(script) => self.script(script),
            Kind::Subshell(script) => {
                let mut copy = self.clone();
                copy.at_exit = None;
                copy.loops = 0;
                let status = copy.subshell(script);
                Ok(status)
            }
            Kind::If { arms, otherwise } => {
                for (condition, body) in arms {
                    if self.condition(condition)? == 0 {
                        return self.script(body);
                    }
                }
                otherwise.as_ref().map_or(Ok(0), |body| self.script(body))
            }
            Kind::While { until, condition, body } => self.repeat(*until, condition, body),
            Kind::For { name, words, body } => self.for_each(name, words.as_deref(), body),
            Kind::Case { word, arms } => self.case(word, arms),
            Kind::Function { name, body } => {
                self.functions.insert(name.clone(), Rc::clone(body));
                Ok(0)
            }
        }
    }

    fn repeat(&mut self, until: bool, condition: &Script, body: &Script) -> Run {
        let mut status = 0;
        self.loops += 1;
        let result = loop {
            match self.condition(condition) {
                Ok(answer) if (answer == 0) == until => break Ok(status),
                Ok(_) => {}
                Err(stop) => match self.left(stop) {
                    Left::Again => continue,
                    Left::Over => break Ok(status),
                    Left::Stop(stop) => break Err(stop),
                },
            }
            match self.script(body) {
                Ok(own) => status = own,
                Err(stop) => match self.left(stop) {
                    Left::Again => status = 0,
                    Left::Over => break Ok(0),
                    Left::Stop(stop) => break Err(stop),
                },
            }
        };
        self.loops -= 1;
        result
    }

    fn for_each(&mut self, name: &str, words: Option<&[Word]>, body: &Script) -> Run {
        let values = match words {
            Some(words) => self.fields(words)?,
            None => self.positional.clone(),
        };
        let mut status = 0;
        self.loops += 1;
        let mut result = Ok(());
        for value in values {
            result = self.set(name, &value);
            if result.is_err() {
                break;
            }
            match self.script(body) {
                Ok(own) => status = own,
                Err(stop) => match self.left(stop) {
                    Left::Again => status = 0,
                    Left::Over => {
                        status = 0;
                        break;
                    }
                    Left::Stop(stop) => {
                        result = Err(stop);
                        break;
                    }
                },
            }
        }
        self.loops -= 1;
        result.map(|()| status)
    }

    /// What `break` and `continue` mean for the innermost loop.
    fn left(&self, stop: Stop) -> Left {
        match stop {
            Stop::Break(1) => Left::Over,
            Stop::Break(n) => Left::Stop(Stop::Break(n - 1)),
            Stop::Continue(1) => Left::Again,
            Stop::Continue(n) => Left::Stop(Stop::Continue(n - 1)),
            stop => Left::Stop(stop),
        }
    }

    fn case(&mut self, word: &Word, arms: &[(Vec<Word>, Script)]) -> Run {
        let text: Vec<char> = self.string(word)?.chars().collect();
        for (patterns, body) in arms {
            for word in patterns {
                if pattern::matches(&self.pattern(word)?, &text) {
                    return self.script(body);
                }
            }
        }
        Ok(0)
    }

    fn simple(&mut self, assignments: &[(String, Word)], words: &[Word], command: &Command) -> Run {
        self.substituted = 0;
        let words = self.fields(words)?;
        let words = self.without_alias(words);
        let before = self.descriptors.clone();
        let keeps = words.first().is_some_and(|name| name == "exec");
        match self.redirect(&command.redirects) {
            Ok(()) => {}
            Err(told) => {
                self.restore(before);
                return told.map(|()| 1).and_then(|status| {
                    // A special builtin whose redirection fails ends the shell (XCU 2.8.1).
                    if keeps { Err(Stop::Exit(status)) } else { Ok(status) }
                });
            }
        }
        let result = self.assign_and_run(assignments, &words);
        // `exec` without a command: its redirections stay.
        if keeps && words.len() == 1 && result.is_ok() {
            self.flush();
        } else {
            self.restore(before);
        }
        result
    }

    fn assign_and_run(&mut self, assignments: &[(String, Word)], words: &[String]) -> Run {
        // Assignments in front of a special builtin stay, others end with the command.
        let name = words.first();
        let is_special =
            |name: &String| Builtin::named(name).is_some_and(|builtin| builtin.special);
        let stay = name.is_none_or(is_special);
        let mut hidden: Vec<(String, Option<Variable>)> = Vec::new();
        let mut values = Vec::new();
        for (name, word) in assignments {
            // The next one may use it.
            let value = self.string(word)?;
            if !stay {
                hidden.push((name.clone(), self.variables.get(name).cloned()));
            }
            self.set(name, &value)?;
            if let Some(variable) = self.variables.get_mut(name).filter(|_| !stay) {
                variable.exported = true;
            }
            values.push((name, value));
        }
        self.trace(&values, words);
        if name.is_none() {
            return Ok(self.substituted);
        }
        let result = self.words(words);
        for (name, variable) in hidden.into_iter().rev() {
            self.put_back(name, variable);
        }
        result
    }

    pub(super) fn put_back(&mut self, name: String, variable: Option<Variable>) {
        match variable {
            Some(variable) => self.variables.insert(name, variable),
            None => self.variables.remove(&name),
        };
    }

    fn trace(&self, values: &[(&String, String)], words: &[String]) {
        if !self.options.trace {
            return;
        }
        let values = values.iter().map(|(name, value)| format!("{name}={value}"));
        let line: Vec<String> = values.chain(words.iter().cloned()).collect();
        let prompt = self.value("PS4").unwrap_or_default();
        let text = format!("{prompt}{}\n", line.join(" "));
        let _ = self.streams().stderr.borrow_mut().write_all(text.as_bytes());
    }

    fn without_alias(&self, mut words: Vec<String>) -> Vec<String> {
        if let Some(text) = words.first().and_then(|name| self.aliases.get(name)) {
            let alias = text.split_whitespace().map(str::to_string);
            words.splice(..1, alias.collect::<Vec<_>>());
        }
        words
    }

    /// A function, a builtin or an applet, in this order.
    pub(super) fn words(&mut self, words: &[String]) -> Run {
        let Some((name, args)) = words.split_first() else { return Ok(0) };
        match self.functions.get(name).cloned() {
            Some(body) => self.call(&body, args),
            None => self.words_without_functions(name, args),
        }
    }

    pub(super) fn words_without_functions(&mut self, name: &str, args: &[String]) -> Run {
        if let Some(builtin) = Builtin::named(name) {
            let result = (builtin.run)(self, args);
            self.flush();
            return result;
        }
        let streams = self.streams();
        let outcome = crate::applets::run_in_shell(name, args, self.exported(), streams);
        let result = self.ended("", outcome);
        self.flush();
        result
    }

    fn call(&mut self, body: &Rc<Command>, args: &[String]) -> Run {
        let positional = std::mem::replace(&mut self.positional, args.to_vec());
        let loops = std::mem::take(&mut self.loops);
        self.locals.push(Vec::new());
        let result = self.command(body);
        for (name, variable) in self.locals.pop().unwrap_or_default().into_iter().rev() {
            self.put_back(name, variable);
        }
        self.loops = loops;
        self.positional = positional;
        match result {
            Err(Stop::Return(status)) => Ok(status),
            result => result,
        }
    }
}

enum Left {
    Again,
    Over,
    Stop(Stop),
}
