//! `cmp`.

use crate::call::{Call, Failure, Outcome};
use crate::options::Options;

pub(super) fn cmp(call: &Call<'_>) -> Outcome {
    let options =
        Options::parse(call.args, "slb", &[("quiet", 's'), ("silent", 's'), ("verbose", 'l')])?;
    let (left, right) = match &options.operands[..] {
        [left] => (left.as_str(), "-"),
        [left, right] => (left.as_str(), right.as_str()),
        _ => return Err(call.usage("[-sl] FILE1 [FILE2]")),
    };
    let trouble = |failure| match failure {
        Failure::Said(sentence, _) => Failure::Said(sentence, 2),
        failure => failure,
    };
    let (one, two) = (call.read(left).map_err(trouble)?, call.read(right).map_err(trouble)?);
    let mut differs = false;
    for (i, (a, b)) in one.iter().zip(&two).enumerate().filter(|(_, (a, b))| a != b) {
        differs = true;
        if options.has('l') {
            writeln!(call.out(), "{} {a:3o} {b:3o}", i + 1)?;
            continue;
        }
        if !options.has('s') {
            let line = one[..i].iter().filter(|byte| **byte == b'\n').count() + 1;
            writeln!(call.out(), "{left} {right} differ: char {}, line {line}", i + 1)?;
        }
        return Ok(1);
    }
    if one.len() != two.len() {
        if !options.has('s') {
            call.complain(format!("EOF on {}", if one.len() < two.len() { left } else { right }));
        }
        return Ok(1);
    }
    Ok(i32::from(differs))
}
