// Copyright 2019 TiKV Project Authors. Licensed under Apache-2.0.

//! A CPU profiler inside the process: a timer's signals, and stacks walked in their handler. See
//! README.md for whence it is and what was changed.

/// Define the MAX supported stack depth.
pub const MAX_DEPTH: usize = 128;

/// Define the MAX supported thread name length.
pub const MAX_THREAD_NAME: usize = 16;

mod addr_validate;
mod collector;
mod error;
mod frames;
mod objects;
mod profiler;
mod report;
mod timer;
mod unwinder;

pub use self::error::{Error, Result};
pub use self::frames::{Frames, Symbol, UnresolvedFrames};
pub use self::objects::Names;
pub use self::profiler::{ProfilerGuard, ProfilerGuardBuilder};
pub use self::report::{Report, ReportBuilder, UnresolvedReport};

#[allow(clippy::all, missing_docs)]
pub mod protos {
    pub use prost::Message;

    include!("protos.rs");
}
