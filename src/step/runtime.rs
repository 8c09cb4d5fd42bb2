//! The runtime of stream walks: one thread, started when a walk needs it.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;

use tokio::sync::oneshot;

/// Runs a walk to its end. Threads that block in the resolver or on stdin are left behind.
///
/// # Errors
/// The runtime cannot be made (no descriptor for epoll, say).
pub fn run<T>(walk: impl Future<Output = T>) -> io::Result<T> {
    descriptors_left()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(walk);
    runtime.shutdown_background();
    Ok(result)
}

/// Does work that blocks on a thread of its own, which is left behind at the end; what it gives is
/// told. `None` where no thread can be made: those of tokio panic then.
pub fn aside<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<oneshot::Receiver<T>> {
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Whoever asked may have been cut off.
        let _unheard = tell.send(work());
    });
    thread.is_ok().then_some(told)
}

/// Returns an error where too few descriptors are left for the runtime, which would panic over
/// its signal handling instead of saying so (tokio 1.54, `signal/unix.rs`).
fn descriptors_left() -> io::Result<()> {
    /// epoll and its copy, an eventfd, a pair of sockets and the copy of one.
    const NEEDED: usize = 6;
    let stdin = io::stdin();
    let copies: io::Result<Vec<_>> = (0..NEEDED).map(|_| stdin.as_fd().try_clone_to_owned()).collect();
    copies.map(drop)
}
