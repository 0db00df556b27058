//! `packs`: lists the built-in packs of rules, or prints one.

use std::process::ExitCode;

use super::console::{WRONG_INPUT, print, say_error};
use crate::rules::{packs, suggestion};

pub(super) fn show(name: Option<&str>) -> ExitCode {
    let Some(name) = name else {
        let list = packs::NAMES.iter().map(|name| format!("{name:10}{}\n", packs::purpose(name)));
        return print(&list.collect::<String>(), ExitCode::SUCCESS);
    };
    if let Some(file) = packs::file(name) {
        return print(&file, ExitCode::SUCCESS);
    }
    say_error(&format!("the pack `{name}` is not known{}", suggestion(name, &packs::NAMES)));
    ExitCode::from(WRONG_INPUT)
}
