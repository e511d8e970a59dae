//! Calling an exported function by name: `path#export`, with arguments from the command line.
//!
//! Arguments and results of components are WAVE, the text form of component values
//! (<https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave>); a `string` or
//! `char` may also be given bare. Those of core modules are decimal numbers. The results are
//! printed, one to a line.

use std::io::Write;

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{
    Component, ComponentExportIndex, InstancePre as ComponentPre, Type, Val as ComponentVal,
};
use wasmtime::{Engine, ExternType, InstancePre, Module, Store, Val, ValType};

use crate::host::{Host, Preview1};
use crate::imports::list;
use crate::load::Refusal;

/// A function of a core module with its arguments.
pub(crate) struct ModuleCall {
    export: String,
    arguments: Vec<Val>,
    results: Vec<ValType>,
}

impl ModuleCall {
    pub(crate) fn new(
        module: &Module,
        export: &str,
        arguments: &[String],
    ) -> Result<ModuleCall, Refusal> {
        let Some(ExternType::Func(function)) = module.get_export(export) else {
            let exports = module_exports(module);
            return Err(Refusal::NoExport { name: export.to_owned(), exports });
        };
        let refuse = |problem| Refusal::Arguments { name: export.to_owned(), problem };
        let parameters: Vec<_> = function.params().collect();
        let kinds = list(parameters.iter().map(ToString::to_string));
        check_count(parameters.len(), &kinds, arguments.len()).map_err(refuse)?;
        let values = parameters.iter().zip(arguments).map(|(kind, word)| number(kind, word));
        Ok(ModuleCall {
            export: export.to_owned(),
            arguments: values.collect::<Result<_, _>>().map_err(refuse)?,
            results: function.results().collect(),
        })
    }

    pub(crate) async fn run(
        &self,
        store: &mut Store<Preview1>,
        pre: &InstancePre<Preview1>,
    ) -> wasmtime::Result<()> {
        let instance = pre.instantiate_async(&mut *store).await?;
        // A reactor sets itself up in `_initialize` before anything else is called.
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            initialize.call_async(&mut *store, ()).await?;
        }
        let function = instance
            .get_func(&mut *store, &self.export)
            .ok_or_else(|| wasmtime::Error::msg("the function is gone"))?;
        let mut results: Vec<_> = self.results.iter().map(zero).collect();
        function.call_async(&mut *store, &self.arguments, &mut results).await?;
        print(results.iter().map(show_number))
    }
}

/// A function of a component with its arguments.
pub(crate) struct ComponentCall {
    index: ComponentExportIndex,
    arguments: Vec<ComponentVal>,
    results: usize,
}

impl ComponentCall {
    pub(crate) fn new(
        engine: &Engine,
        component: &Component,
        export: &str,
        arguments: &[String],
    ) -> Result<ComponentCall, Refusal> {
        let functions = functions(engine, component);
        let mut found = functions.iter().filter(|function| function.is_named(export));
        let (function, index) = match (found.next(), found.next()) {
            (Some(function), None) => (function, function.index(component)),
            (Some(_), Some(_)) => {
                let names = list(found_names(&functions, export));
                let problem = format!("is ambiguous: the component exports {names}");
                return Err(Refusal::Arguments { name: export.to_owned(), problem });
            }
            (None, _) => {
                let exports = component_exports(engine, component);
                return Err(Refusal::NoExport { name: export.to_owned(), exports });
            }
        };
        let refuse = |problem| Refusal::Arguments { name: export.to_owned(), problem };
        let index = index.ok_or_else(|| refuse("cannot be looked up".to_owned()))?;
        let parameters: Vec<_> = function.kind.params().collect();
        let kinds =
            list(parameters.iter().map(|(name, kind)| format!("`{name}`: {}", show_type(kind))));
        check_count(parameters.len(), &kinds, arguments.len()).map_err(refuse)?;
        let values = parameters
            .iter()
            .zip(arguments)
            .map(|((name, kind), word)| value(name, kind, word))
            .collect::<Result<_, _>>()
            .map_err(refuse)?;
        Ok(ComponentCall { index, arguments: values, results: function.kind.results().len() })
    }

    /// The error is that of a function which returned one.
    pub(crate) async fn run(
        &self,
        store: &mut Store<Host>,
        pre: &ComponentPre<Host>,
    ) -> wasmtime::Result<Result<(), ()>> {
        let instance = pre.instantiate_async(&mut *store).await?;
        let function = instance
            .get_func(&mut *store, self.index)
            .ok_or_else(|| wasmtime::Error::msg("the function is gone"))?;
        let mut results = vec![ComponentVal::Bool(false); self.results];
        function.call_async(&mut *store, &self.arguments, &mut results).await?;
        let failed = results.iter().any(|value| matches!(value, ComponentVal::Result(Err(_))));
        print(
            results.iter().map(|value| value.to_wave().unwrap_or_else(|error| error.to_string())),
        )?;
        Ok(if failed { Err(()) } else { Ok(()) })
    }
}

/// A function that a component exports, directly or in an interface.
struct Function {
    interface: Option<String>,
    name: String,
    kind: ComponentFunc,
}

impl Function {
    /// `name`, `interface#name`, `interface.name`; of the interface also without its version and
    /// without its package.
    fn is_named(&self, wanted: &str) -> bool {
        let Some(interface) = &self.interface else { return self.name == wanted };
        if self.name == wanted {
            return true;
        }
        let Some(wanted) = wanted.strip_suffix(self.name.as_str()) else { return false };
        let Some(wanted) = wanted.strip_suffix(['#', '.']) else { return false };
        let unversioned = interface.split('@').next().unwrap_or(interface);
        let bare = unversioned.rsplit('/').next().unwrap_or(unversioned);
        [interface.as_str(), unversioned, bare].contains(&wanted)
    }

