//! Which files to write on a node of this kind, and which file to try before.

use std::path::{Path, PathBuf};

use toml::Table;

use crate::edit::{self, NotEdited, Own};
use crate::effective::{CRI_1, CRI_2, Effective};
use crate::{Distribution, Release};

/// The name of our file, after what comes with a number and before what an administrator wants to win.
const NAME: &str = "50-wherry.toml";
/// A folder of our own beside the main file, where that imports none: what others left in `conf.d` stays unread.
pub const FOLDER: &str = "wherry.d";

/// A node, as far as it decides anything.
#[derive(Clone, Debug)]
pub struct Node {
    pub distribution: Distribution,
    pub release: Release,
    /// The main file, whether it exists or not, and then what is imported, in the order in which it is read.
    pub files: Vec<File>,
    /// Templates that the main file is made of, for those who have such.
    pub templates: Vec<File>,
    /// What the files come to now.
    pub effective: Effective,
    /// Which of the handlers in them are ours.
    pub own: Own,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: PathBuf,
    /// None if it does not exist.
    pub text: Option<String>,
}

impl File {
    fn content(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}

/// A handler to be there.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub name: &'a str,
    /// The shim, by the path that stays.
    pub program: &'a str,
    /// Its options, as TOML. Empty for none.
    pub options: &'a str,
}

/// How containerd is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A file in a folder that is read anyway.
    DropIn { file: PathBuf },
    /// A file, and a line in the main file that has it read.
    Import { file: PathBuf, main: PathBuf },
    /// An edit of the file whose section counts.
    InPlace { file: PathBuf },
    /// Lines in the template that the main file is written from.
    Template { file: PathBuf, is_toml: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The node's system has another way.
    #[error("{distribution} does not let its containerd be configured from here: {instead}")]
    ElsewhereOnly { distribution: String, instead: &'static str },
    #[error("containerd {0} is too old: 1.7 is the first that is supported")]
    TooOld(Release),
    #[error(
        "{file} is written in version 1 of the configuration, which containerd {release} only reads for \
         old times' sake: write it anew with `containerd config migrate`"
    )]
    FirstVersion { file: PathBuf, release: Release },
    #[error("the CRI plugin of this containerd is disabled: Kubernetes does not run on it")]
    NoCri,
    #[error("{file}: {source}")]
    NotEdited { file: PathBuf, source: NotEdited },
    #[error("{file} is a template without `{{{{ template \"base\" . }}}}`, and names no version")]
    OddTemplate { file: PathBuf },
}

/// A file as it is to be; None is not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: PathBuf,
    pub text: Option<String>,
}

/// What to do, in this order: after each of the changes containerd does as before or as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub way: Way,
    pub changes: Vec<Change>,
    /// What containerd will read: the main file first. To be tried in another place, with the imports listed.
    pub candidate: Vec<File>,
}

/// How this node's containerd can be told of a handler.
///
/// # Errors
/// A node that can't be changed safely, and what to do instead.
pub fn way(node: &Node) -> Result<Way, Refusal> {
    elsewhere(&node.distribution)?;
    if node.release < Release(1, 7) {
        return Err(Refusal::TooOld(node.release));
    }
    if node.effective.cri().is_none() {
        return Err(Refusal::NoCri);
    }
    let main = &node.files[0];
    match &node.distribution {
        Distribution::K0s => {
            return Ok(Way::DropIn { file: Path::new("/etc/k0s/containerd.d/wherry.toml").into() });
        }
        Distribution::MicroK8s(folder) => {
            let file = folder.join("containerd-template.toml");
            return Ok(Way::Template { file, is_toml: true });
        }
        Distribution::K3s(folder) | Distribution::Rke2(folder) => {
            return Ok(match imported_folder(node) {
                Some(file) => Way::DropIn { file },
                None => Way::Template { file: template(node, folder)?, is_toml: false },
            });
        }
        _ => {}
    }
    if !node.release.merges() {
        let file = owner(node).path.clone();
        if main.text.is_some() && version(main)? < 2 {
            return Err(Refusal::FirstVersion { file: main.path.clone(), release: node.release });
        }
        return Ok(Way::InPlace { file });
    }
    Ok(match imported_folder(node) {
        Some(file) => Way::DropIn { file },
        None => Way::Import { file: own_folder(node).join(NAME), main: main.path.clone() },
    })
}

