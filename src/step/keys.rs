//! The key that ends a run which draws on the terminal.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use tokio::task::JoinHandle;

use super::{Cause, Door, Stdin, Stop, tick};

/// The screen is drawn again and again, and keys are read one by one; dropped, the terminal is as it was.
pub struct Keys {
    before: Option<Termios>,
    ticks: JoinHandle<()>,
}

impl Keys {
    /// Begins to read keys: q ends the run. Signals stay keys of the terminal.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn watch(stdin: Stdin, door: &Arc<Door>, stop: &Stop) -> io::Result<Self> {
        let ticks = tick(door);
        let before = tcgetattr(&stdin.stream).ok();
        if let Some(before) = &before {
            let mut one_by_one = before.clone();
            one_by_one.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO);
            let _is_set = tcsetattr(&stdin.stream, SetArg::TCSANOW, &one_by_one);
        }
        let stop = stop.clone();
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
            let mut key = [0];
            while let Ok(1) = nix::unistd::read(stdin.stream.as_fd(), &mut key) {
                if matches!(key, [b'q' | b'Q']) {
                    return stop.set(Cause::Signal);
                }
            }
        })?;
        Ok(Self { before, ticks })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.ticks.abort();
        if let Some(before) = &self.before {
            let _is_set = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
