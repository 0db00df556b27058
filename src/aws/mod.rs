//! The AWS clients: the only files that name one.

pub mod certificates;
mod configuration;
pub(crate) mod dynamodb;
mod no_answer;
pub(crate) mod s3;
pub(crate) mod sns;

pub use self::configuration::configuration;
pub use self::dynamodb::Table;
pub(crate) use self::s3::LogBytes;
pub use self::s3::S3;
pub use self::sns::Sns;
