//! The report of a scan: a page in one file, which asks nothing of any other place.

mod alerts;
mod chart;
mod coverage;
mod noise;
mod page;
mod quiet;
mod text;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process;

use super::summary::Summary;

/// Writes the page to a file, at once: whoever looks at the file sees the old one or the new one. A file that is there keeps
/// its permissions, and the link to it.
pub(super) fn write(summary: &Summary, file: &Path) -> io::Result<()> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let name = file.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", process::id()));
    let new = file.with_file_name(hidden);
    let write = |mut new: File| {
        if let Ok(old) = file.metadata() {
            new.set_permissions(old.permissions())?;
        }
        new.write_all(page::page(summary).as_bytes())?;
        new.sync_all()
    };
    let written = File::create_new(&new).and_then(write).and_then(|()| fs::rename(&new, &file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}