fn elsewhere(distribution: &Distribution) -> Result<(), Refusal> {
    let instead = match distribution {
        Distribution::Talos => {
            "add a system extension with the shim, and a CRI customization that names the handler"
        }
        Distribution::Bottlerocket => "build the shim and its handler into the node's image",
        Distribution::Cos => {
            "its disk is read-only and not executable: use an Ubuntu node image, or another pool"
        }
        _ => return Ok(()),
    };
    Err(Refusal::ElsewhereOnly { distribution: distribution.to_string(), instead })
}

/// Our file in a folder of which the files import any `.toml`. In 1.x that would replace what other files say.
///
/// What the files say counts, and not `imports` in the dump: from 2.2 on that has `/etc/containerd/conf.d/*.toml` for
/// every file, and it is read of none that does not name it (2.4.2, `LoadConfigWithPlugins` follows the imports of
/// what it has loaded, and the pattern is in the defaults only).
fn imported_folder(node: &Node) -> Option<PathBuf> {
    let folders = node.files.iter().flat_map(|file| {
        let imports = edit::imports(file.content()).unwrap_or_default();
        let any = imports.into_iter().filter_map(|import| {
            // A pattern that is not absolute is taken from its file's folder. One that takes only some names, or
            // folders by a pattern, may not take ours.
            let folder = import.strip_suffix("*.toml")?;
            let takes_any = folder.is_empty() || folder.ends_with('/');
            let takes_any = takes_any && !folder.contains(['*', '?', '[', '\\']);
            takes_any.then_some(file.path.parent()?.join(folder.trim_end_matches('/')))
        });
        any.collect::<Vec<_>>()
    });
    // Ours is ours, whatever was added since; of others the last, since nothing is read after it.
    let folder = folders.max_by_key(|folder| *folder == own_folder(node))?;
    node.release.merges().then(|| folder.join(NAME))
}

fn own_folder(node: &Node) -> PathBuf {
    node.files[0].path.with_file_name(FOLDER)
}

/// The file whose section of the CRI plugin counts in 1.x: the last that has one (containerd PR 7982).
fn owner(node: &Node) -> &File {
    let has_section =
        |file: &&File| [CRI_1, CRI_2].iter().any(|name| edit::has_section(file.content(), name));
    node.files.iter().rev().find(has_section).unwrap_or(&node.files[0])
}

/// The name by which the plugin is known in files next to the main one, which decides: a name of another version is
/// passed over, or turns the whole file into that version's.
fn plugin(node: &Node) -> Result<&'static str, Refusal> {
    let main = &node.files[0];
    Ok(match main.text {
        Some(_) if version(main)? == 2 => CRI_1,
        _ if node.release.merges() => CRI_2,
        _ => CRI_1,
    })
}

fn version(file: &File) -> Result<u32, Refusal> {
    edit::version(file.content()).map_err(|source| not_edited(&file.path, source))
}

fn not_edited(file: &Path, source: NotEdited) -> Refusal {
    Refusal::NotEdited { file: file.to_owned(), source }
}

/// Which of its templates k3s has written the main file from: it has one for each version.
fn template(node: &Node, folder: &Path) -> Result<PathBuf, Refusal> {
    let name = match version(&node.files[0])? {
        2 => "config.toml.tmpl",
        _ => "config-v3.toml.tmpl",
    };
    Ok(folder.join(name))
}

