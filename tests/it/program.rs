//! The program as a person runs it.

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::world::{CONFIG, configuration};
use crate::{PROGRAM, path};

/// A finished run of the program.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// The alerts that `scan` printed: (subject, body).
    pub fn alerts(&self) -> Vec<(&str, &str)> {
        let alerts = self.stdout.split("Subject: ").skip(1).map(|alert| alert.split_once('\n').unwrap());
        alerts.map(|(subject, body)| (subject, body.strip_suffix("\n\n").unwrap_or(body))).collect()
    }

    pub fn subjects(&self) -> Vec<&str> {
        self.alerts().into_iter().map(|alert| alert.0).collect()
    }
}

/// Runs the program in a folder.
pub fn run_in(folder: &Path, arguments: &[&str], stdin: Vec<u8>) -> Run {
    let mut command = Command::new(PROGRAM);
    let output = command
        .env_clear()
        .current_dir(folder)
        .args(arguments)
        .write_stdin(stdin)
        .output()
        .expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the program at the top of this repository, where `filter_config.json` is.
pub fn run(arguments: &[&str]) -> Run {
    run_in(&path(""), arguments, Vec::new())
}

/// A folder with the configuration of this repository, without its limit, and these files.
pub fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in [(CONFIG, &configuration()[..])].iter().chain(files) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}
