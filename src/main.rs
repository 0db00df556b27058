//! The program.
use aws_sdk_s3 as _;
use aws_sdk_sns as _;
fn main() {}
