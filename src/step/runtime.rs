//! The runtime of stream walks: one thread, started when a walk needs it.

use std::future::Future;
use std::io;

/// Runs a walk to its end. Threads that block in the resolver or on stdin are left behind.
///
/// # Errors
/// The runtime cannot be made (no descriptor for epoll, say).
pub fn run<T>(walk: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(walk);
    runtime.shutdown_background();
    Ok(result)
}
