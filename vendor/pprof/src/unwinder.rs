// Copyright 2022 TiKV Project Authors. Licensed under Apache-2.0.

use std::ffi::c_void;
use std::sync::LazyLock;

use framehop::{
    CacheNative, MustNotAllocateDuringUnwind, UnwindRegsNative, Unwinder, UnwinderNative,
};
use libc::ucontext_t;
use spin::RwLock;

use crate::objects;

#[cfg(target_arch = "aarch64")]
fn get_regs_from_context(ucontext: *mut c_void) -> Option<(UnwindRegsNative, u64)> {
    let ucontext: *mut ucontext_t = ucontext as *mut ucontext_t;
    if ucontext.is_null() {
        return None;
    }
    let (regs, sp, pc) = unsafe {
        let context = &(*ucontext).uc_mcontext;
        (context.regs, context.sp, context.pc)
    };
    Some((UnwindRegsNative::new(regs[30], sp, regs[29]), pc))
}

#[cfg(target_arch = "x86_64")]
fn get_regs_from_context(ucontext: *mut c_void) -> Option<(UnwindRegsNative, u64)> {
    let ucontext: *mut ucontext_t = ucontext as *mut ucontext_t;
    if ucontext.is_null() {
        return None;
    }
    let regs = unsafe { &(*ucontext).uc_mcontext.gregs };
    let ip = regs[libc::REG_RIP as usize] as u64;
    let sp = regs[libc::REG_RSP as usize] as u64;
    let bp = regs[libc::REG_RBP as usize] as u64;
    Some((UnwindRegsNative::new(ip, sp, bp), ip))
}

struct FramehopUnwinder {
    unwinder: UnwinderNative<Vec<u8>, MustNotAllocateDuringUnwind>,
    cache: CacheNative<MustNotAllocateDuringUnwind>,
}

impl FramehopUnwinder {
    fn new() -> Self {
        let mut unwinder = UnwinderNative::new();
        objects::modules().into_iter().for_each(|module| unwinder.add_module(module));
        Self { unwinder, cache: CacheNative::default() }
    }

    fn iter_frames<F: FnMut(&Frame) -> bool>(&mut self, ctx: *mut c_void, mut cb: F) {
        let Some((regs, pc)) = get_regs_from_context(ctx) else {
            return;
        };
        let mut read = read_stack;
        let mut iter = self.unwinder.iter_frames(pc, regs, &mut self.cache, &mut read);
        while let Ok(Some(frame)) = iter.next() {
            // Of a return address, the call before it.
            if !cb(&Frame { ip: frame.address_for_lookup() as usize }) {
                break;
            }
        }
    }
}

fn read_stack(addr: u64) -> Result<u64, ()> {
    let aligned_addr = addr & !0b111;
    if crate::addr_validate::validate(aligned_addr as _) {
        Ok(unsafe { (aligned_addr as *const u64).read() })
    } else {
        Err(())
    }
}

static UNWINDER: LazyLock<RwLock<FramehopUnwinder>> =
    LazyLock::new(|| RwLock::new(FramehopUnwinder::new()));

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    pub ip: usize,
}

/// To be called before the first signal: the tables are read now.
pub fn init() {
    drop(UNWINDER.read());
}

pub fn trace<F: FnMut(&Frame) -> bool>(ctx: *mut c_void, cb: F) {
    // Only one signal of the process's timer is handled at a time, so this always succeeds.
    if let Some(mut unwinder) = UNWINDER.try_write() {
        unwinder.iter_frames(ctx, cb);
    }
}
