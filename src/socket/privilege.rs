//! Rights that a thread has, and how it gives them up for good (capabilities(7), prctl(2)).

use caps::CapSet;

/// Gives up all capabilities of this thread, from every set, and the ways to get them again. What was
/// given up before, or may not be, is no failure: the rest goes all the same.
pub fn give_up() {
    let _is_new = nix::sys::prctl::set_no_new_privs();
    // The bounding set first: later nothing may be taken from it.
    for set in [CapSet::Bounding, CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let _was_permitted = caps::clear(None, set);
    }
}
