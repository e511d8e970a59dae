//! What proc_pid_mountinfo(5) says of a mount.

use std::path::PathBuf;

/// A line of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mounted<'a> {
    /// The part of its file system that is mounted, as it is written there.
    pub(crate) part: &'a str,
    pub(crate) point: PathBuf,
    /// Options of the mount, with commas between.
    pub(crate) options: &'a str,
    pub(crate) kind: &'a str,
    /// Options of its file system, with commas between.
    pub(crate) of_file_system: &'a str,
}

impl Mounted<'_> {
    pub(crate) fn is_read_only(&self) -> bool {
        let says_so = |options: &str| options.split(',').any(|option| option == "ro");
        says_so(self.options) || says_so(self.of_file_system)
    }
}

pub(crate) fn parse(table: &str) -> impl Iterator<Item = Mounted<'_>> {
    table.lines().filter_map(line)
}

fn line(line: &str) -> Option<Mounted<'_>> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let mut file_system = file_system.split(' ');
    Some(Mounted {
        part: mount.next()?,
        point: unescape(mount.next()?).into(),
        options: mount.next()?,
        kind: file_system.next()?,
        of_file_system: file_system.nth(1)?,
    })
}

/// proc(5) writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    let (mut plain, mut rest) = (String::new(), field);
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 4).and_then(|d| u8::from_str_radix(d, 8).ok());
        match digits {
            Some(byte) => {
                plain.push(byte as char);
                rest = &rest[at + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_proc_writes_them() {
        let table = "\
50 40 0:90 / /proc rw,nosuid - proc proc rw
52 40 0:4 /12/fd /a\\040b ro,relatime shared:3 master:1 - tmpfs none rw,size=4k
not a line of it
";
        let found: Vec<_> = parse(table).collect();
        let [first, second] = &found[..] else { panic!("{found:?}") };
        assert!(!first.is_read_only() && second.is_read_only());
        let expected = Mounted {
            part: "/12/fd",
            point: "/a b".into(),
            options: "ro,relatime",
            kind: "tmpfs",
            of_file_system: "rw,size=4k",
        };
        assert_eq!(*second, expected);
    }
}
