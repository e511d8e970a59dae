//! What a containerd that runs was told by its command line, and which files its configuration names.

use std::path::{Path, PathBuf};

/// The value of a flag among the words of a command line, in one word with it or in the next. Go takes one dash or two
/// (package `flag`).
pub fn flag(words: &[String], names: &[&str]) -> Option<String> {
    words.iter().enumerate().find_map(|(at, word)| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let bare = name.trim_start_matches('-');
        let is_named =
            word.starts_with('-') && names.iter().any(|n| n.trim_start_matches('-') == bare);
        is_named.then(|| value.or_else(|| words.get(at + 1).cloned()))?
    })
}

/// The files that `imports` of the file `of` name: relative ones lie beside it, and a pattern, whose stars, question
/// marks and classes are in its last part as people write them, stands for what `list` finds in its folder, in the
/// order of names. Without a star it is a name (containerd, `cmd/containerd/server/config`, `resolveImports`).
pub fn imported(
    of: &Path,
    imports: &[String],
    list: impl Fn(&Path) -> Vec<PathBuf>,
) -> Vec<PathBuf> {
    let folder = of.parent().unwrap_or(Path::new("/"));
    imports.iter().flat_map(|pattern| matching(&folder.join(pattern), &list)).collect()
}

fn matching(pattern: &Path, list: impl Fn(&Path) -> Vec<PathBuf>) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let (true, Some(folder)) = (name.contains('*'), pattern.parent()) else {
        return vec![pattern.to_owned()];
    };
    // A class that is turned round is `[^…]` in Go, and two stars are as good as one.
    let name = name.replace("[^", "[!").replace("**", "*");
    let Ok(name) = glob::Pattern::new(&name) else { return Vec::new() };
    let mut files = list(folder);
    files.retain(|path| name.matches(&path.file_name().unwrap_or_default().to_string_lossy()));
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let told = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            flag(&words, &["-c", "--config"])
        };
        assert_eq!(told("containerd -c /a -a /b").as_deref(), Some("/a"));
        assert_eq!(told("containerd --config=/a").as_deref(), Some("/a"));
        assert_eq!(told("containerd -config /a").as_deref(), Some("/a"));
        assert_eq!(told("containerd --log-level debug"), None);
    }

    #[test]
    fn imports_are_files_or_patterns() {
        let there = ["b.toml", "a.toml", ".c.toml.wherry-new", "d.tmpl"];
        let names = |pattern: &str| {
            let list = |folder: &Path| there.iter().map(|name| folder.join(name)).collect();
            imported(Path::new("/etc/main"), &[pattern.to_owned()], list)
        };
        let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(names("*.toml"), paths(&["/etc/a.toml", "/etc/b.toml"]));
        assert_eq!(names("/conf.d/*.toml"), paths(&["/conf.d/a.toml", "/conf.d/b.toml"]));
        assert_eq!(names("none.toml"), paths(&["/etc/none.toml"]));
        assert_eq!(names("[b-d]*.toml"), paths(&["/etc/b.toml"]));
        assert_eq!(names("[^b]*.toml"), paths(&["/etc/a.toml"]));
        assert_eq!(names("?.to*l"), paths(&["/etc/a.toml", "/etc/b.toml"]));
        assert_eq!(names("x-*.toml"), paths(&[]));
    }
}