/// What brings these handlers to the node.
///
/// # Errors
/// A node that can't be changed safely, or files that can't be edited.
pub fn install(node: &Node, wanted: &[Wanted<'_>]) -> Result<Plan, Refusal> {
    let way = way(node)?;
    let plugin = plugin(node)?;
    let edited = |file: &File| {
        let others = unnamed(node, file, plugin);
        let text = match (&file.text, node.release.merges()) {
            // A file that is new says its version.
            (None, false) => "version = 2\n",
            (None, true) => "version = 3\n",
            (Some(text), _) => text,
        };
        edit::with_handlers(text, plugin, wanted, &others, &node.own)
            .map_err(|e| not_edited(&file.path, e))
    };
    if let Way::DropIn { file } | Way::Import { file, .. } = &way {
        free(node, file, wanted)?;
    }
    let changes = match &way {
        Way::DropIn { file } => vec![changed(file, drop_in(node, plugin, wanted)?)],
        Way::Import { file, main } => {
            let text = node.files[0].text.as_deref().unwrap_or("version = 3\n");
            let import = own_folder(node).join("*.toml").display().to_string();
            let text = edit::with_import(text, &import).map_err(|e| not_edited(main, e))?;
            // Nobody reads the file before the line is there.
            vec![changed(file, drop_in(node, plugin, wanted)?), changed(main, text)]
        }
        Way::InPlace { file } => vec![changed(file, edited(find(&node.files, file))?)],
        Way::Template { file, is_toml: true } => {
            vec![changed(file, edited(find(&node.templates, file))?)]
        }
        Way::Template { file, is_toml: false } => {
            let before = node.templates.iter().find(|one| one.path == *file);
            let before = before.and_then(|one| one.text.as_deref());
            let text = before.unwrap_or("{{ template \"base\" . }}\n\n");
            if !text.contains("template \"base\"") && !text.contains("version") {
                return Err(Refusal::OddTemplate { file: file.clone() });
            }
            let block = drop_in(node, plugin, wanted)?;
            vec![changed(file, edit::with_block(text, &block))]
        }
    };
    let candidate = candidate(node, &way, &changes, |file| edited(file))?;
    Ok(Plan { way, changes, candidate })
}

/// What takes all handlers of ours off the node, where bytes of before are not known or no longer fit.
///
/// # Errors
/// Files that can't be edited.
pub fn remove(node: &Node) -> Result<Plan, Refusal> {
    let way = way(node)?;
    let plugin = plugin(node)?;
    let edited = |file: &File| {
        edit::without_handlers(file.content(), plugin, &node.own)
            .map_err(|e| not_edited(&file.path, e))
    };
    let mut changes = match &way {
        Way::DropIn { file } if file.parent() == Some(&own_folder(node)) => {
            let main = &node.files[0];
            let import = own_folder(node).join("*.toml").display().to_string();
            let text = edit::without_import(main.content(), &import);
            let text = text.map_err(|e| not_edited(&main.path, e))?;
            vec![changed(&main.path, text), gone(file)]
        }
        Way::DropIn { file } => vec![gone(file)],
        Way::Import { file, .. } => vec![gone(file)],
        Way::InPlace { file } => vec![changed(file, edited(find(&node.files, file))?)],
        Way::Template { file, is_toml } => {
            let before = find(&node.templates, file);
            let text = match is_toml {
                true => edited(before)?,
                false => edit::without_block(before.content()),
            };
            vec![changed(file, text)]
        }
    };
    // What is not there has nothing of ours in it, and an empty file is another thing than none.
    let all = || node.files.iter().chain(&node.templates);
    let is_there = |path: &Path| all().any(|file| file.path == path && file.text.is_some());
    changes.retain(|change| change.text.is_none() || is_there(&change.path));
    let candidate = candidate(node, &way, &changes, |file| edited(file))?;
    Ok(Plan { way, changes, candidate })
}

/// That no other file has a handler of these names: merged with ours it would be neither, and removing ours would
/// leave it.
fn free(node: &Node, file: &Path, wanted: &[Wanted<'_>]) -> Result<(), Refusal> {
    for other in node.files.iter().filter(|other| other.path != file) {
        let taken = wanted.iter().find(|one| {
            let has = |plugin| edit::has_anothers(other.content(), plugin, one.name, &node.own);
            [CRI_1, CRI_2].into_iter().any(has)
        });
        if let Some(one) = taken {
            return Err(not_edited(&other.path, NotEdited::Taken(one.name.to_owned())));
        }
    }
    Ok(())
}

fn changed(path: &Path, text: String) -> Change {
    Change { path: path.to_owned(), text: Some(text) }
}

fn gone(path: &Path) -> Change {
    Change { path: path.to_owned(), text: None }
}

fn find<'a>(files: &'a [File], path: &Path) -> &'a File {
    static NONE: File = File { path: PathBuf::new(), text: None };
    files.iter().find(|file| file.path == path).unwrap_or(&NONE)
}

