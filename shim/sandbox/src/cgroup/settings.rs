//! One value for one control file, and who asked for it.

use std::path::Path;

use rustix::io::Errno;

use super::write;
use crate::Result;
use crate::error::Doing;

/// A write to a control file, made by a pure function from the OCI spec's resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The v1 controller whose hierarchy has the file; for v2 only what errors name.
    pub(super) controller: &'static str,
    pub(super) file: String,
    pub(super) value: String,
    /// The field of the OCI spec, for errors.
    pub(super) field: &'static str,
    /// Kernels differ: when this file is missing, write that one.
    pub(super) instead: Option<(String, String)>,
    /// Two files that bound each other (memory and memory+swap, quota and period): what is refused
    /// before the next one is written is tried again after it.
    pub(super) again_after_next: bool,
    /// The value is what a kernel without the file does anyway.
    pub(super) may_be_missing: bool,
}

impl Setting {
    pub(super) fn new(
        field: &'static str,
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) -> Setting {
        Setting {
            controller,
            file: file.into(),
            value: value.to_string(),
            field,
            instead: None,
            again_after_next: false,
            may_be_missing: false,
        }
    }

    /// Writes all, each to the folder of its controller.
    pub(super) fn write_all<'a>(
        settings: &[Setting],
        folder: impl Fn(&Setting) -> Result<&'a Path>,
    ) -> Result<()> {
        let mut again: Option<&Setting> = None;
        for setting in settings {
            match setting.write(folder(setting)?) {
                Err(e) if setting.again_after_next && e.errno() == Some(libc::EINVAL) => {
                    again = Some(setting);
                    continue;
                }
                written => written?,
            }
            if let Some(first) = again.take() {
                first.write(folder(first)?)?;
            }
        }
        // The next one was not asked for: tell what the kernel says of the first.
        again.map_or(Ok(()), |last| last.write(folder(last)?))
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let (mut file, mut value) = (&self.file, &self.value);
        let mut written = write(&folder.join(file), value);
        if let (Err(Errno::NOENT), Some((other, other_value))) = (written, &self.instead) {
            (file, value) = (other, other_value);
            written = write(&folder.join(file), value);
        }
        if written == Err(Errno::NOENT) && self.may_be_missing {
            return Ok(());
        }
        written.doing(|| {
            let hint = match written {
                Err(Errno::NOENT) => " (this kernel has no such file)",
                Err(Errno::BUSY) => " (more is in use already)",
                _ => "",
            };
            format!("setting {}: writing {value} to {file} of the cgroup{hint}", self.field)
        })
    }
}

/// As the settings read, one a line.
#[cfg(test)]
pub(super) fn lines(settings: &[Setting]) -> String {
    let line = |s: &Setting| format!("{}/{} = {}\n", s.controller, s.file, s.value);
    settings.iter().map(line).collect()
}
