//! CPU profiles of this process: stacks sampled by a timer that advances with CPU time.
//!
//! The timer is the process's (`ITIMER_PROF`): for each second of CPU time, on whichever thread, it
//! sends a fixed number of signals to the running thread. The handler walks the stack by the
//! unwinding tables of the compiler, without allocating and only through memory that it has
//! checked. Frames of the C library are walked too, because most time is spent in its system calls;
//! time in the kernel is attributed to the function that made the system call.
//!
//! Names are looked up after the timer is off, by the thread that asked. One profile runs at a
//! time.

mod flamegraph;
mod symbol;

use std::collections::HashMap;

use pprof::protos::Message;
use pprof::{Frames, Names, ProfilerGuard, ProfilerGuardBuilder, Report, Symbol};
use thiserror::Error;

use crate::limits::PROFILE_HZ;
use percore::http::accept_encoding::gzip;
use symbol::readable_name;

/// A running profiler.
pub struct Profiler(ProfilerGuard<'static>);

/// The samples of a profiler that has stopped.
pub struct Profile(Report);

/// The step of a profile that failed. The text is for the one who asked for the profile.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProfileError {
    /// The profiler did not start.
    #[error("the profiler cannot start; it needs a folder for temporary files (TMPDIR)")]
    Start,
    /// The samples could not be read.
    #[error("what the profiler took cannot be read")]
    Report,
    /// The profile could not be encoded or drawn.
    #[error("the profile cannot be written down")]
    Encode,
}

impl Profiler {
    /// Starts the timer.
    ///
    /// # Errors
    ///
    /// Another profiler runs, or there is no folder for temporary files.
    pub fn start() -> Result<Self, ProfileError> {
        let guard = ProfilerGuardBuilder::default().frequency(PROFILE_HZ).build();
        guard.map(Self).map_err(|_| ProfileError::Start)
    }

    /// Stops the timer and then looks up the names, which may take longer than the profile.
    ///
    /// # Errors
    ///
    /// The samples cannot be read.
    pub fn finish(self) -> Result<Profile, ProfileError> {
        let samples = self.0.report().build_unresolved();
        drop(self);
        let samples = samples.map_err(|_| ProfileError::Report)?;
        let mut report = Report { data: HashMap::new(), timing: samples.timing };
        let names = Names::new();
        for (stack, count) in samples.data {
            let mut frames = Frames::named(stack, &names);
            // Equal stacks are merged, whenever each was sampled first.
            frames.sample_timestamp = report.timing.start_time;
            frames.frames.iter_mut().flatten().for_each(rename);
            *report.data.entry(frames).or_insert(0) += count;
        }
        Ok(Profile(report))
    }
}

/// Replaces the name of a symbol by its readable form.
fn rename(symbol: &mut Symbol) {
    symbol.name = Some(readable_name(&symbol.name(), &symbol.filename()).into_bytes());
}

impl Profile {
    /// Encodes the profile for `go tool pprof` and speedscope, as gzipped protobuf.
    ///
    /// # Errors
    ///
    /// The encoding fails.
    pub fn pprof(&self) -> Result<Vec<u8>, ProfileError> {
        let encoded = self.0.pprof().map_err(|_| ProfileError::Encode)?.encode_to_vec();
        Ok(gzip(&encoded))
    }

    /// Draws the profile as an SVG flamegraph with the threads at the bottom.
    ///
    /// # Errors
    ///
    /// The drawing fails.
    pub fn flamegraph(&self) -> Result<Vec<u8>, ProfileError> {
        let Self(Report { data, timing }) = self;
        let stacks: Vec<String> =
            data.iter().map(|(frames, count)| folded(frames, *count)).collect();
        let seconds = timing.duration.as_secs_f64();
        let title = format!("CPU time of corepulse in {seconds:.1} s");
        flamegraph::draw(&stacks, &title).map_err(|_| ProfileError::Encode)
    }
}

/// Writes a stack as a line of the folded format, the outermost frame first. A frame of machine
/// code may hold several functions: inlined ones come before the function that they were inlined
/// into.
fn folded(frames: &Frames, count: isize) -> String {
    let mut line = frames.thread_name_or_id();
    for symbol in frames.frames.iter().rev().flat_map(|inlined| inlined.iter().rev()) {
        line.push(';');
        line.push_str(&symbol.name());
    }
    line.push(' ');
    line.push_str(&count.to_string());
    line
}
