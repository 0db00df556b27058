//! Turns CloudTrail log files into SNS alerts.