/// In 1.x the first handler that a file names replaces all that containerd has by default: then those are named too,
/// as they are.
fn unnamed(node: &Node, file: &File, plugin: &str) -> Table {
    if node.release.merges() || edit::names_handlers(file.content(), plugin) {
        return Table::new();
    }
    let is_ours = |name: &str, one: &toml::Value| {
        let told = |key| one.get(key).and_then(toml::Value::as_str);
        node.own.has(name, told("runtime_type"), told("runtime_path"))
    };
    let all = node.effective.cri().map(|cri| cri.handlers.clone()).unwrap_or_default();
    all.into_iter().filter(|(name, one)| !is_ours(name, one)).collect()
}

/// Our file. Without a header: with one, releases before 2.3 take the sections of files of another version for
/// defaults. k0s reads the files itself, and wants one.
fn drop_in(node: &Node, plugin: &str, wanted: &[Wanted<'_>]) -> Result<String, Refusal> {
    let header = match (&node.distribution, plugin) {
        (Distribution::K0s, CRI_1) => "version = 2\n\n",
        (Distribution::K0s, _) => "version = 3\n\n",
        _ => "",
    };
    let note = "# Written by wherry-node, and removed by it. Change the WasmShim instead.\n";
    let sections = edit::with_handlers("", plugin, wanted, &Table::new(), &node.own);
    let sections = sections.map_err(|source| not_edited(Path::new(NAME), source))?;
    Ok(format!("{note}{header}{sections}"))
}

/// The files as containerd will read them.
fn candidate(
    node: &Node,
    way: &Way,
    changes: &[Change],
    edited: impl Fn(&File) -> Result<String, Refusal>,
) -> Result<Vec<File>, Refusal> {
    let mut files = node.files.clone();
    let merged_by_others =
        matches!(way, Way::Template { .. }) || node.distribution == Distribution::K0s;
    if merged_by_others {
        let at = owner(node).path.clone();
        if let Some(file) = files.iter_mut().find(|file| file.path == at) {
            file.text = Some(edited(file)?);
        }
    } else {
        for change in changes {
            match files.iter_mut().find(|file| file.path == change.path) {
                Some(file) => file.text.clone_from(&change.text),
                None => files.push(File { path: change.path.clone(), text: change.text.clone() }),
            }
        }
    }
    files.retain(|file| file.text.is_some());
    Ok(files)
}

impl Plan {
    /// The candidate for a folder of its own: the text of each file, the main one first, each with the name that it
    /// has there. The main one names all others, in the order in which they are read now; they name none.
    ///
    /// # Errors
    /// Files that can't be edited.
    pub fn in_folder(&self, folder: &Path) -> Result<Vec<(PathBuf, String)>, Refusal> {
        let name = |at: usize| folder.join(format!("{at:02}.toml"));
        let rest: Vec<String> =
            (1..self.candidate.len()).map(|at| name(at).display().to_string()).collect();
        let written = self.candidate.iter().enumerate().map(|(at, file)| {
            let imports = if at == 0 { &rest[..] } else { &[] };
            let text = edit::with_imports(file.content(), imports);
            Ok((name(at), text.map_err(|source| not_edited(&file.path, source))?))
        });
        written.collect()
    }
}
