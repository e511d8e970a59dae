//! containerd's release.

use std::fmt;

/// Major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32);

impl Release {
    /// From the line that `containerd --version` prints, whatever the packager made of it:
    /// `containerd github.com/containerd/containerd/v2 2.1.9+unknown`.
    pub fn of(line: &str) -> Option<Release> {
        line.split_whitespace().find_map(|word| {
            let word = word.strip_prefix('v').unwrap_or(word);
            let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(str::parse);
            let is_one = word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
            is_one.then(|| Some(Release(numbers.next()?.ok()?, numbers.next()?.ok()?)))?
        })
    }

    /// Whether files are merged setting by setting, and not plugin by plugin (containerd PR 9982, in 2.0).
    pub fn merges(self) -> bool {
        self >= Release(2, 0)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_packager_are_read() {
        let of = |line: &str| Release::of(&format!("containerd github.com/containerd/{line}"));
        assert_eq!(of("containerd 1.7.24~ds1 1.7.24~ds1-6+deb13u1"), Some(Release(1, 7)));
        assert_eq!(of("containerd/v2 2.1.9+unknown "), Some(Release(2, 1)));
        assert_eq!(of("containerd/v2 v2.4.2 "), Some(Release(2, 4)));
        assert_eq!(of("k3s-io/containerd v1.7.27-k3s1 abc"), Some(Release(1, 7)));
        assert_eq!(of("containerd dev"), None);
        assert!(Release(1, 10) < Release(2, 0) && Release(2, 0).merges());
    }
}
