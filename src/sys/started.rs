//! What this process was started with, looked at before the standard library changes it.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Returns whether stdout was closed when this program was started (`>&-`). The standard library has opened /dev/null in
/// its place before main (library/std/src/sys/pal/unix/mod.rs), which nobody has asked for and which takes everything.
#[must_use]
pub fn is_stdout_closed() -> bool {
    IS_STDOUT_CLOSED.load(Ordering::Relaxed)
}

// SAFETY: the section holds pointers to functions, which the loader calls one after the other before main; that it gives
// them arguments does no harm to one that takes none (System V ABI).
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: this asks for the flags of a descriptor and touches no memory.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    IS_STDOUT_CLOSED.store(flags < 0, Ordering::Relaxed);
}
