//! The AWS clients: the only files that name one.

pub mod s3;
pub mod sns;
