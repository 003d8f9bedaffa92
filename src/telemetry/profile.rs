//! Where the CPU time of this process goes: stacks, met by a timer that runs while a thread does.
//!
//! The timer is the process's (`ITIMER_PROF`): of each second of CPU time, whichever thread uses
//! it, a fixed number of samples is taken, in a signal handler on the thread at hand. The handler
//! walks the stack by the tables that the compiler leaves for it, in memory that it checks, without
//! allocating; the C library is walked through like the rest, for most time is spent in its system
//! calls. What the kernel does there is not seen: the frame that called it stands for it.
//!
//! Names are looked up when the timer is off, by whoever asks for them. One profile at a time.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::protos::Message;
use pprof::{Frames, Names, ProfilerGuard, ProfilerGuardBuilder, Report, Symbol};

use super::flamegraph;
use super::symbol::readable;
use crate::limits::PROFILE_HZ;

/// Stacks are being taken.
pub struct Sampling(ProfilerGuard<'static>);

/// What was taken.
pub struct Profile(Report);

/// Why there is no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It cannot begin.
    Start,
    /// What was taken cannot be read.
    Report,
    /// It cannot be written down.
    Encode,
}

impl Failed {
    /// The same in words.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Start => {
                "the profiler cannot start; it needs a folder for temporary files (TMPDIR)"
            }
            Self::Report => "what the profiler took cannot be read",
            Self::Encode => "the profile cannot be written down",
        }
    }
}

impl fmt::Debug for Sampling {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Sampling")
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Profile").field("stacks", &self.0.data.len()).finish()
    }
}

impl Sampling {
    /// Begins.
    ///
    /// # Errors
    ///
    /// Another one goes on, or there is no folder for temporary files.
    pub fn start() -> Result<Self, Failed> {
        let guard = ProfilerGuardBuilder::default().frequency(PROFILE_HZ).build();
        guard.map(Self).map_err(|_| Failed::Start)
    }

    /// Ends, and only then looks up the names: that may take longer than the profile did.
    ///
    /// # Errors
    ///
    /// What was taken cannot be read.
    pub fn finish(self) -> Result<Profile, Failed> {
        let taken = self.0.report().build_unresolved();
        drop(self);
        let taken = taken.map_err(|_| Failed::Report)?;
        let mut report = Report { data: HashMap::new(), timing: taken.timing };
        let names = Names::new();
        for (stack, count) in taken.data {
            let mut frames = Frames::named(stack, &names);
            // Stacks that read the same are one, whenever each was met first.
            frames.sample_timestamp = report.timing.start_time;
            frames.frames.iter_mut().flatten().for_each(rename);
            *report.data.entry(frames).or_insert(0) += count;
        }
        Ok(Profile(report))
    }
}

fn rename(symbol: &mut Symbol) {
    symbol.name = Some(readable(&symbol.name(), &symbol.filename()).into_bytes());
}

impl Profile {
    /// The profile as `go tool pprof` and speedscope read it: gzipped protobuf.
    ///
    /// # Errors
    ///
    /// It cannot be written down.
    pub fn pprof(&self) -> Result<Vec<u8>, Failed> {
        let encoded = self.0.pprof().map_err(|_| Failed::Encode)?.encode_to_vec();
        gzip(&encoded).map_err(|_| Failed::Encode)
    }

    /// The profile as a picture, threads at the bottom.
    ///
    /// # Errors
    ///
    /// It cannot be drawn.
    pub fn flamegraph(&self) -> Result<Vec<u8>, Failed> {
        let Self(Report { data, timing }) = self;
        let stacks: Vec<String> =
            data.iter().map(|(frames, count)| folded(frames, *count)).collect();
        let seconds = timing.duration.as_secs_f64();
        let title = format!("CPU time of corepulse in {seconds:.1} s");
        flamegraph::draw(&stacks, &title).map_err(|_| Failed::Encode)
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// A stack as a line, the outermost frame first. A frame of machine code may be several functions,
/// those that were inlined before the one that they were inlined into.
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
