//! Edits of a file that is not ours: everything else in it stays as it was, to the byte.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::effective::RUNTIME;
use crate::plan::Wanted;

/// Why a file can't be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEdited {
    #[error("it is no TOML: {0}")]
    NoToml(String),
    #[error("{0} is no table in it")]
    NoTable(String),
    #[error("its imports are no list")]
    NoList,
    #[error(
        "it has a handler {0} that somebody else has set up: take it out of there and restart containerd, \
         or give the WasmShim's handler another name"
    )]
    Taken(String),
    #[error("the options of the handler {0} are no TOML: {1}")]
    Options(String, String),
}

/// What tells our handlers from others of the same runtime, as a person sets them up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The program that ours name, and nobody else's.
    pub program: String,
    /// Handlers that are known to be ours, whatever has become of them.
    pub handlers: Vec<String>,
}

impl Own {
    pub(crate) fn has(&self, name: &str, kind: Option<&str>, program: Option<&str>) -> bool {
        let is_known = self.handlers.iter().any(|known| known == name);
        is_known || (kind == Some(RUNTIME) && program == Some(&self.program))
    }

    fn has_item(&self, name: &str, item: &Item) -> bool {
        let told = |key| item.get(key).and_then(Item::as_str);
        self.has(name, told("runtime_type"), told("runtime_path"))
    }
}

pub(crate) fn parse(text: &str) -> Result<DocumentMut, NotEdited> {
    text.parse().map_err(|e: toml_edit::TomlError| NotEdited::NoToml(e.message().to_owned()))
}

/// The number that the file gives itself. One without is of the first version.
///
/// # Errors
/// Text that is no TOML.
pub fn version(text: &str) -> Result<u32, NotEdited> {
    let number = parse(text)?.get("version").and_then(Item::as_integer);
    Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(1))
}

/// Whether the file has a section of this plugin.
pub(crate) fn has_section(text: &str, plugin: &str) -> bool {
    let has = |document: DocumentMut| document.get("plugins")?.get(plugin).map(|_| ());
    parse(text).ok().and_then(has).is_some()
}

/// Whether the file names any handler of this plugin.
pub(crate) fn names_handlers(text: &str, plugin: &str) -> bool {
    let named = |document: DocumentMut| {
        let runtimes = document.get("plugins")?.get(plugin)?.get("containerd")?.get("runtimes")?;
        runtimes.as_table_like().map(|runtimes| !runtimes.is_empty())
    };
    parse(text).ok().and_then(named).unwrap_or(false)
}

/// Whether the file has a handler of this name that is not ours.
pub(crate) fn has_anothers(text: &str, plugin: &str, name: &str, own: &Own) -> bool {
    let found = |document: DocumentMut| {
        let runtimes = document.get("plugins")?.get(plugin)?.get("containerd")?.get("runtimes")?;
        runtimes.get(name).map(|item| !own.has_item(name, item))
    };
    parse(text).ok().and_then(found).unwrap_or(false)
}