    fn index(&self, component: &Component) -> Option<ComponentExportIndex> {
        let interface = match &self.interface {
            Some(interface) => Some(component.get_export_index(None, interface)?),
            None => None,
        };
        component.get_export_index(interface.as_ref(), &self.name)
    }

    fn full_name(&self) -> String {
        match &self.interface {
            Some(interface) => format!("`{interface}#{}`", self.name),
            None => format!("`{}`", self.name),
        }
    }
}

fn found_names<'a>(
    functions: &'a [Function],
    export: &'a str,
) -> impl Iterator<Item = String> + 'a {
    functions.iter().filter(move |function| function.is_named(export)).map(Function::full_name)
}

fn functions(engine: &Engine, component: &Component) -> Vec<Function> {
    let mut functions = Vec::new();
    for (name, export) in component.component_type().exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(kind) => {
                functions.push(Function { interface: None, name: name.to_owned(), kind });
            }
            ComponentItem::ComponentInstance(interface) => {
                for (function, export) in interface.exports(engine) {
                    let ComponentItem::ComponentFunc(kind) = export.ty else { continue };
                    let interface = Some(name.to_owned());
                    functions.push(Function { interface, name: function.to_owned(), kind });
                }
            }
            _ => {}
        }
    }
    functions
}

pub(crate) fn component_exports(engine: &Engine, component: &Component) -> String {
    list(functions(engine, component).iter().map(Function::full_name))
}

pub(crate) fn module_exports(module: &Module) -> String {
    let functions = module.exports().filter(|export| matches!(export.ty(), ExternType::Func(_)));
    list(functions.map(|export| format!("`{}`", export.name())))
}

fn check_count(wanted: usize, kinds: &str, given: usize) -> Result<(), String> {
    if wanted == given {
        return Ok(());
    }
    let arguments = if wanted == 1 { "argument" } else { "arguments" };
    let given = match given {
        0 => "none is given".to_owned(),
        1 => "1 is given".to_owned(),
        given => format!("{given} are given"),
    };
    match wanted {
        0 => Err(format!("takes no arguments, and {given}")),
        _ => Err(format!("takes {wanted} {arguments} ({kinds}), and {given}")),
    }
}

fn number(kind: &ValType, word: &str) -> Result<Val, String> {
    // Unsigned numbers are as good as their two's complement: Wasm does not tell them apart.
    let value = match kind {
        ValType::I32 => word
            .parse::<i32>()
            .or_else(|_| word.parse::<u32>().map(u32::cast_signed))
            .ok()
            .map(Val::I32),
        ValType::I64 => word
            .parse::<i64>()
            .or_else(|_| word.parse::<u64>().map(u64::cast_signed))
            .ok()
            .map(Val::I64),
        ValType::F32 => word.parse::<f32>().ok().map(Val::from),
        ValType::F64 => word.parse::<f64>().ok().map(Val::from),
        ValType::V128 | ValType::Ref(_) => {
            return Err(format!(
                "takes a value of type {kind}, which cannot be written on a command line"
            ));
        }
    };
    value.ok_or_else(|| format!("takes a number of type {kind}, and `{word}` is none"))
}

fn zero(kind: &ValType) -> Val {
    Val::default_for_ty(kind).unwrap_or(Val::I32(0))
}

fn show_number(value: &Val) -> String {
    match value {
        Val::I32(number) => number.to_string(),
        Val::I64(number) => number.to_string(),
        Val::F32(bits) => show_float(f32::from_bits(*bits).into(), f32::from_bits(*bits)),
        Val::F64(bits) => show_float(f64::from_bits(*bits), f64::from_bits(*bits)),
        Val::V128(bits) => format!("{:#034x}", bits.as_u128()),
        other => format!("{other:?}"),
    }
}

/// In digits as long as these are fewer than the exponent's form would need.
fn show_float(size: f64, number: impl std::fmt::Display + std::fmt::LowerExp) -> String {
    match size.abs() {
        size if size != 0.0 && size.is_finite() && !(1e-5..1e16).contains(&size) => {
            format!("{number:e}")
        }
        _ => number.to_string(),
    }
}

fn value(name: &str, kind: &Type, word: &str) -> Result<ComponentVal, String> {
    match kind {
        Type::String if !word.starts_with('"') => return Ok(ComponentVal::String(word.to_owned())),
        Type::Char if word.chars().count() == 1 => {
            return Ok(ComponentVal::Char(word.chars().next().unwrap_or_default()));
        }
        _ => {}
    }
    ComponentVal::from_wave(kind, word).map_err(|error| {
        format!(
            "takes a value of type {} as `{name}`, and `{word}` is none: {error:#}",
            show_type(kind)
        )
    })
}

fn show_type(kind: &Type) -> &'static str {
    match kind {
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::List(_) => "list",
        Type::Record(_) => "record",
        Type::Tuple(_) => "tuple",
        Type::Variant(_) => "variant",
        Type::Enum(_) => "enum",
        Type::Option(_) => "option",
        Type::Result(_) => "result",
        Type::Flags(_) => "flags",
        Type::Own(_) | Type::Borrow(_) => "resource",
        _ => "value",
    }
}

/// A closed standard output is the reader's choice, as for any program in a pipeline.
fn print(lines: impl Iterator<Item = String>) -> wasmtime::Result<()> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
