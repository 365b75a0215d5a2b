//! What a pipeline learns from the exit code; `--help` says the same.

use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    // 2 is clap's, for a command line that is wrong.
    Refused = 3,
    Unanswered = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