/// The file with these handlers in it, and those of ours that are not among them out of it.
pub(crate) fn with_handlers(
    text: &str,
    plugin: &str,
    wanted: &[Wanted<'_>],
    others: &toml::Table,
    own: &Own,
) -> Result<String, NotEdited> {
    let mut document = parse(&without_handlers(text, plugin, own)?)?;
    let root = document.as_table_mut();
    let at = ["plugins", plugin, "containerd", "runtimes"];
    let mut runtimes: &mut dyn TableLike = root;
    let mut is_inline = false;
    for (depth, key) in at.iter().enumerate() {
        let item = runtimes.entry(key).or_insert_with(|| {
            let mut table = Table::new();
            // Without a header of its own.
            table.set_implicit(true);
            if is_inline { Item::Value(InlineTable::new().into()) } else { Item::Table(table) }
        });
        is_inline |= item.is_value();
        let name = || at[..=depth].join(".");
        runtimes = item.as_table_like_mut().ok_or_else(|| NotEdited::NoTable(name()))?;
    }
    for (name, table) in others {
        let text = table.as_table().map(ToString::to_string).unwrap_or_default();
        runtimes.insert(name, shaped(loose(&text)?, is_inline));
    }
    for one in wanted {
        if runtimes.contains_key(one.name) {
            return Err(NotEdited::Taken(one.name.to_owned()));
        }
        runtimes.insert(one.name, shaped(handler(one)?, is_inline));
    }
    Ok(document.to_string())
}

/// A table of its own text, which has no place in a file yet.
fn loose(text: &str) -> Result<Table, NotEdited> {
    fn forget(table: &mut Table) {
        table.set_position(None);
        table.iter_mut().filter_map(|(_, item)| item.as_table_mut()).for_each(forget);
    }
    let mut table = parse(text)?.into_table();
    forget(&mut table);
    Ok(table)
}

fn shaped(table: Table, is_inline: bool) -> Item {
    match is_inline {
        true => Item::Value(Value::InlineTable(table.into_inline_table())),
        false => Item::Table(table),
    }
}

/// The section of one handler.
fn handler(wanted: &Wanted<'_>) -> Result<Table, NotEdited> {
    let no_options = |e: NotEdited| NotEdited::Options(wanted.name.to_owned(), e.to_string());
    let options = loose(wanted.options).map_err(no_options)?;
    let mut table = Table::new();
    table.insert("runtime_type", RUNTIME.into());
    table.insert("runtime_path", wanted.program.into());
    // Policies are annotations of pods, and containerd hands over no others.
    table.insert("pod_annotations", Array::from_iter(["wherry.dev/*"]).into());
    if !options.is_empty() {
        table.insert("options", Item::Table(options));
    }
    Ok(table)
}

/// The file without handlers of ours. One that has none is left as it is, whatever it is.
pub(crate) fn without_handlers(text: &str, plugin: &str, own: &Own) -> Result<String, NotEdited> {
    let mut document = parse(text)?;
    let root = document.as_table_mut();
    let at = ["plugins", plugin, "containerd", "runtimes"];
    if drop_ours(root, &at, own) { Ok(document.to_string()) } else { Ok(text.to_owned()) }
}

/// Drops our handlers, and the tables above them which are in the file for nothing else. Whether there were any.
fn drop_ours(table: &mut dyn TableLike, at: &[&str], own: &Own) -> bool {
    let Some((key, rest)) = at.split_first() else {
        let ours = table.iter().filter(|(name, item)| own.has_item(name, item));
        let ours = ours.map(|(name, _)| name.to_owned());
        let ours: Vec<String> = ours.collect();
        ours.iter().for_each(|name| drop(table.remove(name)));
        return !ours.is_empty();
    };
    let Some(item) = table.get_mut(key) else { return false };
    // One with a header, or in braces, was written by somebody.
    let is_implied = item.as_table().is_some_and(Table::is_implicit);
    let Some(below) = item.as_table_like_mut() else { return false };
    let dropped = drop_ours(below, rest, own);
    if dropped && below.is_empty() && is_implied {
        table.remove(key);
    }
    dropped
}

/// What the file imports, as it is written.
///
/// # Errors
/// Text that is no TOML.
pub fn imports(text: &str) -> Result<Vec<String>, NotEdited> {
    let document = parse(text)?;
    let list = document.get("imports").and_then(Item::as_array).into_iter().flatten();
    Ok(list.filter_map(|one| one.as_str().map(str::to_owned)).collect())
}

/// The file with this import, as the last one.
pub(crate) fn with_import(text: &str, import: &str) -> Result<String, NotEdited> {
    let mut document = parse(text)?;
    let item = document.entry("imports").or_insert_with(|| Array::new().into());
    let list = item.as_array_mut().ok_or(NotEdited::NoList)?;
    if list.iter().any(|one| one.as_str() == Some(import)) {
        return Ok(text.to_owned());
    }
    list.push(import);
    Ok(document.to_string())
}

/// The file without it, and without a list that has nothing in it then.
pub(crate) fn without_import(text: &str, import: &str) -> Result<String, NotEdited> {
    let mut document = parse(text)?;
    let Some(list) = document.get_mut("imports").and_then(Item::as_array_mut) else {
        return Ok(text.to_owned());
    };
    let before = list.len();
    list.retain(|one| one.as_str() != Some(import));
    match (before == list.len(), list.is_empty()) {
        (true, _) => return Ok(text.to_owned()),
        (false, true) => drop(document.remove("imports")),
        (false, false) => {}
    }
    Ok(document.to_string())
}

/// These imports in the place of all others.
pub(crate) fn with_imports(text: &str, imports: &[String]) -> Result<String, NotEdited> {
    let mut document = parse(text)?;
    document.remove("imports");
    if !imports.is_empty() {
        document.insert("imports", Array::from_iter(imports).into());
    }
    Ok(document.to_string())
}

/// Our lines in a file that is no TOML but becomes it: a template of k3s.
const BEGIN: &str = "# wherry-node: begin\n";
const END: &str = "# wherry-node: end\n";

pub(crate) fn with_block(template: &str, block: &str) -> String {
    let rest = without_block(template);
    let gap = if rest.is_empty() || rest.ends_with('\n') { "" } else { "\n" };
    format!("{rest}{gap}{BEGIN}{block}{END}")
}

pub(crate) fn without_block(template: &str) -> String {
    let found = template.find(BEGIN).and_then(|from| {
        template[from..].find(END).map(|length| (from, from + length + END.len()))
    });
    match found {
        Some((from, to)) => format!("{}{}", &template[..from], &template[to..]),
        None => template.to_owned(),
    }
}
