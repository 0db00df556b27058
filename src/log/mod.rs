//! A CloudTrail log file: gzip, in it JSON, in that one record at a time.

mod document;
mod file;
mod key;
mod offline;
mod raw_record;
mod record;
mod record_scanner;
mod redact;
mod secrets;
mod texts;
mod time;

pub use self::file::LogFile;
pub(crate) use self::key::{Origin, SkipReason, decoded_key, is_account, region_folder};
pub use self::key::{S3Object, reason_to_skip};
pub use self::raw_record::{Malformed, RawRecord};
pub(crate) use self::record::Shown;
pub use self::record::{Record, readable};
pub(crate) use self::record_scanner::{is_blank, is_plain};
pub(crate) use self::time::Time;
