//! A CloudTrail log file: gzip, in it JSON, in that one record at a time.

mod document;
pub mod file;
pub mod key;
pub mod raw_record;
pub mod record;
pub(crate) mod record_scanner;
