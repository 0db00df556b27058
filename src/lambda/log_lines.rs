//! The function's log on stdout: each event is one line, whatever names and keys it quotes.

use std::io::{self, Write};

use crate::alert::escape;

/// Writes events of the log. Keys in S3 are anybody's text: a line break in one would begin a line of its own, and such a
/// line could be metrics that keep an alarm silent. In a line of JSON the escapes change nothing, since they are JSON's.
#[derive(Debug, Default)]
pub struct LogLines;

impl Write for LogLines {
    /// Writes an event, which the formatter hands over whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = escape(text.strip_suffix('\n').unwrap_or(&text)) + "\n";
        io::stdout().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
