//! Which commands are for this line.

use super::Sed;
use super::script::{Address, Range};

impl Sed {
    pub(super) fn selects(&mut self, index: usize) -> bool {
        let (number, last) = (self.number, self.is_last());
        let command = &mut self.commands[index];
        let mut holds = |address: &Address| match address {
            Address::Line(line) => number == *line,
            Address::Step(first, 0) => number == *first,
            Address::Step(first, step) => {
                number >= *first && (number - first).is_multiple_of(*step)
            }
            Address::Last => last,
            Address::After(_) => false,
            Address::Matches(regex) => {
                if regex.is_some() {
                    self.last_regex = regex.clone();
                }
                self.last_regex.as_ref().is_some_and(|regex| regex.is_match(&self.space))
            }
        };
        let selected = match (&command.from, &command.to) {
            (None, _) => true,
            (Some(from), None) => holds(from),
            (Some(from), Some(to)) => match command.range {
                Range::Outside => {
                    let begins = holds(from) || matches!(from, Address::Line(0)) && number == 1;
                    if begins {
                        let over = match to {
                            Address::Line(line) => *line <= number,
                            Address::After(count) => *count == 0,
                            Address::Last => last,
                            to if matches!(from, Address::Line(0)) => holds(to),
                            _ => false,
                        };
                        command.range =
                            if over { Range::Outside } else { Range::Inside { since: number } };
                    }
                    begins
                }
                Range::Inside { since } => {
                    let over = match to {
                        Address::Line(line) => number >= *line,
                        Address::After(count) => number >= since + count,
                        to => holds(to),
                    };
                    if over {
                        command.range = Range::Outside;
                    }
                    // A range by number that a jump has passed does not hold any more.
                    !matches!(to, Address::Line(line) if number > *line)
                }
            },
        };
        selected != command.negated
    }
}
