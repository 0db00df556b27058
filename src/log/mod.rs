//! A CloudTrail log file: gzip, in it JSON, in that one record at a time.

mod document;
mod file;
mod key;
mod raw_record;
mod record;
mod record_scanner;

pub use self::file::LogFile;
pub(crate) use self::key::{NotALog, is_account};
pub use self::key::{S3Object, not_a_log};
pub use self::raw_record::{Malformed, RawRecord};
pub(crate) use self::record::compact;
pub use self::record::{Record, readable};
pub(crate) use self::record_scanner::{is_blank, is_plain};
