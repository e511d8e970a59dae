//! `seq`.

use crate::call::{Call, Failure, Outcome};
use crate::options::Options;

pub(super) fn seq(call: &Call<'_>) -> Outcome {
    // Negative numbers are no options.
    let from = call.args.iter().position(|arg| is_number(arg)).unwrap_or(call.args.len());
    let options =
        Options::parse(&call.args[..from], "ws:", &[("equal-width", 'w'), ("separator", 's')])?;
    let numbers: Vec<&str> = call.args[from..].iter().map(String::as_str).collect();
    let (first, step, last) = match numbers[..] {
        [last] => ("1", "1", last),
        [first, last] => (first, "1", last),
        [first, step, last] => (first, step, last),
        _ => return Err(call.usage("[-w] [-s SEPARATOR] [FIRST [STEP]] LAST")),
    };
    let decimals = [first, step].iter().map(|text| decimals(text)).max().unwrap_or(0);
    let value = |text: &str| {
        text.parse::<f64>().map_err(|_| Failure::new(format!("invalid number '{text}'")))
    };
    let (start, by, end) = (value(first)?, value(step)?, value(last)?);
    let width = match options.has('w') {
        true => [start, end].iter().map(|n| format!("{n:.decimals$}").len()).max().unwrap_or(0),
        false => 0,
    };
    let separator = options.value('s').unwrap_or("\n");
    let mut written = false;
    let mut count = 0u64;
    loop {
        #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 lines nobody waits")]
        let number = start + by * count as f64;
        if by >= 0.0 && number > end + by * 1e-10 || by < 0.0 && number < end + by * 1e-10 {
            break;
        }
        let separator = if written { separator } else { "" };
        write!(call.out(), "{separator}{number:0width$.decimals$}")?;
        written = true;
        count += 1;
        if by == 0.0 && start > end {
            break;
        }
    }
    if written {
        call.out().write_all(b"\n")?;
    }
    Ok(0)
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

fn decimals(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, decimals)| decimals.len())
}
