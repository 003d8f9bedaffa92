// Copyright 2019 TiKV Project Authors. Licensed under Apache-2.0.

use std::os::raw::c_int;
use std::time::SystemTime;

use nix::sys::signal;
use smallvec::SmallVec;
use spin::RwLock;

use crate::collector::Collector;
use crate::error::{Error, Result};
use crate::frames::UnresolvedFrames;
use crate::report::ReportBuilder;
use crate::timer::Timer;
use crate::unwinder::{self, Frame};
use crate::{MAX_DEPTH, MAX_THREAD_NAME};

pub(crate) static PROFILER: RwLock<Profiler> = RwLock::new(Profiler { data: None });

pub struct Profiler {
    /// While it runs.
    pub(crate) data: Option<Collector<UnresolvedFrames>>,
}

#[derive(Clone)]
pub struct ProfilerGuardBuilder {
    frequency: c_int,
}

impl Default for ProfilerGuardBuilder {
    fn default() -> ProfilerGuardBuilder {
        ProfilerGuardBuilder { frequency: 99 }
    }
}

impl ProfilerGuardBuilder {
    pub fn frequency(self, frequency: c_int) -> Self {
        Self { frequency }
    }

    pub fn build(self) -> Result<ProfilerGuard<'static>> {
        unwinder::init();
        PROFILER.write().start()?;
        Ok(ProfilerGuard { profiler: &PROFILER, timer: Some(Timer::new(self.frequency)) })
    }
}

/// RAII structure used to stop profiling when dropped. It is the only interface to access profiler.
pub struct ProfilerGuard<'a> {
    profiler: &'a RwLock<Profiler>,
    timer: Option<Timer>,
}

impl ProfilerGuard<'_> {
    /// Generate a report
    pub fn report(&self) -> ReportBuilder<'_> {
        ReportBuilder::new(
            self.profiler,
            self.timer.as_ref().map(Timer::timing).unwrap_or_default(),
        )
    }
}

impl Drop for ProfilerGuard<'_> {
    fn drop(&mut self) {
        drop(self.timer.take());
        // The kernel takes a handler that it took before.
        let _ = self.profiler.write().stop();
    }
}

fn write_thread_name_fallback(current_thread: libc::pthread_t, name: &mut [libc::c_char]) {
    let mut len = 0;
    let mut base = 1;

    while current_thread as u128 > base && len < MAX_THREAD_NAME {
        base *= 10;
        len += 1;
    }

    let mut index = 0;
    // The last place stays 0, and ends the name.
    while index < len && index + 1 < MAX_THREAD_NAME && base > 1 {
        base /= 10;
        name[index] = (48 + (current_thread as u128 / base) % 10) as libc::c_char;
        index += 1;
    }
}

#[cfg(not(target_env = "gnu"))]
fn write_thread_name(current_thread: libc::pthread_t, name: &mut [libc::c_char]) {
    write_thread_name_fallback(current_thread, name);
}

#[cfg(target_env = "gnu")]
fn write_thread_name(current_thread: libc::pthread_t, name: &mut [libc::c_char]) {
    let name_ptr = name as *mut [libc::c_char] as *mut libc::c_char;
    let ret = unsafe { libc::pthread_getname_np(current_thread, name_ptr, MAX_THREAD_NAME) };

    if ret != 0 {
        write_thread_name_fallback(current_thread, name);
    }
}

struct ErrnoProtector(libc::c_int);

impl ErrnoProtector {
    fn new() -> Self {
        unsafe { Self(*libc::__errno_location()) }
    }
}

impl Drop for ErrnoProtector {
    fn drop(&mut self) {
        unsafe {
            *libc::__errno_location() = self.0;
        }
    }
}

extern "C" fn perf_signal_handler(
    _signal: c_int,
    _siginfo: *mut libc::siginfo_t,
    ucontext: *mut libc::c_void,
) {
    let _errno = ErrnoProtector::new();

    let Some(mut profiler) = PROFILER.try_write() else {
        return;
    };
    let Some(data) = profiler.data.as_mut() else {
        return;
    };
    let mut bt: SmallVec<[Frame; MAX_DEPTH]> = SmallVec::with_capacity(MAX_DEPTH);
    let sample_timestamp: SystemTime = SystemTime::now();
    unwinder::trace(ucontext, |frame| {
        let has_room = bt.len() < MAX_DEPTH;
        if has_room {
            bt.push(frame.clone());
        }
        has_room
    });

    let current_thread = unsafe { libc::pthread_self() };
    let mut name = [0; MAX_THREAD_NAME];
    let name_ptr = &mut name as *mut [libc::c_char] as *mut libc::c_char;
    write_thread_name(current_thread, &mut name);
    let name = unsafe { std::ffi::CStr::from_ptr(name_ptr) };
    let frames =
        UnresolvedFrames::new(bt, name.to_bytes(), current_thread as u64, sample_timestamp);
    // A sample that cannot be kept is lost.
    let _ = data.add(frames, 1);
}

impl Profiler {
    fn start(&mut self) -> Result<()> {
        if self.data.is_some() {
            return Err(Error::Running);
        }
        let data = Collector::new()?;
        self.register_signal_handler()?;
        self.data = Some(data);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.data = None;
        self.unregister_signal_handler()
    }

    fn register_signal_handler(&self) -> Result<()> {
        let handler = signal::SigHandler::SigAction(perf_signal_handler);
        // SA_RESTART will only restart a syscall when it's safe to do so,
        // e.g. when it's a blocking read(2) or write(2). See man 7 signal.
        let flags = signal::SaFlags::SA_SIGINFO | signal::SaFlags::SA_RESTART;
        let sigaction = signal::SigAction::new(handler, flags, signal::SigSet::empty());
        unsafe { signal::sigaction(signal::SIGPROF, &sigaction) }?;
        Ok(())
    }

    fn unregister_signal_handler(&self) -> Result<()> {
        // Use SIG_IGN instead of restoring SIG_DFL to avoid a race where a
        // pending SIGPROF delivered between unregister and re-register kills
        // the process (SIG_DFL for SIGPROF = terminate).
        // See https://github.com/tikv/pprof-rs/issues/288
        //     https://github.com/grafana/pprof-rs/pull/8
        let ignore = signal::SigAction::new(
            signal::SigHandler::SigIgn,
            signal::SaFlags::empty(),
            signal::SigSet::empty(),
        );
        unsafe { signal::sigaction(signal::SIGPROF, &ignore) }?;
        Ok(())
    }
}
